//! A pool of threads with the face of a pool of processes.
//!
//! The same loop runs on a thread that would run in a process, over the same rings: so arguments and
//! results are encoded here, too, and a task gets a copy of what the caller has.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::builder::{PoolBuilder, Threads};
use crate::error::BuildError;
use crate::handle::{AnyPool, PoolHandle};
use crate::hub::Hub;
use crate::options::Options;

/// Worker threads that run functions: a [`Pool`](crate::Pool) without other processes.
///
/// Everything means the same, so a program changes from one to the other by one word: tasks get copies of
/// their arguments, and handles stay handles. What differs is what a thread cannot do: it shares the
/// memory, and so the fate, of this process. A task that aborts ends the program, and one that
/// is [cancelled](crate::AsyncResult::cancel) or takes [too long](PoolHandle::task_timeout) is answered, but goes on until
/// it ends by itself.
///
/// # Examples
///
/// ```
/// use multiproc_pool::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let here = pool.call(std::process::id)?;
/// assert_eq!(here, std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPool<S = ()> {
    handle: PoolHandle<S>,
    /// Who made it: in a fork of this process, dropping does nothing.
    owner: u32,
}

impl ThreadPool {
    /// A pool of `workers` threads; 0: as many as [`cpu_count`](multiproc_process::cpu_count).
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing left running.
    pub fn new(workers: usize) -> Result<ThreadPool, BuildError> {
        ThreadPool::builder().workers(workers).build()
    }

    /// A pool with more to say about it.
    pub fn builder() -> PoolBuilder<(), Threads> {
        PoolBuilder::new()
    }
}

impl<S> ThreadPool<S> {
    pub(crate) fn of(hub: Arc<Hub>, options: Options) -> ThreadPool<S> {
        ThreadPool {
            handle: PoolHandle::of(hub, options),
            owner: std::process::id(),
        }
    }
}

impl<S> Deref for ThreadPool<S> {
    type Target = PoolHandle<S>;

    fn deref(&self) -> &PoolHandle<S> {
        &self.handle
    }
}

impl<S> AnyPool for ThreadPool<S> {
    type State = S;

    fn handle(&self) -> &PoolHandle<S> {
        &self.handle
    }
}

impl<S> Drop for ThreadPool<S> {
    /// As [`PoolHandle::terminate`].
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.handle.terminate();
        }
    }
}

impl<S> fmt::Debug for ThreadPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadPool").field(&self.handle).finish()
    }
}
