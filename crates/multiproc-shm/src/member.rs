//! The members table: one slot for each process of the family.
//!
//! # `state`: generation (upper half) and phase
//!
//! | phase | meaning | leaves to | by |
//! |---|---|---|---|
//! | Free | nobody's | Starting, generation + 1 | a parent that reserves, under the arena lock |
//! | Starting | reserved for a child that does not run yet; its row may hold references already | Live | the child, once its life word is held |
//! | | | Dead | the parent that gives the seat back or reaps the child; a sweep after the parent's death |
//! | Live | a running process | Dead | whoever reaps it, or sees its life word marked and its process gone |
//! | Dead | gone; its row is being swept | Free | the sweep that finds the row empty, under the arena lock |
//!
//! The other words: `life` is held by a thread that lives as long as the process, so the kernel
//! marks it at death; `pid` and `number` (which tells it from a later process with its id) are written by
//! the child before Live, or never, and only over its own generation; `parent` and `name` by
//! the reserver before Starting; `row` (how much of the ledger row has memory) under the arena lock.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | parent, before Starting | nothing happened |
//! | parent, seat Starting | the sweep of the parent sets it Dead; a child that comes late finds that and ends |
//! | child, pid written, not Live | its parent reaps it, or the sweep of the parent sets it Dead |
//! | child, Live | marked life word, then Dead by whoever notices |
//! | sweeper, anywhere | Dead, with a shorter row; the next sweep goes on |

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use multiproc_sys::robust::{Attempt, MOST_HELD, Refusal, Word};
use multiproc_sys::{forkmark, liveness};

use crate::arena::{Arena, Locked};
use crate::error::CreateError;
use crate::layout::{MEMBERS, MEMBERS_AT, PAGE};

/// So many slots are used before one is used again.
const KEEP_NAMES: u32 = 64;

const NAME_WORDS: usize = 6;

/// The longest name kept for messages, in bytes; longer ones are cut.
pub(crate) const NAME_LEN: usize = NAME_WORDS * 8;

#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(crate) life: Word,
    state: AtomicU64,
    /// Generation (upper half) and process id, so that a child that comes too late cannot say its own.
    pid: AtomicU64,
    /// Generation, and the number the kernel gives the process, which no later process has.
    number: AtomicU64,
    pub(crate) parent: AtomicU64,
    pub(crate) row: AtomicU64,
    name: [AtomicU64; NAME_WORDS],
}

const _: () = assert!(size_of::<Slot>() == 128);

/// A process of the family: its slot and the slot's generation, so that it is never taken for
/// another that came later.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberId(u64);

/// What of an index's half is free for [`MemberId::with_thing`].
const THING_SHIFT: u32 = 12;
const THING_MOST: u32 = (1 << 20) - 1;
const _: () = assert!(MEMBERS <= 1 << THING_SHIFT);

impl MemberId {
    pub(crate) fn new(index: u32, generation: u32) -> MemberId {
        MemberId(u64::from(generation) << 32 | u64::from(index))
    }

    /// As one word, for messages. Never 0.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// From [`MemberId::bits`]; `None` for what cannot be one.
    pub fn from_bits(bits: u64) -> Option<MemberId> {
        let id = MemberId(bits);
        (id.generation() != 0 && id.index() < MEMBERS).then_some(id)
    }

    /// A word that names the member and one of its 2^20 things. Never 0.
    pub fn with_thing(self, thing: u32) -> u64 {
        self.0 | u64::from(thing & THING_MOST) << THING_SHIFT
    }

    /// The member in a word of [`MemberId::with_thing`]; `None` for what cannot be one.
    pub fn of_thing(word: u64) -> Option<MemberId> {
        MemberId::from_bits(word & !(u64::from(THING_MOST) << THING_SHIFT))
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}.{}", self.index(), self.generation())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free = 0,
    Starting = 1,
    Live = 2,
    Dead = 3,
}

fn pack(generation: u32, phase: Phase) -> u64 {
    u64::from(generation) << 32 | phase as u64
}

fn unpack(state: u64) -> (u32, Phase) {
    let phase = match state as u32 {
        1 => Phase::Starting,
        2 => Phase::Live,
        3 => Phase::Dead,
        _ => Phase::Free,
    };
    ((state >> 32) as u32, phase)
}

impl Slot {
    /// The member in this slot and its phase.
    pub(crate) fn now(&self, index: u32) -> (MemberId, Phase) {
        let (generation, phase) = unpack(self.state.load(Ordering::Acquire));
        (MemberId::new(index, generation), phase)
    }

    /// Moves `id` from one phase to another; false if it was not there.
    #[must_use = "somebody else may have moved it first"]
    pub(crate) fn advance(&self, id: MemberId, from: Phase, to: Phase) -> bool {
        let (from, to) = (pack(id.generation(), from), pack(id.generation(), to));
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Sets Dead if `id` was Starting or Live. True if it has been buried, whoever did it.
    pub(crate) fn bury(&self, id: MemberId) -> bool {
        self.advance(id, Phase::Starting, Phase::Dead)
            || self.advance(id, Phase::Live, Phase::Dead)
            || self.now(id.index()) == (id, Phase::Dead)
    }

    /// Holds the life word on this thread, whatever a former member left in it; false if the seat is
    /// `id`'s no longer.
    pub(crate) fn hold_life(&self, id: MemberId) -> Result<bool, Refusal> {
        loop {
            // SAFETY: the slot lies in the arena, mapped for the life of the process and never used
            // for anything else.
            let attempt = match unsafe { self.life.try_acquire(false, MOST_HELD) } {
                // SAFETY: as above.
                Attempt::Suspect(seen) => unsafe { self.life.take_over(seen, MOST_HELD) },
                attempt => attempt,
            };
            match attempt {
                Attempt::Acquired => return Ok(true),
                Attempt::Refused(refusal) => return Err(refusal),
                // By the slot's next member, and it is this process that comes too late.
                _ if self.now(id.index()) != (id, Phase::Starting) => return Ok(false),
                // A process that came too late for this slot holds it for a moment, and will end.
                Attempt::Busy(_) | Attempt::Suspect(_) => std::thread::yield_now(),
            }
        }
    }

    /// The member's process id, once it has said it.
    pub(crate) fn pid(&self) -> Option<u32> {
        let pid = self.pid.load(Ordering::Acquire) as u32;
        (pid != 0).then_some(pid)
    }

    /// Says this process's id, as that of `id`; false if the slot is another's by now.
    pub(crate) fn say_pid(&self, id: MemberId) -> bool {
        // In this order: whoever sees the id sees the number that belongs to it.
        say(&self.number, id, liveness::own_number()) && say(&self.pid, id, liveness::own_pid())
    }

    /// For tests: see [`crate::testing::forge_pid`].
    pub(crate) fn forge_pid(&self, id: MemberId, pid: u32) {
        let said = u64::from(id.generation()) << 32 | u64::from(pid);
        self.pid.store(said, Ordering::Release);
    }

    /// Whether the process that has said its id has ended, whoever has that id now.
    pub(crate) fn has_ended(&self) -> bool {
        let number = self.number.load(Ordering::Acquire) as u32;
        self.pid().is_some_and(|pid| liveness::is_over(pid, number))
    }

    fn set_name(&self, name: &str) {
        let mut bytes = [0u8; NAME_LEN];
        let mut len = name.len().min(NAME_LEN);
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        for (word, chunk) in self.name.iter().zip(bytes.chunks_exact(8)) {
            let chunk = chunk.try_into().expect("chunks of 8");
            word.store(u64::from_ne_bytes(chunk), Ordering::Relaxed);
        }
    }

    pub(crate) fn name(&self) -> String {
        let words = self
            .name
            .iter()
            .map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        let bytes: Vec<u8> = words.flatten().take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Says something of `id` in a word that begins with its generation; false if the slot is another's.
fn say(word: &AtomicU64, id: MemberId, what: u32) -> bool {
    let unsaid = u64::from(id.generation()) << 32;
    let said = unsaid | u64::from(what);
    word.compare_exchange(unsaid, said, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

/// The slot at `index`, which has been used at least once.
pub(crate) fn slot(arena: &'static Arena, index: u32) -> &'static Slot {
    assert!(index < MEMBERS, "member index {index} out of range");
    // SAFETY: in range, and the pages of used slots are reserved; the region holds nothing but
    // slots, which are made of atomics and a robust word (valid when zero).
    unsafe { arena.view(MEMBERS_AT + u64::from(index) * size_of::<Slot>() as u64) }
}

/// How many slots have ever been used.
pub(crate) fn used(arena: &'static Arena) -> u32 {
    arena
        .header()
        .members
        .load(Ordering::Acquire)
        .min(u64::from(MEMBERS)) as u32
}

/// Takes a free slot for a child of `parent`, in phase Starting.
pub(crate) fn occupy(
    locked: &Locked<'_>,
    name: &str,
    parent: Option<MemberId>,
) -> Result<MemberId, CreateError> {
    let arena = locked.arena();
    let used = used(arena);
    // Round and round, so that the name of a process that died can still be told for a while.
    static LAST: AtomicU32 = AtomicU32::new(0);
    let after = LAST.load(Ordering::Relaxed) + 1;
    let mut others = (0..used).map(|step| (after + step) % used);
    let free = (used >= KEEP_NAMES)
        .then(|| others.find(|&index| slot(arena, index).now(index).1 == Phase::Free))
        .flatten();
    let index = match free {
        Some(index) => index,
        None if used < MEMBERS => used,
        None => {
            return Err(CreateError::Limit(format!(
                "{MEMBERS} processes of this family are alive, the most there can be; join some first"
            )));
        }
    };
    let at = MEMBERS_AT + u64::from(index) * size_of::<Slot>() as u64;
    if index == used && at.is_multiple_of(PAGE) {
        arena.reserve(at, PAGE)?;
    }
    LAST.store(index, Ordering::Relaxed);
    let slot = slot(arena, index);
    let generation = slot.now(index).0.generation().wrapping_add(1).max(1);
    slot.set_name(name);
    for said in [&slot.pid, &slot.number] {
        said.store(u64::from(generation) << 32, Ordering::Relaxed);
    }
    slot.parent
        .store(parent.map_or(0, MemberId::bits), Ordering::Relaxed);
    let mut change = locked.begin();
    change.set(
        locked.offset(&slot.state),
        pack(generation, Phase::Starting),
    );
    change.set(
        locked.offset(&locked.header().members),
        u64::from(used.max(index + 1)),
    );
    change.commit();
    Ok(MemberId::new(index, generation))
}

static ME: AtomicU64 = AtomicU64::new(0);
static MY_STAMP: AtomicU64 = AtomicU64::new(0);

/// This process as a member.
///
/// A fork that this library did not make inherits the words but not the stamp: it is no member.
#[inline]
pub(crate) fn me() -> Result<MemberId, CreateError> {
    let stamp = forkmark::stamp();
    let me = ME.load(Ordering::Relaxed);
    if me != 0 && stamp != 0 && stamp == MY_STAMP.load(Ordering::Relaxed) {
        Ok(MemberId(me))
    } else {
        Err(CreateError::ForeignFork)
    }
}

/// Makes this process the member `id`.
pub(crate) fn become_member(id: MemberId) {
    let stamp = match forkmark::stamp() {
        0 => forkmark::renew(),
        stamp => stamp,
    };
    MY_STAMP.store(stamp, Ordering::Relaxed);
    ME.store(id.bits(), Ordering::Relaxed);
}
