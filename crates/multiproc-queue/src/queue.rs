//! The queue: when to wait, and what a user gets. How items lie in memory is `multiproc_shm::Ring`.
//!
//! # The ring's state word
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 31 | closed; never opens again | anyone |
//! | 0..31 | how many items it may hold | its maker, before anybody else sees it |

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Frame, LockError, Object, Ring, Sources, Waitable, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Parcel, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{GetError, PutError};
use crate::waiting::{Late, Patience, Waiting};

/// `b"queu"`
const TAG: u32 = u32::from_le_bytes(*b"queu");

const CLOSED: u32 = 1 << 31;

/// The most items a bounded queue may hold.
const CAPACITY_MAX: usize = 1 << 26;

/// What an item always needs in the ring: a reference to where it lies.
const REFERENCE: usize = 32;

/// Room for items inside the ring, per item and in all.
const INLINE_EACH: usize = 1024;
const INLINE_ALL: usize = 1 << 20;

/// Longer items get shared memory of their own, so that copying them does not hold up others.
const INLINE_MAX: usize = 64 * 1024;

/// A queue of `T` between any threads of any processes of the family.
///
/// # Examples
///
/// ```
/// use multiproc_queue::Queue;
///
/// let queue = Queue::<u32>::bounded(2)?;
/// queue.put(1)?;
/// queue.put(2)?;
/// assert!(queue.try_put(3).is_err_and(|error| error.is_full()));
/// assert_eq!(queue.get()?, 1);
/// queue.close();
/// assert_eq!(queue.iter().collect::<Result<Vec<_>, _>>()?, [2]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// See the [crate](crate#if-a-process-dies). A *stopped* process (SIGSTOP) that happens to hold one
/// side holds up that side: `try_` verbs say `Full` or `Empty`, timed ones give up at their deadline.
///
/// # Differences from Python
///
/// There is no feeder thread: an item that cannot be encoded is an error of `put`, an item is visible
/// when `put` returns, and there is nothing to join or flush at exit. `qsize` is `len`.
pub struct Queue<T> {
    ring: Ring,
    getting: Patience,
    putting: Patience,
    _items: PhantomData<fn(T) -> T>,
}

/// Takes items until the queue is closed and drained: [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    queue: &'a Queue<T>,
}

impl<T> Queue<T> {
    /// A queue of at most `capacity` items.
    ///
    /// # Errors
    ///
    /// [`CreateError::Invalid`] for a capacity of 0 or above 67 million, [`CreateError::NoSpace`].
    pub fn bounded(capacity: usize) -> Result<Queue<T>, CreateError> {
        if capacity == 0 || capacity > CAPACITY_MAX {
            return Err(CreateError::Invalid(format!(
                "a queue for {capacity} items is not possible; give 1 to {CAPACITY_MAX}"
            )));
        }
        let inline = (capacity * INLINE_EACH).clamp(4096, INLINE_ALL);
        // One unit more: a reference may not fit before the ring's end.
        let ring = Ring::create(TAG, inline + (capacity + 1) * REFERENCE)?;
        ring.state().store(capacity as u32, Ordering::Release);
        Ok(Queue::of(ring))
    }

    fn of(ring: Ring) -> Queue<T> {
        Queue {
            ring,
            getting: Patience::default(),
            putting: Patience::default(),
            _items: PhantomData,
        }
    }

    /// How many items it may hold.
    #[inline]
    pub fn capacity(&self) -> usize {
        (self.ring.state().load(Ordering::Relaxed) & !CLOSED) as usize
    }

    /// How many items it holds; others may change that at any time.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether it holds as many as it may.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Ends the queue for everybody: puts are refused, gets take what is there and then say
    /// `Closed`. Whoever waits is woken. Closing twice is harmless.
    pub fn close(&self) {
        self.ring.state().fetch_or(CLOSED, Ordering::AcqRel);
        self.ring.items().ring_all();
        self.ring.space().ring_all();
    }

    /// Whether somebody has closed it.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.state().load(Ordering::Acquire) & CLOSED != 0
    }

    /// How many gets would have an answer now: a closed queue answers all.
    fn answers(&self) -> usize {
        if self.is_closed() {
            usize::MAX
        } else {
            self.len()
        }
    }
}

/// An item on its way in.
enum Packed {
    /// Its bytes go into the ring.
    Inline(Parcel),
    /// It lies in shared memory of its own.
    Stored(Object),
}

impl<T: Serialize + DeserializeOwned + 'static> Queue<T> {
    /// Puts `item` at the end, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`PutError`], with the item.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_until(item, Deadline::NEVER)
    }

    /// Puts `item` if there is room now.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] and others, with the item.
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_until(item, Deadline::NOW)
            .map_err(|error| match error {
                PutError::TimedOut(item) => PutError::Full(item),
                error => error,
            })
    }

    /// As [`Queue::put`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PutError`], with the item.
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_until(item, Deadline::after(timeout))
    }

    /// As [`Queue::put`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`PutError`], with the item.
    pub fn put_deadline(&self, item: T, deadline: Instant) -> Result<(), PutError<T>> {
        self.put_until(item, Deadline::at(deadline))
    }

    fn put_until(&self, item: T, deadline: Deadline) -> Result<(), PutError<T>> {
        // Bytes need no encoding, and no copy but the one into the ring.
        if let Some(bytes) = codec::raw_bytes(&item).filter(|bytes| self.fits_inline(bytes.len())) {
            match self.push(&Body::Bytes(bytes), deadline) {
                Ok(()) => return Ok(()),
                Err(Refused::NoRoomInline) => {}
                Err(refused) => return Err(refused.with(item)),
            }
        }
        let parcel = match codec::encode_checked(&item) {
            Ok(parcel) => parcel,
            Err(error) => return Err(PutError::Encode(item, error)),
        };
        match self.put_parcel(parcel, deadline) {
            Ok(()) => Ok(()),
            Err(refused) => Err(refused.with(item)),
        }
    }

    #[inline]
    fn fits_inline(&self, len: usize) -> bool {
        len <= INLINE_MAX.min(self.ring.longest_frame())
    }

    fn put_parcel(&self, parcel: Parcel, deadline: Deadline) -> Result<(), Refused> {
        let inline = parcel.attachments.is_empty() && self.fits_inline(parcel.bytes.len());
        let mut packed = if inline {
            Packed::Inline(parcel)
        } else {
            store(&parcel)?
        };
        loop {
            let pushed = match &packed {
                Packed::Inline(parcel) => self.push(&Body::Bytes(&parcel.bytes), deadline),
                Packed::Stored(object) => self.push(&Body::Stored(object), deadline),
            };
            match (pushed, &packed) {
                (Err(Refused::NoRoomInline), Packed::Inline(parcel)) => packed = store(parcel)?,
                (pushed, _) => return pushed,
            }
        }
    }

    /// Pushes one item, waiting while the queue is full.
    fn push(&self, body: &Body<'_>, deadline: Deadline) -> Result<(), Refused> {
        let mut waiting = Waiting::new(&self.putting, deadline);
        loop {
            let pushed = self.push_now(body, deadline);
            if !matches!(pushed, Err(Refused::Full)) {
                return pushed;
            }
            // A bell armed before another look cannot miss a pop after that look.
            waiting.pause(self.ring.space(), || self.places())?;
        }
    }

    #[inline]
    fn push_now(&self, body: &Body<'_>, deadline: Deadline) -> Result<(), Refused> {
        let mut tail = self.ring.tail(deadline)?;
        let state = self.ring.state().load(Ordering::Acquire);
        if state & CLOSED != 0 {
            return Err(Refused::Closed);
        }
        let capacity = (state & !CLOSED) as usize;
        let held = tail.len_up_to(capacity);
        if held >= capacity {
            return Err(Refused::Full);
        }
        match body {
            // Whatever lies inline, the items still to come must fit as references.
            Body::Bytes(bytes) => tail.push(&[bytes], (capacity - held - 1) as u32),
            Body::Stored(object) => tail.push_parcel(object),
        }
        .map_err(|_no_room| match body {
            Body::Bytes(_) => Refused::NoRoomInline,
            Body::Stored(_) => Refused::Full,
        })?;
        drop(tail);
        self.ring.items().ring_after_release();
        Ok(())
    }

    /// Takes the first item, waiting while there is none.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] once the queue is closed and drained, and others.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NEVER)
    }

    /// Takes the first item if there is one now.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] and others.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NOW).map_err(|error| match error {
            GetError::TimedOut => GetError::Empty,
            error => error,
        })
    }

    /// As [`Queue::get`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    /// As [`Queue::get`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
        self.get_until(Deadline::at(deadline))
    }

    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        let mut waiting = Waiting::new(&self.getting, deadline);
        let mut bytes = Vec::new();
        loop {
            // Read before the look: what was put before the close is seen after it.
            let closed = self.is_closed();
            if let Some(taken) = self.pop_now(&mut bytes, deadline)? {
                self.ring.space().ring_after_release();
                return unpack(taken, bytes);
            }
            if closed {
                return Err(GetError::Closed);
            }
            waiting
                .pause(self.ring.items(), || self.answers())
                .map_err(|_| GetError::TimedOut)?;
        }
    }

    #[inline]
    fn pop_now(&self, bytes: &mut Vec<u8>, deadline: Deadline) -> Result<Option<Taken>, GetError> {
        let mut head = self.ring.head(deadline)?;
        match head.parcel_with_files() {
            Ok(None) => {}
            Ok(Some(parcel)) => {
                let at = head.position();
                drop(head);
                return self.pop_with_files(&parcel, at, deadline);
            }
            Err(error) => return Err(error.into()),
        }
        match head.pop(bytes) {
            Ok(frame) => Ok(frame.map(Taken::from)),
            Err(error) => {
                // What could not be read is gone, and has left room.
                self.ring.space().ring();
                Err(error.into())
            }
        }
    }

    /// Takes the item at the head, which carries open files: first the files, which may find no room
    /// in this process, then the item. Another may take it in between: then there is none for now.
    #[cold]
    fn pop_with_files(
        &self,
        parcel: &Object,
        at: u64,
        deadline: Deadline,
    ) -> Result<Option<Taken>, GetError> {
        let loaded = parcel::load(parcel);
        if let Err(error) = &loaded
            && error.is_too_many_files()
        {
            return Err(error.clone().into());
        }
        let mut head = self.ring.head(deadline)?;
        if head.position() != at {
            drop(head);
            return self.pop_now(&mut Vec::new(), deadline);
        }
        let popped = head.pop(&mut Vec::new());
        drop(head);
        let loaded = popped
            .and(loaded)
            .inspect_err(|_| self.ring.space().ring())?;
        Ok(Some(Taken::Loaded(loaded)))
    }

    /// How many puts would have an answer now.
    fn places(&self) -> usize {
        if self.is_closed() {
            usize::MAX
        } else {
            self.capacity().saturating_sub(self.len())
        }
    }

    /// The items as they come, until the queue is closed and drained.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }
}

enum Body<'a> {
    Bytes(&'a [u8]),
    Stored(&'a Object),
}

/// Why a push did not happen, before the item is put beside it.
enum Refused {
    Full,
    /// The ring has no room for the bytes, but has for a reference.
    NoRoomInline,
    TimedOut,
    Closed,
    NoSpace(CreateError),
    TooMany,
}

impl Refused {
    fn with<T>(self, item: T) -> PutError<T> {
        match self {
            Refused::Full | Refused::NoRoomInline => PutError::Full(item),
            Refused::TimedOut => PutError::TimedOut(item),
            Refused::Closed => PutError::Closed(item),
            Refused::NoSpace(error) => PutError::NoSpace(item, error),
            Refused::TooMany => PutError::TooMany(item),
        }
    }
}

impl From<LockError> for Refused {
    fn from(error: LockError) -> Refused {
        match error {
            LockError::Refused(_) => Refused::TooMany,
            LockError::TimedOut | LockError::OwnerDied | LockError::Deadlock => Refused::TimedOut,
        }
    }
}

impl From<Late> for Refused {
    fn from(_: Late) -> Refused {
        Refused::TimedOut
    }
}

fn store(parcel: &Parcel) -> Result<Packed, Refused> {
    parcel::store(parcel)
        .map(Packed::Stored)
        .map_err(Refused::NoSpace)
}

/// An item on its way out.
enum Taken {
    Bytes,
    Stored(Object),
    Loaded(Parcel),
}

impl From<Frame> for Taken {
    fn from(frame: Frame) -> Taken {
        match frame {
            Frame::Bytes => Taken::Bytes,
            Frame::Parcel(stored) => Taken::Stored(stored),
        }
    }
}

fn unpack<T: DeserializeOwned + 'static>(taken: Taken, bytes: Vec<u8>) -> Result<T, GetError> {
    let decoded = match taken {
        Taken::Bytes => match codec::from_raw_bytes(bytes) {
            Ok(item) => Ok(item),
            Err(bytes) => codec::decode(&bytes, &[]),
        },
        Taken::Stored(stored) => parcel::with_bytes(&stored, codec::decode)?,
        Taken::Loaded(parcel) => codec::decode_once(&parcel.bytes, parcel.attachments),
    };
    decoded.map_err(GetError::Decode)
}

impl<T: Serialize + DeserializeOwned + 'static> Iterator for Iter<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Result<T, GetError>> {
        match self.queue.get() {
            Err(GetError::Closed) => None,
            answer => Some(answer),
        }
    }
}

impl<'a, T: Serialize + DeserializeOwned + 'static> IntoIterator for &'a Queue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue::of(self.ring.clone())
    }
}

/// Ready while it holds an item, and once it is closed.
impl<T> Waitable for Queue<T> {
    fn is_ready(&self) -> bool {
        self.answers() > 0
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.bell(self.ring.items());
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}

// No bounds on `T`, so that a struct with a `Queue<T>` field can derive its own.
impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ring.object().serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Queue<T>, D::Error> {
        let object = Object::deserialize(deserializer)?.expect_tag(TAG, "a queue");
        let ring = object
            .and_then(Ring::open)
            .map_err(serde::de::Error::custom)?;
        Ok(Queue::of(ring))
    }
}
