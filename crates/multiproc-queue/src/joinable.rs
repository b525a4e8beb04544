//! A queue that knows when the work put into it is done.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_shm::{CreateError, Sleeper, Sources, Waitable};
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::Woken;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{FinishError, GetError, TaskDoneError};
use crate::hands::Hands;
use crate::queue::{Iter, Queue};

/// A [`Queue`] whose items are work: who gets one says [`task_done`](JoinableQueue::task_done) when he
/// is through with it, and [`join`](JoinableQueue::join) waits until that is so for all.
///
/// It is a queue in all else: put, get and the other verbs are those of [`Queue`].
///
/// # Examples
///
/// ```
/// use multiproc_queue::JoinableQueue;
///
/// let queue = JoinableQueue::<u32>::bounded(8)?;
/// let worker = queue.clone();
/// let worker = std::thread::spawn(move || {
///     for item in &*worker {
///         let _square = item.unwrap().pow(2);
///         worker.task_done().unwrap();
///     }
/// });
/// queue.put_many(0..20)?;
/// queue.join()?;
/// queue.close();
/// worker.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// The items it had in hand, got and not said to be done, are lost. Nobody waits for them: `join`
/// returns when all else is done, and says how many were lost.
///
/// # Differences from Python
///
/// There, an item in the hands of a process that dies makes `join` wait for ever.
pub struct JoinableQueue<T> {
    queue: Queue<T>,
    /// Of the items lost, how many `join` has told of on this handle.
    told: AtomicU64,
}

impl<T> JoinableQueue<T> {
    /// A joinable queue of at most `capacity` items.
    ///
    /// # Errors
    ///
    /// As [`Queue::bounded`].
    pub fn bounded(capacity: usize) -> Result<JoinableQueue<T>, CreateError> {
        Queue::joinable(Some(capacity)).map(JoinableQueue::of)
    }

    /// A joinable queue of any number of items.
    ///
    /// # Errors
    ///
    /// As [`Queue::unbounded`].
    pub fn unbounded() -> Result<JoinableQueue<T>, CreateError> {
        Queue::joinable(None).map(JoinableQueue::of)
    }

    /// Starts with what has been lost until now, which others have been told of.
    fn of(queue: Queue<T>) -> JoinableQueue<T> {
        let lost = queue.hands().map_or(0, Hands::lost);
        JoinableQueue {
            queue,
            told: AtomicU64::new(lost),
        }
    }

    fn hands(&self) -> &Hands {
        self.queue.hands().expect("made or opened with hands")
    }

    /// Says that one item that this process has got is done, on any of its threads. An item that was handed
    /// on to another process is still in the hands of the one that got it: that one says when it is done.
    ///
    /// # Errors
    ///
    /// [`TaskDoneError`] if this process has no item in hand; nothing has changed then.
    ///
    /// # Differences from Python
    ///
    /// There, any process may say so for any other, and one that says it too often ends the wait for an item
    /// that somebody still works on.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        match self.hands().put_down() {
            true => Ok(()),
            false => Err(TaskDoneError(())),
        }
    }

    /// How many items are not done: in the queue, or in the hands of a process that lives.
    pub fn unfinished(&self) -> usize {
        // In this order: an item is in hand before it leaves the queue.
        let here = self.queue.len();
        here.saturating_add(usize::try_from(self.hands().held()).unwrap_or(usize::MAX))
    }

    /// Waits until all items are done.
    ///
    /// # Errors
    ///
    /// [`FinishError::Lost`] if all is done, but for items that died with who had them in hand.
    pub fn join(&self) -> Result<(), FinishError> {
        self.join_until(Deadline::NEVER)
    }

    /// Whether all items are done.
    ///
    /// # Errors
    ///
    /// [`FinishError::Unfinished`], and as [`JoinableQueue::join`].
    pub fn try_join(&self) -> Result<(), FinishError> {
        self.join_until(Deadline::NOW)
    }

    /// As [`JoinableQueue::join`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`FinishError::Unfinished`], and as [`JoinableQueue::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), FinishError> {
        self.join_until(Deadline::after(timeout))
    }

    /// As [`JoinableQueue::join`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`FinishError::Unfinished`], and as [`JoinableQueue::join`].
    pub fn join_deadline(&self, deadline: Instant) -> Result<(), FinishError> {
        self.join_until(Deadline::at(deadline))
    }

    fn join_until(&self, deadline: Deadline) -> Result<(), FinishError> {
        let mut sleeper = Sleeper::new(deadline);
        loop {
            // Armed before the look: who says "done" after it rings.
            let armed = self.hands().bell().arm();
            let left = self.unfinished();
            if left == 0 {
                // Others may wait as well, and a bell may wake one.
                self.hands().bell().ring_all();
                return self.tell_of_losses();
            }
            let late = deadline.has_passed()
                || self.hands().bell().sleep(armed, &mut sleeper) == Woken::TimedOut;
            if late {
                return Err(FinishError::Unfinished { items: left });
            }
        }
    }

    /// Each handle tells of a loss once.
    fn tell_of_losses(&self) -> Result<(), FinishError> {
        let lost = self.hands().lost();
        match lost.saturating_sub(self.told.swap(lost, Ordering::Relaxed)) {
            0 => Ok(()),
            items => Err(FinishError::Lost { items }),
        }
    }
}

impl<'a, T: Serialize + DeserializeOwned + 'static> IntoIterator for &'a JoinableQueue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.queue
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue {
            queue: self.queue.clone(),
            told: AtomicU64::new(self.told.load(Ordering::Relaxed)),
        }
    }
}

/// Ready while it holds an item, and once it is closed.
impl<T> Waitable for JoinableQueue<T> {
    fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        self.queue.sources(sources);
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("queue", &self.queue)
            .field("unfinished", &self.unfinished())
            .finish()
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.queue.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JoinableQueue<T>, D::Error> {
        let queue = Queue::deserialize(deserializer)?;
        match queue.hands() {
            Some(_) => Ok(JoinableQueue::of(queue)),
            None => Err(serde::de::Error::custom("the queue is not a joinable one")),
        }
    }
}
