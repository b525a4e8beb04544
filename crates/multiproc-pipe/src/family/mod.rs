//! Connections in the family: a ring for each direction, and an end for each side of it.
//!
//! # A message is one piece or several
//!
//! | last byte of a piece | what it is | before that byte |
//! |---|---|---|
//! | [`WHOLE`] | a message | its bytes |
//! | [`FIRST`] | the beginning of a long one | its first bytes, then the length of all, 8 bytes |
//! | [`MIDDLE`] | more of it | bytes |
//! | [`LAST`] | the end of it | bytes |
//!
//! Pieces lie in the ring itself, so that a process that is stopped in the middle of a message holds up
//! nobody but the other users of that pipe. Only a piece with handles is a parcel of its own, of which the
//! ring carries a reference, and a long message that is to be sent without waiting. The pieces of a message follow each other: its sender holds the ring's tail lock
//! from the first to the last. A piece that begins a message makes what came before it, unfinished, void;
//! pieces that nobody has the beginning of are passed over.
//!
//! # The ring's words
//!
//! | word | bits | meaning | who changes it |
//! |---|---|---|---|
//! | `state` | 0, 1 | the ends for sending, for receiving, are gone | `multiproc_shm::End` |
//! | `state` | 2 | a long message is under way: bells wake all, as only one sleeper can go on | its sender, or the next holder of the tail lock after its death |
//! | `word` | | which receiver has the beginning of a long message, 0 if none | that receiver: set under the head lock, cleared any time; others under the head lock, once its process is dead |

mod incoming;
mod outgoing;

pub(crate) use incoming::RingIn;
pub(crate) use outgoing::RingOut;

use std::sync::atomic::{AtomicBool, Ordering, fence};

use multiproc_shm::{Bell, CreateError, End, Object, OpenError, Ring};
use parking_lot::Mutex;

/// `b"pipe"`
const TAG: u32 = u32::from_le_bytes(*b"pipe");

const WHOLE: u8 = 3;
const FIRST: u8 = 1;
const MIDDLE: u8 = 0;
const LAST: u8 = 2;

/// In a ring's state: a long message is under way.
const LONG: u32 = 4;

/// Bytes of a direction's ring, of which one piece may take half.
const RING: usize = 16 << 10;

/// A long message is only stored as a whole while fewer than this are under way.
const STORED_MOST: usize = 8;

/// A new direction: its sending and its receiving end.
pub(crate) fn direction() -> Result<(RingOut, RingIn), CreateError> {
    let ring = Ring::create(TAG, RING)?;
    let receiving = RingIn::of(End::create(&ring, true)?);
    let sending = RingOut::of(End::create(&ring, false)?);
    Ok((sending, receiving))
}

/// One side of a ring, until it is closed.
#[derive(Debug)]
struct Side {
    ring: Ring,
    /// Dropped when the handle is closed.
    end: Mutex<Option<End>>,
    closed: AtomicBool,
}

impl Side {
    fn of(end: End) -> Side {
        Side {
            ring: end.ring().clone(),
            end: Mutex::new(Some(end)),
            closed: AtomicBool::new(false),
        }
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// False if it was closed already.
    fn close(&self) -> bool {
        let is_first = !self.closed.swap(true, Ordering::AcqRel);
        if is_first {
            drop(self.end.lock().take());
            // Threads that wait with this very handle.
            self.ring.items().ring_all();
            self.ring.space().ring_all();
        }
        is_first
    }

    /// The object to send, if it is not closed.
    fn object(&self) -> Option<Object> {
        self.end.lock().as_ref().map(|end| end.object().clone())
    }

    fn state(&self) -> u32 {
        self.ring.state().load(Ordering::Acquire)
    }
}

impl Clone for Side {
    /// A clone of a closed handle is closed.
    fn clone(&self) -> Side {
        let end = self.end.lock().clone();
        Side {
            ring: self.ring.clone(),
            closed: AtomicBool::new(end.is_none()),
            end: Mutex::new(end),
        }
    }
}

/// Opens an end that was received.
fn open(object: Object, receiving: bool) -> Result<Side, OpenError> {
    End::open(object, receiving).map(Side::of)
}

/// Wakes all who sleep there, if anybody does: for changes that only one of them can use.
fn ring_everybody(bell: &Bell) {
    fence(Ordering::SeqCst);
    if bell.is_armed() {
        // One wake tells whether anybody is there at all.
        bell.ring();
        if bell.is_armed() {
            bell.ring_all();
        }
    }
}
