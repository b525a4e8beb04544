//! A queue with a handful of verbs.

use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Sources, Waitable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{GetError, PutError};
use crate::queue::Queue;

/// A queue without a bound, for those who need no more than put and get: an unbounded [`Queue`] with
/// fewer verbs.
///
/// ```
/// let queue = multiproc_queue::SimpleQueue::new()?;
/// queue.put("hello".to_owned())?;
/// assert_eq!(queue.get()?, "hello");
/// assert!(queue.is_empty());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// As [`Queue`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SimpleQueue<T>(Queue<T>);

impl<T> SimpleQueue<T> {
    /// An empty queue.
    ///
    /// # Errors
    ///
    /// As [`Queue::unbounded`].
    pub fn new() -> Result<SimpleQueue<T>, CreateError> {
        Queue::unbounded().map(SimpleQueue)
    }

    /// Whether it holds no item; others may change that at any time.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`Queue::close`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether somebody has closed it.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T: Serialize + DeserializeOwned + 'static> SimpleQueue<T> {
    /// Puts `item` at the end. Never waits for room.
    ///
    /// # Errors
    ///
    /// [`PutError`], with the item.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item)
    }

    /// Takes the first item, waiting while there is none.
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }

    /// Takes the first item if there is one now.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] and others.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.0.try_get()
    }

    /// As [`SimpleQueue::get`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.0.get_timeout(timeout)
    }

    /// As [`SimpleQueue::get`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`GetError`].
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
        self.0.get_deadline(deadline)
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> SimpleQueue<T> {
        SimpleQueue(self.0.clone())
    }
}

/// Ready while it holds an item, and once it is closed.
impl<T> Waitable for SimpleQueue<T> {
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        self.0.sources(sources);
    }
}

impl<T> std::fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimpleQueue").field(&self.0).finish()
    }
}
