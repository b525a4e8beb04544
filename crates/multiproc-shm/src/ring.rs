//! Frames in order: a circular buffer inside one object, with one lock for each side.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | `tail.cursor` | where the next frame goes; everything before it is complete | the holder of `tail.lock`, one store per frame |
//! | `head.cursor` | the next frame to take; everything before it is taken | the holder of `head.lock`, one store per frame |
//! | `*.seen` | what this side last saw of the other cursor, so as to look there rarely | the holder of that side's lock |
//! | `items`, `space` | bells for the two sides, for the layer above | see [`Bell`] |
//! | `state` | the layer above's | |
//!
//! A cursor packs units of 16 bytes (upper half) and frames (lower half), both wrapping, so that one
//! store moves both. `tail - head` is what is in the ring. A frame is contiguous: 8 bytes of header
//! (length, kind), then the body; where it does not fit before the end, a skip frame fills the rest.
//!
//! A frame carries its bytes, or one reference to a stored [parcel](crate::parcel). The reference is
//! counted for the ring in the transaction that moves `tail`, and handed to the taker in the one that
//! moves `head`.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | pushing, before `tail` moves | nothing: the bytes lie beyond `tail` |
//! | after `tail` moves | the frame |
//! | popping, before `head` moves | the frame still there |
//! | after `head` moves | the frame taken; it died with its taker |
//! | holding either lock | the lock says so; cursors and `seen` are true all the same, so nothing needs repair |

mod dying;

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use multiproc_sys::clock::Deadline;

use crate::alloc;
use crate::bell::Bell;
use crate::error::{CreateError, OpenError};
use crate::lock::{LockError, RawGuard, RawLock, Taken};
use crate::object::{self, Handle, Kind, Object};
use crate::parcel;

pub(crate) use dying::{owned, take_back};

/// What cursors count in.
const UNIT: usize = 16;
const FRAME_HEADER: usize = 8;
/// Units of a frame that carries a reference.
const REFERENCE_UNITS: u32 = 2;

/// How many units ahead of the next frame the processor is told to expect writes.
const AHEAD: u32 = 16;

const BYTES: u32 = 1;
const REFERENCE: u32 = 2;
const SKIP: u32 = 3;

#[repr(C, align(64))]
struct Side {
    cursor: AtomicU64,
    seen: AtomicU64,
    lock: RawLock,
}

/// A bell alone on its cache line: one side reads it often, the other writes it seldom.
#[repr(C, align(64))]
struct BellLine(Bell);

#[repr(C, align(64))]
struct Control {
    capacity: AtomicU64,
    state: AtomicU32,
    _room: [u32; 13],
    tail: Side,
    head: Side,
    items: BellLine,
    space: BellLine,
}

const CONTROL: usize = size_of::<Control>();
const ALIGN: usize = align_of::<Control>();
const _: () = assert!(size_of::<Side>() == 64 && CONTROL == 320);

/// A position: units and frames since the ring was made, both wrapping.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cursor {
    units: u32,
    frames: u32,
}

impl Cursor {
    fn unpack(word: u64) -> Cursor {
        Cursor {
            units: (word >> 32) as u32,
            frames: word as u32,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.units) << 32 | u64::from(self.frames)
    }

    fn after(self, units: u32, frames: u32) -> Cursor {
        Cursor {
            units: self.units.wrapping_add(units),
            frames: self.frames.wrapping_add(frames),
        }
    }
}

/// A circular buffer of frames in the arena.
#[derive(Clone)]
pub struct Ring {
    object: Object,
    control: NonNull<Control>,
    /// Capacity in units, a power of two. Read once, when the ring is opened.
    capacity: u32,
}

// SAFETY: the control block is atomics, bells and robust locks in shared memory that any thread may
// use; frame bytes are reached only through the two guards, which hold their side's lock.
unsafe impl Send for Ring {}
// SAFETY: as for `Send`.
unsafe impl Sync for Ring {}

/// Why a frame was not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room for it now.
    Full,
    /// There will never be room for it: it is longer than [`Ring::longest_frame`].
    TooLong,
}

/// What was taken out of a ring.
#[derive(Debug)]
pub enum Frame {
    /// Bytes; they are in the buffer that was given.
    Bytes,
    /// A stored parcel.
    Parcel(Object),
}

impl Ring {
    /// A new ring of at least `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`CreateError::NoSpace`], [`CreateError::Invalid`] beyond 32 GiB.
    pub fn create(tag: u32, bytes: usize) -> Result<Ring, CreateError> {
        let units = bytes.div_ceil(UNIT).max(16).checked_next_power_of_two();
        let Some(units) = units.filter(|&units| units <= 1 << 31) else {
            return Err(CreateError::Invalid(format!(
                "a ring of {bytes} bytes is too large"
            )));
        };
        let object = Object::create_raw(tag, ALIGN + CONTROL + units * UNIT)?;
        let control = control_of(&object);
        // SAFETY: the object is new and ours alone; the control block lies inside its payload, which
        // is backed and longer by the alignment; zero is a valid, empty control block.
        unsafe { control.write_bytes(0, 1) };
        // SAFETY: just initialised.
        unsafe { control.as_ref() }
            .capacity
            .store(units as u64, Ordering::Relaxed);
        object.become_kind(Kind::Ring);
        Ok(Ring {
            object,
            control,
            capacity: units as u32,
        })
    }

    /// The ring in an object that came from elsewhere.
    ///
    /// # Errors
    ///
    /// [`OpenError::Incompatible`] for another kind of object, [`OpenError::Corrupt`].
    pub fn open(object: Object) -> Result<Ring, OpenError> {
        if object.kind() != Kind::Ring {
            return Err(OpenError::Incompatible {
                ours: "a ring".into(),
                theirs: format!("{object:?}"),
            });
        }
        let too_short = OpenError::Corrupt("a ring is longer than its place");
        let room = object.len().checked_sub(ALIGN + CONTROL).ok_or(too_short)?;
        let control = control_of(&object);
        // SAFETY: a live object of kind Ring, which only this file makes, has an initialised control
        // block there, and the object is long enough for one.
        let capacity = unsafe { control.as_ref() }.capacity.load(Ordering::Relaxed);
        let fits = capacity.is_power_of_two() && capacity as usize <= room / UNIT;
        match u32::try_from(capacity) {
            Ok(capacity) if fits => Ok(Ring {
                object,
                control,
                capacity,
            }),
            _ => Err(OpenError::Corrupt("a ring is longer than its place")),
        }
    }

    /// The object it lies in.
    pub fn object(&self) -> &Object {
        &self.object
    }

    #[inline]
    fn control(&self) -> &Control {
        // SAFETY: initialised (made or opened), 64-aligned, in the payload of an object that lives
        // as long as `self`; made of atomics and of types for sharing.
        unsafe { self.control.as_ref() }
    }

    /// How many frames are in it.
    #[inline]
    pub fn len(&self) -> usize {
        let head = Cursor::unpack(self.control().head.cursor.load(Ordering::Acquire));
        let tail = Cursor::unpack(self.control().tail.cursor.load(Ordering::Acquire));
        let frames = tail.frames.wrapping_sub(head.frames);
        // Between the two loads others may have pushed and popped.
        frames.min(self.capacity) as usize
    }

    /// Whether no frame is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most bytes one frame can carry; longer ones travel as a parcel.
    #[inline]
    pub fn longest_frame(&self) -> usize {
        self.capacity as usize / 2 * UNIT - FRAME_HEADER
    }

    /// Rung after a push, by whoever wants the takers to know.
    #[inline]
    pub fn items(&self) -> &Bell {
        &self.control().items.0
    }

    /// Rung after a pop, by whoever wants the pushers to know.
    #[inline]
    pub fn space(&self) -> &Bell {
        &self.control().space.0
    }

    /// A word for the layer above; 0 in a new ring.
    #[inline]
    pub fn state(&self) -> &AtomicU32 {
        &self.control().state
    }

    /// Becomes the one that pushes.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn tail(&self, deadline: Deadline) -> Result<TailGuard<'_>, LockError> {
        let guard = self.control().tail.lock.lock(deadline)?;
        Ok(TailGuard { ring: self, guard })
    }

    /// Becomes the one that pops.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    #[inline]
    pub fn head(&self, deadline: Deadline) -> Result<HeadGuard<'_>, LockError> {
        let guard = self.control().head.lock.lock(deadline)?;
        Ok(HeadGuard {
            ring: self,
            guard,
            _here: PhantomData,
        })
    }

    /// The first byte of the unit at `position`.
    #[inline]
    fn unit(&self, position: u32) -> NonNull<u8> {
        let index = (position & (self.capacity - 1)) as usize;
        // SAFETY: the index is below the capacity, and the object has that many units after the
        // control block (checked when made or opened).
        unsafe { self.control.cast::<u8>().add(CONTROL + index * UNIT) }
    }

    /// Asks for the cache lines that the next frames will be written to, which the other side has
    /// read last: without it the release of the lock waits for each of them in turn (1.35 times the
    /// throughput at 64 bytes a frame, between two cores that are far apart).
    #[inline]
    fn expect_writes(&self, position: u32) {
        #[cfg(target_arch = "x86_64")]
        for line in [AHEAD, AHEAD + 64 / UNIT as u32] {
            let unit = self.unit(position.wrapping_add(line)).as_ptr();
            // SAFETY: a prefetch changes no memory and no register, at whatever address.
            unsafe {
                std::arch::asm!("prefetchw [{}]", in(reg) unit, options(nostack, preserves_flags));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = position;
    }

    #[inline]
    fn until_end(&self, position: u32) -> u32 {
        self.capacity - (position & (self.capacity - 1))
    }

    #[inline]
    fn write_header(&self, position: u32, len: u32, kind: u32) {
        // SAFETY: a unit is 16 bytes and 16-aligned (the object is 64-aligned); the caller holds the
        // tail lock and the unit is free, so nobody reads it.
        unsafe { self.unit(position).cast::<[u32; 2]>().write([len, kind]) };
    }
}

/// Whether a thread of this process holds one of the locks of the ring at `payload`.
pub(crate) fn is_locked_here(payload: NonNull<u8>, len: usize) -> bool {
    if len < ALIGN + CONTROL {
        return false;
    }
    // SAFETY: the payload of a ring, long enough for a control block, which its maker has
    // initialised before the object became a ring.
    let control = unsafe { control_at(payload).as_ref() };
    control.tail.lock.is_held_here() || control.head.lock.is_held_here()
}

fn control_of(object: &Object) -> NonNull<Control> {
    control_at(object.payload())
}

fn control_at(payload: NonNull<u8>) -> NonNull<Control> {
    let skip = payload.align_offset(ALIGN);
    // SAFETY: payloads start 16 or 64 bytes after a multiple of 64, so this skips less than ALIGN
    // bytes, which every ring's payload is longer than its content.
    unsafe { payload.add(skip).cast() }
}

#[inline]
fn units_of(body: usize) -> u32 {
    // Never less than a reference: the place that a popped frame opens may be needed for one.
    ((FRAME_HEADER + body).div_ceil(UNIT) as u32).max(REFERENCE_UNITS)
}

/// The right to push, until dropped.
#[derive(Debug)]
pub struct TailGuard<'a> {
    ring: &'a Ring,
    guard: RawGuard<'a>,
}

impl TailGuard<'_> {
    /// Whether the pusher before died. Nothing needs repair here; the layer above may know more.
    #[inline]
    pub fn taken(&self) -> Taken {
        self.guard.taken()
    }

    /// Where the next frame goes; compare with [`HeadGuard::position`].
    #[inline]
    pub fn position(&self) -> u64 {
        self.ring.control().tail.cursor.load(Ordering::Relaxed)
    }

    /// How many frames the ring holds if that may be `limit` or more, else some number below it: looks
    /// at the other side's cursor only where what it last saw does not settle the question.
    #[inline]
    pub fn len_up_to(&self, limit: usize) -> usize {
        let side = &self.ring.control().tail;
        let tail = Cursor::unpack(side.cursor.load(Ordering::Relaxed));
        let held = |head: u64| tail.frames.wrapping_sub(Cursor::unpack(head).frames) as usize;
        let held_then = held(side.seen.load(Ordering::Relaxed));
        if held_then < limit {
            return held_then;
        }
        // SYNC POINT ring space
        let head = self.ring.control().head.cursor.load(Ordering::Acquire);
        side.seen.store(head, Ordering::Relaxed);
        held(head)
    }

    /// Pushes the bytes of `parts` as one frame, if `spare` references would still fit after it.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing has changed then.
    #[inline]
    pub fn push(&mut self, parts: &[&[u8]], spare: u32) -> Result<(), PushError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.ring.longest_frame() {
            return Err(PushError::TooLong);
        }
        // A reference may meet a unit too few before the end, once.
        let spare = if spare == 0 {
            0
        } else {
            spare * REFERENCE_UNITS + 1
        };
        let (at, next) = self.place(units_of(len), spare).ok_or(PushError::Full)?;
        self.ring.expect_writes(next.units);
        self.ring.write_header(at, len as u32, BYTES);
        let mut target = self.ring.unit(at);
        // SAFETY: `place` found that many contiguous free units, and the tail lock keeps other
        // pushers away; takers do not look beyond the tail cursor. Parts are private memory.
        unsafe {
            target = target.add(FRAME_HEADER);
            for part in parts {
                target.copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len());
                target = target.add(part.len());
            }
        }
        // SYNC POINT ring: the taker that sees this cursor sees the frame.
        self.ring
            .control()
            .tail
            .cursor
            .store(next.pack(), Ordering::Release);
        Ok(())
    }

    /// Pushes a reference to a stored parcel.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`]; or the arena lock's refusal, as [`PushError::Full`] cannot say more.
    #[inline]
    pub fn push_parcel(&mut self, parcel: &Object) -> Result<(), PushError> {
        let (at, next) = self.place(REFERENCE_UNITS, 0).ok_or(PushError::Full)?;
        let words = parcel.handle().to_words();
        self.ring
            .write_header(at, size_of_val(&words) as u32, REFERENCE);
        // SAFETY: as in `push`; 24 bytes follow the header in two units, 8-aligned.
        unsafe {
            self.ring
                .unit(at)
                .add(FRAME_HEADER)
                .cast::<[u64; 3]>()
                .write(words)
        };
        let arena = self.ring.object.arena();
        let locked = arena.lock_for_create().map_err(|_| PushError::Full)?;
        let mut change = locked.begin();
        alloc::count_up(&mut change, parcel.offset());
        change.set(locked.offset(&self.ring.control().tail.cursor), next.pack());
        change.commit();
        Ok(())
    }

    /// Room for a frame of `units`, with `spare` units left: where it goes, and the cursor after it.
    /// Writes the skip frame where one is needed.
    #[inline]
    fn place(&self, units: u32, spare: u32) -> Option<(u32, Cursor)> {
        let ring = self.ring;
        let side = &ring.control().tail;
        let tail = Cursor::unpack(side.cursor.load(Ordering::Relaxed));
        let until_end = ring.until_end(tail.units);
        let skip = if units > until_end { until_end } else { 0 };
        let needed = skip + units + spare;
        let fits = |head: u64| {
            let taken = tail.units.wrapping_sub(Cursor::unpack(head).units);
            taken <= ring.capacity && needed <= ring.capacity - taken
        };
        if !fits(side.seen.load(Ordering::Relaxed)) {
            // SYNC POINT ring space: what the taker read is read before we write over it.
            let head = ring.control().head.cursor.load(Ordering::Acquire);
            side.seen.store(head, Ordering::Relaxed);
            if !fits(head) {
                return None;
            }
        }
        if skip > 0 {
            ring.write_header(tail.units, 0, SKIP);
        }
        Some((tail.units.wrapping_add(skip), tail.after(skip + units, 1)))
    }
}

/// The right to pop, until dropped.
#[derive(Debug)]
pub struct HeadGuard<'a> {
    ring: &'a Ring,
    guard: RawGuard<'a>,
    _here: PhantomData<*const ()>,
}

impl HeadGuard<'_> {
    /// Whether the taker before died. Nothing needs repair here; the layer above may know more.
    #[inline]
    pub fn taken(&self) -> Taken {
        self.guard.taken()
    }

    /// The position of the next frame: what [`TailGuard::position`] was before it was pushed.
    #[inline]
    pub fn position(&self) -> u64 {
        self.ring.control().head.cursor.load(Ordering::Relaxed)
    }

    /// Whether there is nothing to pop.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let side = &self.ring.control().head;
        let head = side.cursor.load(Ordering::Relaxed);
        if side.seen.load(Ordering::Relaxed) != head {
            return false;
        }
        // SYNC POINT ring
        let tail = self.ring.control().tail.cursor.load(Ordering::Acquire);
        side.seen.store(tail, Ordering::Relaxed);
        tail == head
    }

    /// The next frame's parcel, if it is one that carries open files; the frame stays. To be loaded
    /// before it is taken, without this lock: the files are asked of another process, and may find no
    /// room in this one. Then, if [`HeadGuard::position`] is as it was, it is taken by
    /// [`HeadGuard::pop`].
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the parcel cannot be reached; the frame stays.
    #[inline]
    pub fn parcel_with_files(&mut self) -> Result<Option<Object>, OpenError> {
        if self.is_empty() {
            return Ok(None);
        }
        let found = read_frame(self.ring, Cursor::unpack(self.position()));
        let reference = found.filter(|found| found.kind == REFERENCE);
        let handle = reference.map(|found| read_reference(found.body));
        match handle.filter(|&handle| parcel::carries_files(handle)) {
            Some(handle) => match object::open(self.ring.object.arena(), handle) {
                // The pop will say so, and go on.
                Err(OpenError::NotFound) => Ok(None),
                opened => opened.map(Some),
            },
            None => Ok(None),
        }
    }

    /// Takes the next frame, if there is one; bytes are appended to `buffer`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Corrupt`] if the frame cannot be true, [`OpenError`] if its parcel cannot be
    /// reached; either way the frame is gone and the ring goes on.
    #[inline]
    pub fn pop(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Frame>, OpenError> {
        if self.is_empty() {
            return Ok(None);
        }
        let head = Cursor::unpack(self.position());
        let found = match read_frame(self.ring, head) {
            Some(found) => found,
            None => return Err(self.give_up("a frame is longer than its ring")),
        };
        let body = found.body;
        if found.kind == BYTES {
            // SAFETY: `read_frame` has checked that the body lies in the ring and before the tail;
            // pushers do not write there until the head cursor moves.
            let bytes = unsafe { std::slice::from_raw_parts(body.as_ptr(), found.len) };
            if buffer.capacity() == 0 {
                *buffer = bytes.to_vec();
            } else {
                buffer.extend_from_slice(bytes);
            }
            // SYNC POINT ring space
            self.ring
                .control()
                .head
                .cursor
                .store(found.next.pack(), Ordering::Release);
            return Ok(Some(Frame::Bytes));
        }
        self.pop_parcel(read_reference(body), found.next).map(Some)
    }

    fn pop_parcel(&mut self, handle: Handle, next: Cursor) -> Result<Frame, OpenError> {
        let arena = self.ring.object.arena();
        let cursor = &self.ring.control().head.cursor;
        let at = arena.offset_of(cursor).expect("a ring lies in the arena");
        let taken = object::receive(arena, handle, |change| change.set(at, next.pack()));
        match taken {
            Ok(object) => Ok(Frame::Parcel(object)),
            Err(OpenError::NotFound) => {
                cursor.store(next.pack(), Ordering::Release);
                Err(OpenError::Corrupt("a frame refers to nothing"))
            }
            // No memory for a ledger block, say: the frame stays for a later try.
            Err(other) => Err(other),
        }
    }

    /// Skips all there is: what follows a false length cannot be found.
    fn give_up(&mut self, why: &'static str) -> OpenError {
        let control = self.ring.control();
        let tail = control.tail.cursor.load(Ordering::Acquire);
        control.head.seen.store(tail, Ordering::Relaxed);
        control.head.cursor.store(tail, Ordering::Release);
        OpenError::Corrupt(why)
    }
}

struct Found {
    kind: u32,
    len: usize,
    body: NonNull<u8>,
    next: Cursor,
}

/// The frame at `head`, which is not the tail as this side has last seen it. `None` if what is there cannot be one.
#[inline]
fn read_frame(ring: &Ring, head: Cursor) -> Option<Found> {
    // What this side last saw of the tail is enough, and the tail's own cache line is the pusher's.
    let tail = Cursor::unpack(ring.control().head.seen.load(Ordering::Relaxed));
    let mut at = head.units;
    let mut skip = 0;
    let mut header = read_header(ring, at);
    if header[1] == SKIP {
        skip = ring.until_end(at);
        at = at.wrapping_add(skip);
        header = read_header(ring, at);
    }
    // Read once, into locals: another process may write there.
    let [len, kind] = header;
    let units = units_of(len as usize);
    let filled = tail.units.wrapping_sub(head.units);
    let true_frame = (kind == BYTES || kind == REFERENCE && len as usize == size_of::<[u64; 3]>())
        && len as usize <= ring.longest_frame()
        && units <= ring.until_end(at)
        && filled <= ring.capacity
        && skip + units <= filled;
    // SAFETY: the header's unit is in the ring, and the body starts 8 bytes into its 16.
    let body = unsafe { ring.unit(at).add(FRAME_HEADER) };
    true_frame.then_some(Found {
        kind,
        len: len as usize,
        body,
        next: head.after(skip + units, 1),
    })
}

#[inline]
fn read_header(ring: &Ring, position: u32) -> [u32; 2] {
    // SAFETY: a unit is 16 bytes, 16-aligned and in the ring. Atomics, as a forger may write at any
    // time; an honest pusher has finished before the tail cursor moved.
    let words = unsafe { ring.unit(position).cast::<[AtomicU32; 2]>().as_ref() };
    [
        words[0].load(Ordering::Relaxed),
        words[1].load(Ordering::Relaxed),
    ]
}

fn read_reference(body: NonNull<u8>) -> Handle {
    // SAFETY: callers have a frame of kind REFERENCE, checked to have 24 bytes of body, 8-aligned.
    let words = unsafe { body.cast::<[AtomicU64; 3]>().as_ref() };
    Handle::from_words([0, 1, 2].map(|index: usize| words[index].load(Ordering::Relaxed)))
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("frames", &self.len())
            .field("bytes", &(self.capacity as usize * UNIT))
            .finish_non_exhaustive()
    }
}
