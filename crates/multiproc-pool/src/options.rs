//! What a call may ask for beside its function and its items: a limit, a retry, a report of how far
//! it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whether the pool may run a task again after a worker died while running it.
///
/// # Examples
///
/// ```
/// use multiproc_pool::{Pool, Retry};
///
/// let pool = Pool::builder().workers(2).retry(Retry::idempotent(3)).build()?;
/// let dies_at_times = |n: u32| if std::process::id() % 2 == n % 2 { n } else { std::process::abort() };
/// // Each task is begun four times at most.
/// for outcome in pool.map_each(dies_at_times, [0, 1]) {
///     assert!(outcome.map_or_else(|error| error.attempts() == 4, |_| true));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    pub(crate) times: u32,
}

impl Retry {
    /// A task that was begun is not begun again: it may have done half of what it does. The default.
    pub fn never() -> Retry {
        Retry { times: 0 }
    }

    /// Running a task twice does no harm: one whose worker died is begun again, up to `times` times
    /// after the first. Only deaths count: what panics or takes too long would do so again.
    pub fn idempotent(times: u32) -> Retry {
        Retry { times }
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many items have been answered.
    pub done: usize,
    /// How many there are, if the iterator knows.
    pub total: Option<usize>,
}

/// The options of one call.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// How long one task may run.
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Retry,
    pub(crate) progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Options {
    /// Tells whoever wants to know.
    pub(crate) fn report(&self, done: usize, total: Option<usize>) {
        if let Some(progress) = &self.progress {
            progress(Progress { done, total });
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
