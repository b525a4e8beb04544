//! Objects in the heap: size classes, headers, and their way from free to live to dying to free.
//!
//! # The header, two words before the payload
//!
//! | word | bits | meaning |
//! |---|---|---|
//! | 0 | 32.. | generation: +1 when freed, so that an old handle is noticed |
//! | 0 | 16..24 | size class; never changes, so that any handle ever made reads a real generation |
//! | 0 | 8..16 | [`Kind`]: whether it holds references of its own |
//! | 0 | 0..8 | 0 free, 1 live, 2 dying |
//! | 1 | 32.. | count: ledger bits + references in parcels and rings |
//! | 1 | 0..32 | tag: what its user says it is |
//!
//! Both change only in a transaction, except the kind, which its maker sets once. The word after
//! them links free and dying objects (it is the first of the payload, unused in containers). Classes
//! above a chunk have a fourth word: how many of their bytes have memory behind them, and in its
//! lowest bit, whether that is being changed: then it is not to be trusted.
//!
//! An object whose count becomes 0 is freed in the same transaction, or, if it may hold references,
//! put on the dying list, from which anybody takes its references back one by one.

use std::ops::Range;
use std::sync::atomic::Ordering;

use multiproc_sys::clock::Deadline;

use crate::arena::{Arena, Locked};
use crate::error::CreateError;
use crate::files;
use crate::layout::{GRANULE, MIB, PAGE, heap_at};
use crate::ledger;
use crate::log::Transaction;
use crate::member::MemberId;
use crate::object::Kind;
use crate::{end, parcel, ring};

/// 64 B << 0 ..= 64 B << 30, and one more, without headers, for the ledger's own blocks.
pub(crate) const CLASSES: usize = 32;
const LEDGER_CLASS: usize = CLASSES - 1;

/// What is carved at once for the classes that are smaller.
const CHUNK: u64 = 64 * 1024;

/// So much memory may lie behind free objects larger than a chunk before it is given back. A message of
/// 64 MiB is to find that of the one before: pages that are given back and reserved anew each time take
/// longer than the copies do.
const IDLE_MOST: u64 = 128 * MIB;

/// In the word that says how much memory a large object has: it is being changed.
const CHANGING: u64 = 1;

const HEADER: u64 = 16;
const LARGE_HEADER: u64 = GRANULE;

pub(crate) const FREE: u64 = 0;
pub(crate) const LIVE: u64 = 1;
pub(crate) const DYING: u64 = 2;

/// What an object's header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) generation: u32,
    pub(crate) class: usize,
    pub(crate) kind: u8,
    pub(crate) status: u64,
    pub(crate) count: u32,
    pub(crate) tag: u32,
}

impl Head {
    pub(crate) fn of(first: u64, second: u64) -> Head {
        Head {
            generation: (first >> 32) as u32,
            class: (first >> 16 & 0xFF) as usize % CLASSES,
            kind: (first >> 8) as u8,
            status: first & 0xFF,
            count: (second >> 32) as u32,
            tag: second as u32,
        }
    }

    fn first(&self) -> u64 {
        u64::from(self.generation) << 32
            | (self.class as u64) << 16
            | u64::from(self.kind) << 8
            | self.status
    }

    fn second(&self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.tag)
    }

    /// Bytes of the whole object.
    pub(crate) fn size(&self) -> u64 {
        class_size(self.class)
    }

    fn is_large(&self) -> bool {
        is_large(self.class)
    }

    /// Bytes before the payload.
    pub(crate) fn before_payload(&self) -> u64 {
        if self.is_large() {
            LARGE_HEADER
        } else {
            HEADER
        }
    }
}

fn class_size(class: usize) -> u64 {
    if class == LEDGER_CLASS {
        ledger::BLOCK
    } else {
        GRANULE << class
    }
}

fn is_large(class: usize) -> bool {
    class_size(class) > CHUNK
}

fn class_for(payload: u64) -> Option<usize> {
    let small = payload.checked_add(HEADER)?;
    let whole = if small <= CHUNK {
        small
    } else {
        payload.checked_add(LARGE_HEADER)?
    };
    let class =
        (whole.max(GRANULE).checked_next_power_of_two()? / GRANULE).trailing_zeros() as usize;
    (class < LEDGER_CLASS).then_some(class)
}

/// What the heap holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in objects that somebody holds.
    pub used: u64,
    /// Bytes of the heap ever carved.
    pub carved: u64,
}

pub(crate) fn usage(arena: &'static Arena) -> Usage {
    let header = arena.header();
    Usage {
        used: header.used.load(Ordering::Acquire),
        carved: carved(arena).end - carved(arena).start,
    }
}

/// Where objects may be: what has been carved of the heap, whatever the header says.
pub(crate) fn carved(arena: &'static Arena) -> Range<u64> {
    let heap = heap_at(arena.len());
    let next = arena.header().next.load(Ordering::Acquire);
    heap..next.clamp(heap, arena.len())
}

/// Whether a whole object of that size may begin at `offset`.
fn has_room(arena: &'static Arena, offset: u64, size: u64) -> bool {
    let carved = carved(arena);
    offset.is_multiple_of(GRANULE)
        && offset >= carved.start
        && carved
            .end
            .checked_sub(size)
            .is_some_and(|last| offset <= last)
}

/// The header of the object at `offset`, as it is now.
pub(crate) fn head(arena: &'static Arena, offset: u64) -> Head {
    let first = arena.word(offset).load(Ordering::Acquire);
    let second = arena.word(offset + 8).load(Ordering::Relaxed);
    Head::of(first, second)
}

/// How many payload bytes of a live object have memory behind them.
pub(crate) fn payload_len(arena: &'static Arena, offset: u64, head: &Head) -> usize {
    let whole = if head.is_large() {
        let backed = arena.word(backed_of(offset)).load(Ordering::Relaxed) & !CHANGING;
        backed.clamp(head.before_payload(), head.size())
    } else {
        head.size()
    };
    (whole - head.before_payload()) as usize
}

fn head_in(change: &Transaction<'_>, offset: u64) -> Head {
    Head::of(change.get(offset), change.get(offset + 8))
}

fn put_head(change: &mut Transaction<'_>, offset: u64, head: &Head) {
    change.set(offset, head.first());
    change.set(offset + 8, head.second());
}

fn link_of(offset: u64) -> u64 {
    offset + HEADER
}

fn backed_of(offset: u64) -> u64 {
    offset + HEADER + 8
}

/// A live object of at least `payload` bytes, of no kind yet, held by `owner`. Its payload may hold
/// anything.
pub(crate) fn create(
    arena: &'static Arena,
    owner: MemberId,
    payload: usize,
    tag: u32,
) -> Result<(u64, Head), CreateError> {
    let class = class_for(payload as u64).ok_or_else(|| {
        CreateError::Invalid(format!(
            "{payload} bytes are more than one shared object can have"
        ))
    })?;
    let locked = arena.lock_for_create()?;
    let offset = next_of(&locked, class)?;
    let bit = ledger::ensure(&locked, owner, offset)?;
    let mut change = locked.begin();
    pop(&mut change, class);
    let mut head = head_in(&change, offset);
    head = Head {
        class,
        kind: Kind::Plain as u8,
        status: LIVE,
        count: 1,
        tag,
        ..head
    };
    put_head(&mut change, offset, &head);
    bit.set(&mut change);
    add(&mut change, &locked.header().used, head.size() as i64);
    if head.is_large() {
        let backed = arena.word(backed_of(offset)).load(Ordering::Relaxed);
        add(
            &mut change,
            &locked.header().idle,
            (backed as i64).wrapping_neg(),
        );
    }
    change.commit();
    drop(locked);
    if head.is_large() {
        // Outside the lock: this may zero gigabytes. Killed here, the object goes back with what
        // its header says is backed.
        back(arena, offset, payload as u64 + LARGE_HEADER)
            .inspect_err(|_| release(arena, owner, offset))?;
    }
    Ok((offset, head))
}

/// Puts memory behind the first `len` bytes of a large object we have just taken.
fn back(arena: &'static Arena, offset: u64, len: u64) -> Result<(), CreateError> {
    let backed = arena.word(backed_of(offset)).load(Ordering::Relaxed);
    if backed < len {
        let wanted = len.next_multiple_of(PAGE);
        // Killed in between, the object is freed by a sweep, which takes all its memory back.
        arena
            .word(backed_of(offset))
            .store(backed | CHANGING, Ordering::Relaxed);
        arena.reserve(offset + backed, wanted - backed)?;
        arena
            .word(backed_of(offset))
            .store(wanted, Ordering::Relaxed);
    }
    Ok(())
}

/// The object that the next [`pop`] of this class takes, carving a chunk where none is free.
fn next_of(locked: &Locked<'_>, class: usize) -> Result<u64, CreateError> {
    let header = locked.header();
    let size = class_size(class);
    let free = header.free[class].load(Ordering::Relaxed);
    if free != 0 {
        let fits = has_room(locked.arena(), free, size) && {
            let head = head(locked.arena(), free);
            class == LEDGER_CLASS || (head.status == FREE && head.class == class)
        };
        let damaged = CreateError::Corrupt("a list of free objects leads elsewhere");
        return fits.then_some(free).ok_or(damaged);
    }
    let chunk = header.chunk[class].load(Ordering::Relaxed);
    if chunk < header.chunk_end[class].load(Ordering::Relaxed) {
        let damaged = CreateError::Corrupt("a chunk of objects lies elsewhere");
        return has_room(locked.arena(), chunk, size)
            .then_some(chunk)
            .ok_or(damaged);
    }
    refill(locked, class)
}

fn pop(change: &mut Transaction<'_>, class: usize) {
    let header = change.arena().header();
    let offset = |word| change.arena().offset_of(word).expect("a header word");
    let (free, chunk) = (offset(&header.free[class]), offset(&header.chunk[class]));
    match change.get(free) {
        0 => change.update(chunk, |at| at + class_size(class)),
        first => {
            let next = change.get(link_of(first));
            change.set(free, next);
        }
    }
}

/// Takes a new chunk for `class` from the heap. A kill between the reserving and the commit costs
/// nothing: the memory is behind a part of the heap that the next chunk takes.
fn refill(locked: &Locked<'_>, class: usize) -> Result<u64, CreateError> {
    let (arena, header) = (locked.arena(), locked.header());
    let size = class_size(class);
    let at = header.next.load(Ordering::Relaxed);
    let len = size.max(CHUNK);
    if at < heap_at(arena.len()) || !at.is_multiple_of(GRANULE) {
        return Err(CreateError::Corrupt("the end of the heap lies elsewhere"));
    }
    if at.checked_add(len).is_none_or(|end| end > arena.len()) {
        return Err(CreateError::NoSpace(format!(
            "the family arena of {} MiB is full; drop shared objects, or raise what limits it \
             (MULTIPROC_ARENA_MAX, RLIMIT_FSIZE, RLIMIT_AS)",
            arena.len() / MIB
        )));
    }
    // Large objects get their memory when they are created, and here only the page of the header.
    let first = if is_large(class) { PAGE } else { len };
    arena.reserve(at, first)?;
    let mut change = locked.begin();
    if is_large(class) {
        // Not before the commit: the next chunk here may be a ledger's, which must be all zero.
        change.set(backed_of(at), PAGE);
    }
    change.set(locked.offset(&header.chunk[class]), at);
    change.set(locked.offset(&header.chunk_end[class]), at + len);
    change.set(locked.offset(&header.next), at + len);
    if is_large(class) {
        add(&mut change, &header.idle, PAGE as i64);
    }
    change.commit();
    Ok(at)
}

/// A fresh, zero block for the ledger, as part of the caller's transaction.
pub(crate) fn carve_block(
    locked: &Locked<'_>,
    change: &mut Transaction<'_>,
) -> Result<u64, CreateError> {
    let at = next_of(locked, LEDGER_CLASS)?;
    pop(change, LEDGER_CLASS);
    Ok(at)
}

fn add(change: &mut Transaction<'_>, word: &std::sync::atomic::AtomicU64, by: i64) {
    let offset = change.arena().offset_of(word).expect("a header word");
    change.update(offset, |value| value.wrapping_add_signed(by));
}

/// One reference more, by the caller's transaction.
pub(crate) fn count_up(change: &mut Transaction<'_>, offset: u64) {
    // A damaged count stays what it is.
    change.update(offset + 8, |word| word.checked_add(1 << 32).unwrap_or(word));
}

/// One reference less, by the caller's transaction; the last one frees the object or puts it on
/// the dying list, which the caller drains once it has committed.
pub(crate) fn count_down(change: &mut Transaction<'_>, offset: u64) {
    let mut head = head_in(change, offset);
    head.count = head.count.saturating_sub(1);
    if head.count > 0 || head.status != LIVE {
        return put_head(change, offset, &head);
    }
    if matches!(Kind::from_bits(head.kind), Kind::Plain | Kind::Locked) {
        return free(change, offset, head);
    }
    let dying = change
        .arena()
        .offset_of(&change.arena().header().dying)
        .expect("a header word");
    let first = change.get(dying);
    change.set(link_of(offset), first);
    change.set(dying, offset);
    put_head(
        change,
        offset,
        &Head {
            status: DYING,
            ..head
        },
    );
}

fn free(change: &mut Transaction<'_>, offset: u64, head: Head) {
    files::note_freed(head.tag);
    let arena = change.arena();
    let header = arena.header();
    if head.is_large() {
        let backed = free_memory(arena, offset, &head);
        change.set(backed_of(offset), backed);
        add(change, &header.idle, backed as i64);
    }
    let list = arena
        .offset_of(&header.free[head.class])
        .expect("a header word");
    let first = change.get(list);
    change.set(link_of(offset), first);
    change.set(list, offset);
    let generation = head.generation.wrapping_add(1);
    put_head(
        change,
        offset,
        &Head {
            generation,
            kind: 0,
            status: FREE,
            count: 0,
            tag: 0,
            ..head
        },
    );
    add(change, &header.used, -(head.size() as i64));
}

/// Gives the memory of a large object back, but for its first page, if enough lies idle already or
/// if nobody knows how much it has. Says how much it keeps. Comes before the commit that frees the
/// object: once it is free, another may take it.
fn free_memory(arena: &'static Arena, offset: u64, head: &Head) -> u64 {
    let word = arena.word(backed_of(offset));
    let backed = word.load(Ordering::Relaxed);
    let unknown = backed & CHANGING != 0;
    let idle = arena.header().idle.load(Ordering::Relaxed);
    if !unknown && (backed <= PAGE || idle.saturating_add(backed) <= IDLE_MOST) {
        return backed;
    }
    word.store(backed | CHANGING, Ordering::Relaxed);
    let len = if unknown {
        head.size()
    } else {
        backed.min(head.size())
    };
    // Refused, memory stays behind what counts as having none: the next use reserves it again.
    let _ = arena.punch(offset + PAGE, len - PAGE);
    PAGE
}

/// Gives back `holder`'s reference.
pub(crate) fn release(arena: &'static Arena, holder: MemberId, offset: u64) {
    // Refused only to a thread that holds 2,000 locks; the sweep after this process gives it back.
    if let Ok(locked) = arena.lock(Deadline::NEVER) {
        release_locked(&locked, holder, offset);
        drain(arena, locked);
    }
}

/// As [`release`], under a lock the caller holds; the caller drains.
pub(crate) fn release_locked(locked: &Locked<'_>, holder: MemberId, offset: u64) {
    let Some(bit) = ledger::find(locked.arena(), holder, offset) else {
        return;
    };
    if bit.is_set(locked.arena()) {
        let mut change = locked.begin();
        bit.clear(&mut change);
        count_down(&mut change, offset);
        change.commit();
    }
}

/// Takes back the references of dying objects, a bounded number at a time.
///
/// Killed here: the list is as the last commit left it, and the next who frees a container, or the
/// next sweep, goes on.
pub(crate) fn drain(arena: &'static Arena, mut locked: Locked<'static>) {
    const AT_ONCE: u32 = 64;
    let mut left = AT_ONCE;
    while locked.header().dying.load(Ordering::Relaxed) != 0 {
        drain_step(&locked);
        left -= 1;
        if left == 0 {
            // Others may have urgent business with the lock.
            drop(locked);
            match arena.lock(Deadline::NEVER) {
                Ok(again) => locked = again,
                Err(_) => return,
            }
            left = AT_ONCE;
        }
    }
}

fn drain_step(locked: &Locked<'_>) {
    let arena = locked.arena();
    let mut change = locked.begin();
    let dying = locked.offset(&locked.header().dying);
    let offset = change.get(dying);
    if !has_room(arena, offset, GRANULE) || head_in(&change, offset).status != DYING {
        // Damaged: what hangs on this list is lost, and the list ends.
        change.set(dying, 0);
        return change.commit();
    }
    let head = head_in(&change, offset);
    let payload = offset + head.before_payload();
    let end = carved(arena).end.min(offset + head.size());
    let room = end.saturating_sub(payload);
    let child = match Kind::from_bits(head.kind) {
        Kind::Plain | Kind::Locked => None,
        Kind::Parcel => parcel::take_back(arena, &mut change, payload, room),
        Kind::Ring => ring::take_back(arena, &mut change, payload, room),
        Kind::End => end::take_back(arena, &mut change, payload, room, head.tag),
    };
    match child {
        Some(handle) => {
            if let Some(child) = handle.valid_in(arena) {
                count_down(&mut change, child);
            }
        }
        None => {
            let next = change.get(link_of(offset));
            change.set(dying, next);
            free(&mut change, offset, head);
        }
    }
    change.commit();
}

/// Whether nothing contradicts itself: counts are bits plus references stored, free lists end, and
/// `used` is what live objects take. For tests.
#[doc(hidden)]
pub(crate) fn audit(arena: &'static Arena) -> Result<(), String> {
    crate::testing::audit_locked(&arena.lock_for_create().map_err(|error| error.to_string())?)
}

/// For tests: see [`crate::testing::hide_free`].
pub(crate) fn hide_free(locked: &Locked<'_>, payload: u64, chunk: bool) {
    let header = locked.header();
    let class = class_for(payload).expect("a size there is");
    header.free[class].store(0, Ordering::Relaxed);
    if chunk {
        let end = header.chunk_end[class].load(Ordering::Relaxed);
        header.chunk[class].store(end, Ordering::Relaxed);
    }
}

/// The heap's objects, in chunks of one class, for [`audit`]: the heads of all free lists.
pub(crate) fn free_list(arena: &'static Arena, class: usize) -> impl Iterator<Item = u64> {
    let mut at = arena.header().free[class].load(Ordering::Relaxed);
    std::iter::from_fn(move || {
        let this = (at != 0).then_some(at)?;
        at = arena.word(link_of(this)).load(Ordering::Relaxed);
        Some(this)
    })
}
