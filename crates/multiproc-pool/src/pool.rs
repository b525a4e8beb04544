//! The pool as its user sees it: the owner of worker processes.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::builder::PoolBuilder;
use crate::error::BuildError;
use crate::handle::{AnyPool, PoolHandle};
use crate::hub::Hub;
use crate::options::Options;

/// Worker processes that run functions.
///
/// A task ends as its value or as a [`TaskError`](crate::TaskError), always. Share a pool between threads by
/// reference or in an `Arc`; every method takes `&self`. The verbs are those of [`PoolHandle`], which
/// it lends out.
///
/// # Examples
///
/// ```
/// // Prints "[0, 1, 4, 9, 16]".
/// use multiproc_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let squares = pool.map(|n: u64| n * n, 0..5)?;
/// println!("{squares:?}");
/// # assert_eq!(squares, [0, 1, 4, 9, 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # If a process dies
///
/// A worker that is killed, crashes or exits costs the one task it was running, which ends as
/// [`WorkerLost`](crate::TaskErrorKind::WorkerLost); what it had finished is delivered, what it had taken
/// and not begun runs elsewhere, and a new worker takes its place. If the process that owns the
/// pool dies, its workers are killed. What a task has started by other means than this library is its
/// own business, also after its death.
///
/// # Signals
///
/// The library catches none in your process. What Ctrl-C (`SIGINT`) and `SIGTERM` mean is for the
/// process that owns the pool to decide, so workers shrug off `SIGINT`, which a terminal sends to all.
/// If it does nothing about them, it ends at once, and its workers with it, in silence. To stop in good
/// order, wait for the signal in a thread and call [`shutdown`](PoolHandle::shutdown). `SIGTERM` usually goes to
/// one process; sent to a whole group, it ends workers that do not block it, at the cost of a task each.
///
/// # Differences from Python
///
/// No task of a lost worker hangs for ever. Dropping a pool terminates it, as leaving the `with`
/// block does. Long iterators are not read ahead without bound.
pub struct Pool<S = ()> {
    handle: PoolHandle<S>,
    /// Who made it: in a fork of this process, dropping does nothing.
    owner: u32,
}

impl Pool {
    /// A pool of `workers` processes; 0: as many as [`cpu_count`](multiproc_process::cpu_count).
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing left running.
    pub fn new(workers: usize) -> Result<Pool, BuildError> {
        Pool::builder().workers(workers).build()
    }

    /// A pool with more to say about it.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }
}

impl<S> Pool<S> {
    pub(crate) fn of(hub: Arc<Hub>, options: Options) -> Pool<S> {
        Pool {
            handle: PoolHandle::of(hub, options),
            owner: std::process::id(),
        }
    }

    #[cfg(test)]
    pub(crate) fn hub(&self) -> &Hub {
        &self.handle.hub
    }
}

impl<S> Deref for Pool<S> {
    type Target = PoolHandle<S>;

    fn deref(&self) -> &PoolHandle<S> {
        &self.handle
    }
}

impl<S> AnyPool for Pool<S> {
    type State = S;

    fn handle(&self) -> &PoolHandle<S> {
        &self.handle
    }
}

impl<S> Drop for Pool<S> {
    /// As [`PoolHandle::terminate`].
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.handle.terminate();
        }
    }
}

impl<S> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.handle).finish()
    }
}
