//! A queue without a bound: rings in a row.
//!
//! The *chunks* are rings of items; the *spine* is a ring of references to them, in order. Items are put
//! into the last chunk and taken from the first. Where the last is full, another is put behind it;
//! where the first is empty and not the last, it goes, and its memory with it. So the last chunk is
//! never taken out of the spine.
//!
//! | what | changes under | seen by |
//! |---|---|---|
//! | which chunk is the last: the spine's tail | the tail lock of the chunk that was the last, and the spine's | its cursor, which whoever holds a chunk's tail lock compares with the one he knew |
//! | which is the first: the spine's head | the head lock of the chunk that was the first, and the spine's | likewise |
//! | a chunk's `state`: how many items the queue had ever got before it | its maker, before it is in the spine | whoever counts |
//!
//! Order of locks: a chunk's, then the spine's of the same side.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | chunk made, not in the spine | an object of the dead: swept |
//! | in the spine, nothing put into it | an empty last chunk |
//! | first chunk found empty, still in the spine | the same, and the next taker finds it so |
//! | first chunk taken out | the next one is the first; the old one goes with the dead one's references |

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use multiproc_shm::{CreateError, Frame, HeadGuard, Object, OpenError, Ring, TailGuard};
use multiproc_sys::clock::Deadline;

use crate::channel::{Look, is_closed, push_into_chunk};
use crate::error::GetError;
use crate::item::{Body, Refused};

/// `b"quch"`
const CHUNK_TAG: u32 = u32::from_le_bytes(*b"quch");

/// Bytes of the first chunk, and of the largest.
const LEAST: usize = 16 * 1024;
const MOST: usize = 32 << 20;

/// So many chunks of one size, then one of twice the size: the last one, which stays, is a small part
/// of what the queue has held.
const OF_ONE_SIZE: u32 = 4;

/// Chunks at once. Of the largest, they hold 16 GiB of small items.
const CHUNKS: usize = 512;

/// Longer items get shared memory of their own: a frame may have half of the smallest chunk.
pub(crate) const INLINE_MAX: usize = LEAST / 2 - 64;

/// What an item needs in the spine.
const REFERENCE: usize = 32;

#[derive(Clone)]
pub(crate) struct Chain {
    spine: Ring,
    /// What this process has last seen. Private to it, and only a short cut.
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    first: Mutex<Option<Place>>,
    last: Mutex<Option<Place>>,
}

/// Looks that a thread needs to copy a place, and many more.
const SHORTLY: u32 = 200;

/// What is known, if another thread does not have it for longer than it takes to copy it. Nobody waits: in
/// a fork it may be locked for ever, and the spine says the same.
fn known(place: &Mutex<Option<Place>>) -> Option<MutexGuard<'_, Option<Place>>> {
    for _ in 0..SHORTLY {
        match place.try_lock() {
            Ok(known) => return Some(known),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

fn remember(place: &Mutex<Option<Place>>, seen: Place) {
    if let Some(mut known) = known(place) {
        *known = Some(seen);
    }
}

/// A chunk, and where the spine's cursor stands while it is the first or the last.
#[derive(Clone)]
struct Place {
    at: u64,
    chunk: Ring,
}

impl Place {
    fn learn(
        seen: Result<Option<(u64, Object)>, OpenError>,
        known: &Mutex<Option<Place>>,
    ) -> Result<Place, OpenError> {
        let (at, chunk) = seen?.ok_or(WITHOUT)?;
        let chunk = Ring::open(chunk)?;
        let place = Place { at, chunk };
        remember(known, place.clone());
        Ok(place)
    }
}

/// Frames of a packed cursor.
fn frames(cursor: u64) -> u32 {
    cursor as u32
}

impl Chain {
    pub(crate) fn create(tag: u32) -> Result<Chain, CreateError> {
        let spine = Ring::create(tag, CHUNKS * REFERENCE)?;
        let chunk = Ring::create(CHUNK_TAG, LEAST)?;
        let full = |error: &dyn std::fmt::Display| CreateError::Limit(error.to_string());
        let mut tail = spine.tail(Deadline::NEVER).map_err(|error| full(&error))?;
        tail.push_parcel(chunk.object())
            .map_err(|_| full(&"the arena's lock is refused to this thread"))?;
        drop(tail);
        Ok(Chain::open(spine))
    }

    pub(crate) fn open(spine: Ring) -> Chain {
        Chain {
            spine,
            known: Arc::default(),
        }
    }

    pub(crate) fn spine(&self) -> &Ring {
        &self.spine
    }

    /// The first chunk, as the spine has it. Waits for nobody.
    fn first(&self) -> Result<Place, OpenError> {
        let known = known(&self.known.first).and_then(|known| known.clone());
        match known.filter(|place| place.at == self.spine.positions().0) {
            Some(place) => Ok(place),
            None => Place::learn(self.spine.first_reference(), &self.known.first),
        }
    }

    /// The last chunk, as the spine has it. Waits for nobody.
    fn last(&self) -> Result<Place, OpenError> {
        let known = known(&self.known.last).and_then(|known| known.clone());
        match known.filter(|place| place.at == self.spine.positions().1) {
            Some(place) => Ok(place),
            None => Place::learn(self.spine.last_reference(), &self.known.last),
        }
    }

    /// Pushes the first of `bodies`, and as many of the others as there is room for beside it.
    pub(crate) fn push(&self, bodies: &[Body<'_>], deadline: Deadline) -> Result<usize, Refused> {
        loop {
            let place = self.last().map_err(corrupt)?;
            let mut tail = place.chunk.tail(deadline)?;
            if self.spine.positions().1 != place.at {
                continue;
            }
            if is_closed(&self.spine) {
                return Err(Refused::Closed);
            }
            // A large one that has run empty is left to those who take, and a small one goes on.
            let was_used = frames(tail.position()) > 0;
            let is_rest = place.chunk.room() > LEAST && was_used && tail.len_up_to(1) == 0;
            if !is_rest {
                let pushed = push_into_chunk(&mut tail, bodies)?;
                if pushed > 0 {
                    return Ok(pushed);
                }
            }
            self.append(&place.chunk, &tail, is_rest, deadline)?;
        }
    }

    /// Puts another chunk behind the last, whose tail the caller holds.
    #[cold]
    fn append(
        &self,
        last: &Ring,
        tail: &TailGuard<'_>,
        is_rest: bool,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let (first_at, last_at) = self.spine.positions();
        let many = frames(last_at).wrapping_sub(frames(first_at)) >= OF_ONE_SIZE;
        let room = match is_rest {
            true => LEAST,
            false if many && frames(last_at).is_multiple_of(OF_ONE_SIZE) => {
                (2 * last.room()).min(MOST)
            }
            false => last.room(),
        };
        let chunk = Ring::create(CHUNK_TAG, room).map_err(Refused::NoSpace)?;
        let before = last.state().load(Ordering::Relaxed);
        let ever = before.wrapping_add(frames(tail.position()));
        chunk.state().store(ever, Ordering::Release);
        let mut spine = self.spine.tail(deadline)?;
        spine.push_parcel(chunk.object()).map_err(|_| {
            let text = format!("a queue holds {CHUNKS} chunks of small items and no more");
            Refused::NoSpace(CreateError::NoSpace(text))
        })?;
        let at = spine.position();
        drop(spine);
        remember(&self.known.last, Place { at, chunk });
        Ok(())
    }

    /// Runs `look` on the first chunk that has something, or on the last.
    pub(crate) fn with_head(
        &self,
        deadline: Deadline,
        look: &mut impl FnMut(&mut HeadGuard<'_>) -> Result<Look, GetError>,
    ) -> Result<Look, GetError> {
        loop {
            let place = self.first()?;
            let mut head = place.chunk.head(deadline)?;
            if self.spine.positions().0 != place.at {
                continue;
            }
            let looked = look(&mut head)?;
            if !matches!(looked, Look::Took(0)) || !head.is_empty() {
                return Ok(looked);
            }
            let (_, last_at) = self.spine.positions();
            if frames(last_at).wrapping_sub(frames(place.at)) < 2 {
                return Ok(looked);
            }
            // Whoever put the next chunk there had found this one full, or left it, and nobody puts
            // anything into it any more. But something may have come since the look.
            if head.is_empty() {
                let taken = self.spine.head(deadline)?.pop(&mut Vec::new())?;
                debug_assert!(matches!(taken, Some(Frame::Parcel(_))));
            }
        }
    }

    /// How many items there are: all there ever were, but for those that have gone.
    pub(crate) fn len(&self) -> usize {
        let ever = |chunk: &Ring, cursor| {
            let before = chunk.state().load(Ordering::Acquire);
            before.wrapping_add(frames(cursor))
        };
        // In this order: what goes after the first look still counts, and what had come before the
        // second is not left out.
        let gone = self
            .first()
            .map(|at| ever(&at.chunk, at.chunk.positions().0));
        let come = self
            .last()
            .map(|at| ever(&at.chunk, at.chunk.positions().1));
        let (Ok(gone), Ok(come)) = (gone, come) else {
            return 0;
        };
        // Less than nothing only where content cannot be true.
        usize::try_from(come.wrapping_sub(gone).cast_signed()).unwrap_or(0)
    }

    /// The threads that hold the two ends now, 0 for none.
    pub(crate) fn holders(&self) -> [u32; 2] {
        let of = |place: &Mutex<Option<Place>>, end: usize| {
            let known = known(place);
            let chunk = known.as_ref().and_then(|known| known.as_ref());
            let chunk = chunk.map(|place| place.chunk.holders()[end]);
            chunk
                .filter(|&tid| tid != 0)
                .unwrap_or(self.spine.holders()[end])
        };
        [of(&self.known.first, 0), of(&self.known.last, 1)]
    }
}

const WITHOUT: OpenError = OpenError::Corrupt("a queue without a chunk");

fn corrupt(error: OpenError) -> Refused {
    Refused::NoSpace(CreateError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn items_are_counted_while_another_holds_the_spine() {
        let chain = Chain::create(7).expect("a chain");
        let large = [0; 4096];
        let put = || {
            let body = Body::Bytes(Cow::Borrowed(&large));
            let pushed = chain.push(&[body], Deadline::NEVER);
            assert!(pushed.is_ok_and(|pushed| pushed == 1));
        };
        let new_here = || Chain::open(chain.spine().clone());
        let early = new_here();
        put();
        assert_eq!(early.len(), 1);
        (1..100).for_each(|_| put());
        // As of a process stopped while it puts another chunk there, or takes one out.
        let _tail = chain.spine().tail(Deadline::NEVER).expect("the tail");
        let _head = chain.spine().head(Deadline::NEVER).expect("the head");
        assert_eq!((early.len(), new_here().len()), (100, 100));
    }
}
