//! Results that come later.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;
use serde::de::DeserializeOwned;

use crate::collect::Then;
use crate::error::{TaskError, TaskErrorKind};
use crate::hub::Hub;
use crate::job::{Batch, Job, Manner};

/// A result that is there, or will be: from [`Pool::apply_async`](crate::PoolHandle::apply_async) and
/// [`Pool::map_async`](crate::PoolHandle::map_async).
///
/// It can be asked any number of times, from any thread; the value is decoded anew each time. It may
/// outlive its pool: then it is [`Cancelled`](TaskErrorKind::Cancelled), unless it was there before.
///
/// # Examples
///
/// ```
/// use multiproc_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let results: Vec<_> = (0..5).map(|n| pool.apply_async(|n: u32| n * n, n)).collect();
/// pool.close();
/// pool.join()?;
/// assert!(results.iter().all(|result| result.is_ready()));
/// assert_eq!(results[4].get()?, 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncResult<R> {
    hub: Arc<Hub>,
    state: State,
    read: fn(&Batch) -> Result<R, TaskError>,
}

enum State {
    /// So many items, of this job.
    Handed(Arc<Job>, usize),
    /// Never handed in.
    Refused(TaskError),
}

impl<R: DeserializeOwned + 'static> AsyncResult<R> {
    pub(crate) fn one(hub: &Arc<Hub>, job: Result<Arc<Job>, TaskErrorKind>) -> AsyncResult<R> {
        AsyncResult {
            hub: Arc::clone(hub),
            state: match job {
                Ok(job) => State::Handed(job, 1),
                Err(kind) => State::Refused(TaskError::new(kind, 0)),
            },
            read: |batch| batch.read(&batch.outcomes[0]),
        }
    }
}

impl<R: DeserializeOwned + 'static> AsyncResult<Vec<R>> {
    pub(crate) fn all(hub: &Arc<Hub>, job: Result<(Arc<Job>, usize), TaskError>) -> Self {
        AsyncResult {
            hub: Arc::clone(hub),
            state: match job {
                Ok((job, total)) => State::Handed(job, total),
                Err(error) => State::Refused(error),
            },
            read: |batch| {
                batch
                    .outcomes
                    .iter()
                    .map(|outcome| batch.read(outcome))
                    .collect()
            },
        }
    }
}

impl<R: 'static> AsyncResult<R> {
    /// Has `call` called with the value, once, as soon as it is there; not if there is none. It runs on
    /// a thread of the pool's own, one callback after the other, and may do anything: call the pool, end
    /// it, even panic, which is reported on standard error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// let pool = Pool::new(2)?;
    /// for n in 0..5 {
    ///     pool.apply_async(|n: u32| n + 100, n).callback(|sum| println!("{sum}"));
    /// }
    /// pool.close();
    /// pool.join()?; // also waits for the callbacks
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn callback(self, call: impl FnOnce(&R) + Send + 'static) -> AsyncResult<R> {
        self.done_callback(|result| {
            if let Ok(value) = result {
                call(&value);
            }
        })
    }

    /// As [`AsyncResult::callback`], with the error, if there is no value.
    pub fn error_callback(self, call: impl FnOnce(&TaskError) + Send + 'static) -> AsyncResult<R> {
        self.done_callback(|result| {
            if let Err(error) = result {
                call(&error);
            }
        })
    }

    /// As [`AsyncResult::callback`], with the value itself or the error, whichever it is.
    pub fn done_callback(
        self,
        call: impl FnOnce(Result<R, TaskError>) + Send + 'static,
    ) -> AsyncResult<R> {
        let read = self.read;
        match &self.state {
            State::Handed(job, total) => {
                let kept = Arc::clone(job);
                let call = Box::new(move || call(read(&kept.keep())));
                self.hub.call_back(job, *total, call);
            }
            State::Refused(error) => {
                let (error, job) = (error.clone(), Job::new(0, Manner::default()));
                self.hub
                    .call_back(&job, 0, Box::new(move || call(Err(error))));
            }
        }
        self
    }
}

impl<R> AsyncResult<R> {
    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// [`TaskError`]; of `map_async`, that of the failed item with the lowest index.
    pub fn get(&self) -> Result<R, TaskError> {
        self.get_until(Deadline::NEVER)
    }

    /// The result, if it is there.
    ///
    /// # Errors
    ///
    /// As [`AsyncResult::get`], and [`TimedOut`](TaskErrorKind::TimedOut) if it is not there.
    pub fn try_get(&self) -> Result<R, TaskError> {
        self.get_until(Deadline::NOW)
    }

    /// Waits for the result for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`AsyncResult::get`], and [`TimedOut`](TaskErrorKind::TimedOut); the task goes on then.
    pub fn get_timeout(&self, timeout: Duration) -> Result<R, TaskError> {
        self.get_until(Deadline::after(timeout))
    }

    /// Waits for the result until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// As [`AsyncResult::get_timeout`].
    pub fn get_deadline(&self, deadline: Instant) -> Result<R, TaskError> {
        self.get_until(Deadline::at(deadline))
    }

    fn get_until(&self, deadline: Deadline) -> Result<R, TaskError> {
        match &self.state {
            State::Refused(error) => Err(error.clone()),
            State::Handed(..) if !self.wait_until(deadline) => {
                Err(TaskError::new(TaskErrorKind::TimedOut, 0))
            }
            // No lock is held while it is decoded.
            State::Handed(job, _) => (self.read)(&job.keep()),
        }
    }

    /// Has the task end as [`Cancelled`](TaskErrorKind::Cancelled), unless it has ended. What no worker has
    /// begun is not begun any more; a worker that runs it is asked to end, killed after the pool's
    /// [`grace`](crate::PoolBuilder::grace), and replaced. `false`: it had ended.
    pub fn cancel(&self) -> bool {
        if self.is_ready() {
            return false;
        }
        if let State::Handed(job, _) = &self.state {
            self.hub.cancel(job);
            return job.was_cancelled();
        }
        false
    }

    /// Waits for at most `timeout`; whether the result is there.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::after(timeout))
    }

    /// Whether the result is there, value or error.
    pub fn is_ready(&self) -> bool {
        self.wait_until(Deadline::NOW)
    }

    /// Whether the task ended with a value; `None` if it has not ended.
    pub fn is_successful(&self) -> Option<bool> {
        self.is_ready().then(|| match &self.state {
            State::Handed(job, _) => job.is_successful(),
            State::Refused(_) => false,
        })
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        match &self.state {
            State::Handed(job, total) => self.hub.wait(job, *total, Then::Nothing, deadline),
            State::Refused(_) => true,
        }
    }
}

impl<R> fmt::Debug for AsyncResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = match &self.state {
            State::Handed(job, total) => job.has_reached(*total),
            State::Refused(_) => true,
        };
        f.debug_struct("AsyncResult")
            .field("ready", &ready)
            .finish_non_exhaustive()
    }
}
