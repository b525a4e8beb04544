//! Queues in the server.

use std::time::{Duration, Instant};

use multiproc_queue::{FinishError, GetError, PutError, TaskDoneError};
use multiproc_sys::clock::Deadline;

use super::list::unpack_all;
use super::{Data, count, flag, proxy, unit, wait_until};
use crate::client::Trouble;
use crate::error::{CallError, ProxyError};
use crate::manager::Manager;
use crate::message::{Failure, Make, Op, QueueOp};

proxy! {
    /// A queue that lives in a manager's server, for programs that share no memory. Between
    /// processes of one family the queue of `multiproc_queue` does the same faster.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let queue = manager.queue::<u32>(2)?;
    /// queue.put(1)?;
    /// queue.put(2)?;
    /// assert!(queue.try_put(3).is_err());
    /// assert_eq!(queue.get()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # If a process dies
    ///
    /// What it has put stays; what the server has sent it goes with it.
    QueueProxy<T>
}

proxy! {
    /// As [`QueueProxy`], for items that are work: who gets one says [`task_done`] when it is through with
    /// it, and [`join`] waits until that is so for all.
    ///
    /// # If a process dies
    ///
    /// The items it had in hand are lost. Nobody waits for them: [`join`] returns when all else is done,
    /// and says how many were lost.
    ///
    /// [`task_done`]: JoinableQueueProxy::task_done
    /// [`join`]: JoinableQueueProxy::join
    JoinableQueueProxy<T>
}

impl Manager {
    /// A new queue for at most `capacity` items.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Refused`] for a capacity of 0.
    pub fn queue<T: Data>(&self, capacity: usize) -> Result<QueueProxy<T>, CallError> {
        self.make(bounded(capacity)?).map(QueueProxy::of)
    }

    /// A new queue for any number of items: as many as the server has memory for.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn unbounded_queue<T: Data>(&self) -> Result<QueueProxy<T>, CallError> {
        self.make(UNBOUNDED).map(QueueProxy::of)
    }

    /// A new queue that can be joined, for at most `capacity` items.
    ///
    /// # Errors
    ///
    /// As [`Manager::queue`].
    pub fn joinable_queue<T: Data>(
        &self,
        capacity: usize,
    ) -> Result<JoinableQueueProxy<T>, CallError> {
        self.make(bounded(capacity)?).map(JoinableQueueProxy::of)
    }

    /// A new queue that can be joined, for any number of items.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn unbounded_joinable_queue<T: Data>(&self) -> Result<JoinableQueueProxy<T>, CallError> {
        self.make(UNBOUNDED).map(JoinableQueueProxy::of)
    }
}

const UNBOUNDED: Make = Make::Queue { capacity: u64::MAX };

fn bounded(capacity: usize) -> Result<Make, CallError> {
    match capacity as u64 {
        0 => Err(CallError::Refused(
            "a queue must have room for one item at least; unbounded_queue has room for any number"
                .into(),
        )),
        capacity => Ok(Make::Queue { capacity }),
    }
}

fn put_error<T>(trouble: Trouble, item: T, at_once: bool) -> ProxyError<PutError<T>, T> {
    match trouble {
        Trouble::Failed(Failure::WouldBlock | Failure::TimedOut) if at_once => {
            ProxyError::Object(PutError::Full(item))
        }
        Trouble::Failed(Failure::WouldBlock | Failure::TimedOut) => {
            ProxyError::Object(PutError::TimedOut(item))
        }
        Trouble::Failed(Failure::Closed) => ProxyError::Object(PutError::Closed(item)),
        other => ProxyError::Call(other.into(), item),
    }
}

fn get_error(trouble: Trouble, at_once: bool) -> ProxyError<GetError> {
    match trouble {
        Trouble::Failed(Failure::WouldBlock | Failure::TimedOut) if at_once => {
            ProxyError::Object(GetError::Empty)
        }
        Trouble::Failed(Failure::WouldBlock | Failure::TimedOut) => {
            ProxyError::Object(GetError::TimedOut)
        }
        Trouble::Failed(Failure::Closed) => ProxyError::Object(GetError::Closed),
        other => CallError::from(other).into(),
    }
}

type Put<T> = Result<(), ProxyError<PutError<T>, T>>;
type Got<T> = Result<T, ProxyError<GetError>>;
type Joined = Result<(), ProxyError<FinishError>>;

/// The two kinds have the same verbs.
macro_rules! queue_verbs {
    ($name:ident) => {
        impl<T: Data> $name<T> {
            /// Puts an item, and waits for room.
            ///
            /// # Errors
            ///
            /// [`PutError::Closed`], or [`CallError`]; the item comes back. After
            /// [`CallError::ServerGone`] it is not known whether it was put.
            pub fn put(&self, item: T) -> Put<T> {
                self.put_until(item, Deadline::NEVER, false)
            }

            /// Puts an item if there is room.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`], and as for `put`.
            pub fn try_put(&self, item: T) -> Put<T> {
                self.put_until(item, Deadline::NOW, true)
            }

            /// As `put`, for at most `timeout`. The server keeps the time.
            ///
            /// # Errors
            ///
            /// [`PutError::TimedOut`], and as for `put`.
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Put<T> {
                self.put_until(item, Deadline::after(timeout), false)
            }

            /// As `put`, until `deadline` at most.
            ///
            /// # Errors
            ///
            /// As for `put_timeout`.
            pub fn put_deadline(&self, item: T, deadline: Instant) -> Put<T> {
                self.put_until(item, Deadline::at(deadline), false)
            }

            fn put_until(&self, item: T, deadline: Deadline, at_once: bool) -> Put<T> {
                let (value, _kept) = match self.handle.pack(&item) {
                    Ok(packed) => packed,
                    Err(error) => return Err(ProxyError::Object(PutError::Encode(item, error))),
                };
                let wait = wait_until(deadline);
                match self.handle.ask(Op::Queue(QueueOp::Put { value, wait })) {
                    Ok(answer) => unit(answer).map_err(|error| ProxyError::Call(error, item)),
                    Err(trouble) => Err(put_error(trouble, item, at_once)),
                }
            }

            /// Takes the next item, and waits for one.
            ///
            /// # Errors
            ///
            /// [`GetError::Closed`] once the queue is closed and drained, or [`CallError`].
            pub fn get(&self) -> Got<T> {
                self.get_until(Deadline::NEVER, false)
            }

            /// Takes the next item if there is one.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`], and as for `get`.
            pub fn try_get(&self) -> Got<T> {
                self.get_until(Deadline::NOW, true)
            }

            /// As `get`, for at most `timeout`. The server keeps the time.
            ///
            /// # Errors
            ///
            /// [`GetError::TimedOut`], and as for `get`.
            pub fn get_timeout(&self, timeout: Duration) -> Got<T> {
                self.get_until(Deadline::after(timeout), false)
            }

            /// As `get`, until `deadline` at most.
            ///
            /// # Errors
            ///
            /// As for `get_timeout`.
            pub fn get_deadline(&self, deadline: Instant) -> Got<T> {
                self.get_until(Deadline::at(deadline), false)
            }

            fn get_until(&self, deadline: Deadline, at_once: bool) -> Got<T> {
                let wait = wait_until(deadline);
                let answer = self.handle.ask(Op::Queue(QueueOp::Get { wait }));
                let answer = answer.map_err(|trouble| get_error(trouble, at_once))?;
                let item = self.handle.optional(answer)?;
                item.ok_or_else(|| CallError::Protocol("no item came".into()).into())
            }

            /// Takes up to `most` items in one round trip, and waits for the first.
            ///
            /// # Errors
            ///
            /// As for `get`.
            pub fn get_many(&self, most: usize) -> Got<Vec<T>> {
                let most = u32::try_from(most).unwrap_or(u32::MAX);
                let wait = wait_until(Deadline::NEVER);
                let answer = self.handle.ask(Op::Queue(QueueOp::GetMany { most, wait }));
                let answer = answer.map_err(|trouble| get_error(trouble, false))?;
                Ok(unpack_all(&self.handle, answer)?)
            }

            /// The items, until it is closed and empty, or a call fails.
            pub fn iter(&self) -> QueueIter<'_, T> {
                QueueIter {
                    next: Box::new(|| self.get()),
                }
            }

            fn ask(&self, op: QueueOp) -> Result<crate::message::Answer, CallError> {
                Ok(self.handle.ask(Op::Queue(op))?)
            }

            /// How many items are in it.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn len(&self) -> Result<usize, CallError> {
                count(self.ask(QueueOp::Len)?)
            }

            /// Whether none are.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn is_empty(&self) -> Result<bool, CallError> {
                Ok(self.len()? == 0)
            }

            /// Whether it holds as many as it may.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn is_full(&self) -> Result<bool, CallError> {
                Ok(self.len()? >= self.capacity()?)
            }

            /// How many items it may hold; `usize::MAX` for any number.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn capacity(&self) -> Result<usize, CallError> {
                count(self.ask(QueueOp::Capacity)?)
            }

            /// Lets nobody put any more. What is in it can still be taken.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn close(&self) -> Result<(), CallError> {
                unit(self.ask(QueueOp::Close)?)
            }

            /// Whether it is closed.
            ///
            /// # Errors
            ///
            /// [`CallError`].
            pub fn is_closed(&self) -> Result<bool, CallError> {
                flag(self.ask(QueueOp::IsClosed)?)
            }
        }
    };
}

queue_verbs!(QueueProxy);
queue_verbs!(JoinableQueueProxy);

impl<T: Data> JoinableQueueProxy<T> {
    /// Says that one item that this process has got is done, on any of its threads.
    ///
    /// # Errors
    ///
    /// [`TaskDoneError`] if this process has no item in hand, or [`CallError`].
    pub fn task_done(&self) -> Result<(), ProxyError<TaskDoneError>> {
        match self.handle.ask(Op::Queue(QueueOp::TaskDone)) {
            Ok(answer) => Ok(unit(answer)?),
            Err(Trouble::Failed(Failure::AboveBound)) => {
                Err(ProxyError::Object(TaskDoneError::default()))
            }
            Err(trouble) => Err(CallError::from(trouble).into()),
        }
    }

    /// How many items are not done: in the queue, or in the hands of a process that is connected.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn unfinished(&self) -> Result<usize, CallError> {
        count(self.ask(QueueOp::Unfinished)?)
    }

    /// Waits until every item that was put is done.
    ///
    /// # Errors
    ///
    /// [`FinishError::Lost`] if all is done, but for items that died with who had them in hand, which
    /// each process is told once; or [`CallError`].
    pub fn join(&self) -> Joined {
        self.join_until(Deadline::NEVER)
    }

    /// Whether every item is done.
    ///
    /// # Errors
    ///
    /// [`FinishError::Unfinished`], and as [`JoinableQueueProxy::join`].
    pub fn try_join(&self) -> Joined {
        self.join_until(Deadline::NOW)
    }

    /// As [`JoinableQueueProxy::join`], for at most `timeout`. The server keeps the time.
    ///
    /// # Errors
    ///
    /// [`FinishError::Unfinished`], and as [`JoinableQueueProxy::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Joined {
        self.join_until(Deadline::after(timeout))
    }

    /// As [`JoinableQueueProxy::join_timeout`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`JoinableQueueProxy::join_timeout`].
    pub fn join_deadline(&self, deadline: Instant) -> Joined {
        self.join_until(Deadline::at(deadline))
    }

    fn join_until(&self, deadline: Deadline) -> Joined {
        let wait = wait_until(deadline);
        match self.handle.ask(Op::Queue(QueueOp::Join { wait })) {
            Ok(answer) => match count(answer)? as u64 {
                0 => Ok(()),
                items => Err(ProxyError::Object(FinishError::Lost { items })),
            },
            Err(Trouble::Failed(Failure::WouldBlock | Failure::TimedOut)) => {
                // They may be done by now.
                let items = self.unfinished()?.max(1);
                Err(ProxyError::Object(FinishError::Unfinished { items }))
            }
            Err(trouble) => Err(CallError::from(trouble).into()),
        }
    }
}

/// The items of a queue, until it is closed and empty, or a call fails.
pub struct QueueIter<'a, T> {
    next: Box<dyn FnMut() -> Got<T> + 'a>,
}

impl<T> Iterator for QueueIter<'_, T> {
    type Item = Got<T>;

    fn next(&mut self) -> Option<Got<T>> {
        match (self.next)() {
            Err(ProxyError::Object(GetError::Closed)) => None,
            item => Some(item),
        }
    }
}

impl<T> std::fmt::Debug for QueueIter<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueIter").finish_non_exhaustive()
    }
}
