//! What a user gets: a queue of `T`, and its verbs. How it works is `channel`.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Object, Sources, Waitable, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_wire::codec;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::Channel;
use crate::error::{GetError, GetManyError, PutError};
use crate::hands::Hands;
use crate::item::{self, Body, Refused};

/// Items of so many bytes are dropped before they can be taken.
const LARGE: usize = 1 << 20;

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
    channel: Channel,
    /// Of a joinable queue.
    hands: Option<Hands>,
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
        Ok(Queue::of(Channel::bounded(capacity, false)?, None))
    }

    /// A queue of any number of items: as many as the family's shared memory holds. A put never
    /// waits. Memory comes with the items and goes with them.
    ///
    /// # Errors
    ///
    /// [`CreateError::NoSpace`].
    pub fn unbounded() -> Result<Queue<T>, CreateError> {
        Ok(Queue::of(Channel::unbounded(false)?, None))
    }

    pub(crate) fn joinable(capacity: Option<usize>) -> Result<Queue<T>, CreateError> {
        let channel = match capacity {
            Some(capacity) => Channel::bounded(capacity, true)?,
            None => Channel::unbounded(true)?,
        };
        Ok(Queue::of(channel, Some(Hands::create()?)))
    }

    fn of(channel: Channel, hands: Option<Hands>) -> Queue<T> {
        Queue {
            channel,
            hands,
            _items: PhantomData,
        }
    }

    pub(crate) fn hands(&self) -> Option<&Hands> {
        self.hands.as_ref()
    }

    /// How many items it may hold; `usize::MAX` for any number.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.channel.capacity()
    }

    /// How many items it holds; others may change that at any time.
    #[inline]
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it holds as many as it may.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Ends the queue for everybody: puts are refused, gets take what is there and then say
    /// `Closed`. Whoever waits is woken. Closing twice is harmless.
    pub fn close(&self) {
        self.channel.close();
    }

    /// Whether somebody has closed it.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Queue<T> {
    /// Puts `item` at the end, waiting while the queue is full.
    ///
    /// A `Vec<u8>` or `Bytes` of a MiB or more is dropped as soon as it lies in shared memory, so that a
    /// message on its way takes at most twice its length in all processes together; an item of another
    /// type lives until it has been put, beside its encoding.
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
            .map_err(PutError::at_once)
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
        if codec::raw_bytes(&item).is_some_and(|bytes| bytes.len() >= LARGE) {
            return self.put_large(item, deadline);
        }
        match self.push_one(&item, deadline) {
            Ok(()) => Ok(()),
            Err(refused) => Err(refused.with(item)),
        }
    }

    /// Drops a large item as soon as it is stored, before anybody can take it: there are never more than two
    /// copies, one of which is being made of the other. Where it is refused, the item is made again.
    #[cold]
    fn put_large(&self, item: T, deadline: Deadline) -> Result<(), PutError<T>> {
        let bytes = codec::raw_bytes(&item).unwrap_or_default();
        let (len, stored) = (bytes.len(), item::store_bytes(bytes));
        let stored = match stored {
            Ok(stored) => stored,
            Err(refused) => return Err(refused.with(item)),
        };
        drop(item);
        let pushed = self
            .channel
            .push(&mut [Body::Stored(stored.clone())], deadline);
        pushed.map(drop).map_err(|refused| {
            let item = codec::from_raw_bytes(parcel::bytes_again(&stored, len));
            refused.with(item.expect("it was bytes"))
        })
    }

    #[inline]
    fn push_one(&self, item: &T, deadline: Deadline) -> Result<(), Refused> {
        let mut body = Body::of(item, self.channel.inline_max())?;
        let bodies = std::slice::from_mut(&mut body);
        self.channel.push(bodies, deadline).map(drop)
    }

    /// Puts all `items` at the end, in order, waiting while the queue is full: as many at once as
    /// there is room for, which costs far less than one by one. Items of other producers may come to
    /// stand between those that were not put at once.
    ///
    /// ```
    /// let queue = multiproc_queue::Queue::bounded(100)?;
    /// queue.put_many(0..10)?;
    /// assert_eq!(queue.get_many(4)?, [0, 1, 2, 3]);
    /// assert_eq!(queue.len(), 6);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError`], with the items that were not put. If one cannot be encoded, none is put.
    pub fn put_many(&self, items: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.put_many_until(items, Deadline::NEVER)
    }

    /// Puts as many of `items` as there is room for now.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] and others, with the items that were not put.
    pub fn try_put_many(&self, items: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> {
        self.put_many_until(items, Deadline::NOW)
            .map_err(PutError::at_once)
    }

    /// As [`Queue::put_many`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PutError`], with the items that were not put.
    pub fn put_many_timeout(
        &self,
        items: impl IntoIterator<Item = T>,
        timeout: Duration,
    ) -> Result<(), PutError<Vec<T>>> {
        self.put_many_until(items, Deadline::after(timeout))
    }

    /// As [`Queue::put_many`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`PutError`], with the items that were not put.
    pub fn put_many_deadline(
        &self,
        items: impl IntoIterator<Item = T>,
        deadline: Instant,
    ) -> Result<(), PutError<Vec<T>>> {
        self.put_many_until(items, Deadline::at(deadline))
    }

    fn put_many_until(
        &self,
        items: impl IntoIterator<Item = T>,
        deadline: Deadline,
    ) -> Result<(), PutError<Vec<T>>> {
        let mut items: Vec<T> = items.into_iter().collect();
        let mut done = 0;
        match self.push_all(&items, &mut done, deadline) {
            Ok(()) => Ok(()),
            Err(refused) => {
                items.drain(..done);
                Err(refused.with(items))
            }
        }
    }

    /// `done` says how many were put, also after an error.
    fn push_all(&self, items: &[T], done: &mut usize, deadline: Deadline) -> Result<(), Refused> {
        let inline = self.channel.inline_max();
        let bodies = items.iter().map(|item| Body::of(item, inline));
        let mut bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        while *done < bodies.len() {
            *done += self.channel.push(&mut bodies[*done..], deadline)?;
        }
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
        self.get_until(Deadline::NOW).map_err(GetError::at_once)
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
        let mut taken = None;
        let mut keep = |item| taken = Some(item);
        self.channel
            .take(1, self.hands.as_ref(), deadline, &mut keep)?;
        let item = taken.expect("one was taken").into_item();
        if item.is_err() {
            self.was_unreadable();
        }
        item
    }

    /// An item that cannot be had will not be said to be done.
    #[cold]
    fn was_unreadable(&self) {
        if let Some(hands) = &self.hands {
            hands.put_down();
        }
    }

    /// Takes up to `most` items, waiting while there is none: as many as are there, under one lock.
    ///
    /// # Errors
    ///
    /// [`GetManyError`], with the items that were got beside the one that could not be.
    ///
    /// # If a process dies
    ///
    /// A consumer that is killed takes along what it has got in one call.
    pub fn get_many(&self, most: usize) -> Result<Vec<T>, GetManyError<T>> {
        self.get_many_until(most, Deadline::NEVER)
    }

    /// Takes up to `most` of the items there are now.
    ///
    /// # Errors
    ///
    /// [`GetManyError`], of [`GetError::Empty`] and others.
    pub fn try_get_many(&self, most: usize) -> Result<Vec<T>, GetManyError<T>> {
        self.get_many_until(most, Deadline::NOW)
            .map_err(GetManyError::at_once)
    }

    /// As [`Queue::get_many`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`GetManyError`].
    pub fn get_many_timeout(
        &self,
        most: usize,
        timeout: Duration,
    ) -> Result<Vec<T>, GetManyError<T>> {
        self.get_many_until(most, Deadline::after(timeout))
    }

    /// As [`Queue::get_many`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`GetManyError`].
    pub fn get_many_deadline(
        &self,
        most: usize,
        deadline: Instant,
    ) -> Result<Vec<T>, GetManyError<T>> {
        self.get_many_until(most, Deadline::at(deadline))
    }

    fn get_many_until(&self, most: usize, deadline: Deadline) -> Result<Vec<T>, GetManyError<T>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut taken = Vec::with_capacity(most.min(self.len()));
        let mut keep = |item| taken.push(item);
        let answer = self
            .channel
            .take(most, self.hands.as_ref(), deadline, &mut keep);
        let mut error = answer.err();
        let mut got = Vec::with_capacity(taken.len());
        for item in taken {
            match item.into_item() {
                Ok(item) => got.push(item),
                Err(unreadable) => {
                    self.was_unreadable();
                    error.get_or_insert(unreadable);
                }
            }
        }
        match error {
            None => Ok(got),
            Some(error) => Err(GetManyError::new(got, error)),
        }
    }

    /// The items as they come, until the queue is closed and drained.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }
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
        Queue::of(self.channel.clone(), self.hands.clone())
    }
}

/// Ready while it holds an item, and once it is closed.
impl<T> Waitable for Queue<T> {
    fn is_ready(&self) -> bool {
        self.channel.answers() > 0
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.bell(self.channel.ring().items());
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.channel.fmt(f)
    }
}

// No bounds on `T`, so that a struct with a `Queue<T>` field can derive its own.
impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hands = self.hands.as_ref().map(Hands::object);
        (self.channel.ring().object(), hands).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Queue<T>, D::Error> {
        let (object, hands) = <(Object, Option<Object>)>::deserialize(deserializer)?;
        let channel = Channel::open(object).map_err(D::Error::custom)?;
        let hands = hands.map(Hands::open).transpose();
        let hands = hands.map_err(D::Error::custom)?;
        if channel.is_joinable() != hands.is_some() {
            return Err(D::Error::custom("a joinable queue and its count are apart"));
        }
        Ok(Queue::of(channel, hands))
    }
}
