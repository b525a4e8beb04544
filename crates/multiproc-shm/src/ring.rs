//! Frames in order: a circular buffer inside one object, with one lock for each side.
//!
//! | word | meaning | who writes |
//! |---|---|---|
//! | `tail.cursor` | where the next frame goes; everything before it is complete | the holder of `tail.lock`, one store per frame |
//! | `head.cursor` | the next frame to take; everything before it is taken | the holder of `head.lock`, one store per frame |
//! | `*.seen` | what this side last saw of the other cursor, so as to look there rarely | the holder of that side's lock |
//! | `*.lock` | who may push, who may pop | `alone.rs` |
//! | `items`, `space` | bells for the two sides, for the layer above | see [`Bell`] |
//! | `state`, `word` | the layer above's | |
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
mod head;
mod quick;
mod sides;
mod tail;

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::alone::AloneLock;
use crate::bell::Bell;
use crate::error::{CreateError, OpenError};
use crate::object::{Handle, Kind, Object};

pub(crate) use dying::{owned, take_back};
pub use head::{Found, Frame, HeadGuard};
pub(crate) use sides::tell;
pub use tail::{PushError, TailGuard};

/// What cursors count in.
const UNIT: usize = 16;
const FRAME_HEADER: usize = 8;
/// Units of a frame that carries a reference.
const REFERENCE_UNITS: u32 = 2;

/// How many units ahead of the next frame the processor is told to expect writes; reads twice as far.
const AHEAD: u32 = 16;
/// Units in a cache line.
const LINE: u32 = 64 / UNIT as u32;

const BYTES: u32 = 1;
const REFERENCE: u32 = 2;
const SKIP: u32 = 3;

#[repr(C, align(64))]
struct Side {
    cursor: AtomicU64,
    seen: AtomicU64,
    /// On a line of its own: the other side, which looks at the cursor, would take it away.
    _room: [u64; 6],
    lock: AloneLock,
}

/// A bell alone on its cache line: one side reads it often, the other writes it seldom.
#[repr(C, align(64))]
struct BellLine(Bell);

#[repr(C, align(64))]
struct Control {
    capacity: AtomicU64,
    state: AtomicU32,
    _room: [u32; 5],
    word: AtomicU64,
    _more_room: [u64; 3],
    tail: Side,
    head: Side,
    items: BellLine,
    space: BellLine,
}

const CONTROL: usize = size_of::<Control>();
const ALIGN: usize = align_of::<Control>();
const _: () = assert!(size_of::<Side>() == 128 && CONTROL == 448);

/// A position: units and frames since the ring was made, both wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    units: u32,
    frames: u32,
}

impl Cursor {
    #[inline]
    fn unpack(word: u64) -> Cursor {
        Cursor {
            units: (word >> 32) as u32,
            frames: word as u32,
        }
    }

    #[inline]
    fn pack(self) -> u64 {
        u64::from(self.units) << 32 | u64::from(self.frames)
    }

    #[inline]
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

    /// How many bytes of frames it has room for, their headers included.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity as usize * UNIT
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

    /// Where the next frame will be taken and where it will be put, as [`HeadGuard::position`] and
    /// [`TailGuard::position`] say; others may change that at any time.
    #[inline]
    pub fn positions(&self) -> (u64, u64) {
        let control = self.control();
        let head = control.head.cursor.load(Ordering::Acquire);
        (head, control.tail.cursor.load(Ordering::Acquire))
    }

    /// The threads that hold the lock of the head and that of the tail now, 0 for none.
    pub fn holders(&self) -> [u32; 2] {
        let control = self.control();
        [&control.head.lock, &control.tail.lock].map(AloneLock::holder)
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
        for line in [AHEAD, AHEAD + LINE] {
            self.expect(position.wrapping_add(line));
        }
    }

    /// Asks for the cache lines of the frames that come next, as far as they are there: a lock that is taken
    /// and released for each frame keeps the processor from looking ahead by itself.
    #[inline]
    fn expect_reads(&self, position: u32, until: u32) {
        for line in [2 * AHEAD, 2 * AHEAD + LINE] {
            if until.wrapping_sub(position) > line {
                self.expect(position.wrapping_add(line));
            }
        }
    }

    /// The line at `position`, to be ours alone: the other side comes back to it with another frame, and
    /// asks for it then.
    #[inline]
    fn expect(&self, position: u32) {
        #[cfg(target_arch = "x86_64")]
        {
            let unit = self.unit(position).as_ptr();
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
