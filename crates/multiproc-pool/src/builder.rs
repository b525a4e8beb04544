//! How a pool is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use multiproc_process::cpu_count;

use crate::error::{BrokenCause, BuildError, TaskErrorKind};
use crate::hub::Hub;
use crate::pool::Pool;

/// More would not find a place among the members of the family.
const MOST_WORKERS: usize = 2_048;

/// Makes a [`Pool`]. From [`Pool::builder`].
///
/// # Examples
///
/// ```
/// use multiproc_pool::Pool;
///
/// let pool = Pool::builder().workers(2).name("resize").build()?;
/// let name = pool.call(|| multiproc_process::current_process().name().to_owned())?;
/// assert!(name.starts_with("resize-"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is started before `build`"]
pub struct PoolBuilder {
    workers: usize,
    name: Option<String>,
}

impl PoolBuilder {
    /// How many processes; 0, which is the default: as many as [`cpu_count`].
    pub fn workers(mut self, workers: usize) -> PoolBuilder {
        self.workers = workers;
        self
    }

    /// What the workers are called in messages, followed by their number. By default `pool-1`,
    /// `pool-2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.name = Some(name.into());
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing left running.
    pub fn build(self) -> Result<Pool, BuildError> {
        static POOLS: AtomicUsize = AtomicUsize::new(1);
        let workers = match self.workers {
            0 => cpu_count(),
            workers => workers,
        };
        if workers > MOST_WORKERS {
            return Err(BuildError::TooMany {
                asked: workers,
                most: MOST_WORKERS,
            });
        }
        let name = self
            .name
            .unwrap_or_else(|| format!("pool-{}", POOLS.fetch_add(1, Ordering::Relaxed)));
        let hub = Arc::new(Hub::new(name, workers)?);
        let started = (0..workers).try_for_each(|slot| hub.start_worker(slot));
        if let Err(error) = hub.supervise() {
            hub.finish(TaskErrorKind::Cancelled);
            return Err(BuildError::Thread(Arc::new(error)));
        }
        // From here on, dropping it ends what was started.
        let pool = Pool::of(hub);
        started.map_err(|cause| match cause {
            BrokenCause::Start(error) => BuildError::Start(error),
            BrokenCause::Create(error) => BuildError::Create(error),
            BrokenCause::Died(_) => unreachable!("starting does not wait for the worker"),
        })?;
        Ok(pool)
    }
}
