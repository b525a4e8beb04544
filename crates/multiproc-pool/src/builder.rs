//! How a pool is made.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use multiproc_process::{StartMethod, cpu_count, get_start_method};
use multiproc_wire::FunctionError;
use multiproc_wire::task::TaskRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crew::Plan;
use crate::error::{BrokenCause, BuildError, TaskErrorKind};
use crate::hub::Hub;
use crate::options::{Options, Retry};
use crate::pool::Pool;
use crate::terms::{Preparation, Terms};
use crate::thread::ThreadPool;

/// More would not find a place among the members of the family.
const MOST_WORKERS: usize = 2_048;

/// How long a worker that is asked to end may take, unless said otherwise.
const GRACE: Duration = Duration::from_secs(1);

/// Workers are processes: see [`PoolBuilder`].
#[derive(Debug)]
pub enum Processes {}

/// Workers are threads: see [`PoolBuilder`].
#[derive(Debug)]
pub enum Threads {}

/// Makes a [`Pool`] or a [`ThreadPool`]. From [`Pool::builder`] and [`ThreadPool::builder`].
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
#[must_use = "nothing is started before `build`"]
pub struct PoolBuilder<S = (), K = Processes> {
    workers: usize,
    name: Option<String>,
    terms: Terms,
    options: Options,
    method: Option<StartMethod>,
    start_timeout: Option<Duration>,
    grace: Duration,
    keeps_stderr: bool,
    /// What is wrong with what was asked for: said by `build`.
    refused: Option<BuildError>,
    what: PhantomData<fn(K) -> S>,
}

impl<K> PoolBuilder<(), K> {
    pub(crate) fn new() -> PoolBuilder<(), K> {
        PoolBuilder {
            workers: 0,
            name: None,
            terms: Terms::default(),
            options: Options::default(),
            method: None,
            start_timeout: None,
            grace: GRACE,
            keeps_stderr: false,
            refused: None,
            what: PhantomData,
        }
    }

    /// Has each worker keep what `f(argument)` gives, which need not be a serde value, and lend it to
    /// the tasks of [`map_with`](crate::PoolHandle::map_with) and its like.
    ///
    /// It is made before the worker's first task, again in each worker that replaces another, and
    /// dropped when a worker leaves or retires; not when it is killed. A panic is a failed start: see
    /// [`PoolBuilder::initializer`].
    pub fn state<A, S>(self, f: fn(A) -> S, argument: A) -> PoolBuilder<S, K>
    where
        A: Serialize + DeserializeOwned + 'static,
        S: 'static,
    {
        self.prepare("state", TaskRef::of_state(f), &argument)
            .keeping()
    }

    /// As [`PoolBuilder::state`], with a function that may fail; any error that can be displayed.
    pub fn try_state<A, S, E>(self, f: fn(A) -> Result<S, E>, argument: A) -> PoolBuilder<S, K>
    where
        A: Serialize + DeserializeOwned + 'static,
        S: 'static,
        E: fmt::Display + 'static,
    {
        self.prepare("state", TaskRef::of_try_state(f), &argument)
            .keeping()
    }

    fn keeping<S>(self) -> PoolBuilder<S, K> {
        PoolBuilder {
            workers: self.workers,
            name: self.name,
            terms: self.terms,
            options: self.options,
            method: self.method,
            start_timeout: self.start_timeout,
            grace: self.grace,
            keeps_stderr: self.keeps_stderr,
            refused: self.refused,
            what: PhantomData,
        }
    }

    /// Has each worker call `f(argument)` before its first task.
    ///
    /// Where that panics, or takes longer than [`start_timeout`](PoolBuilder::start_timeout), the
    /// worker has failed to start. After three failed starts in a row the pool is
    /// [`Broken`](TaskErrorKind::Broken), and the error says why the first one failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::builder().workers(1).initializer(|n| assert!(n < 3), 7).build()?;
    /// let error = pool.call(|| ()).unwrap_err();
    /// assert!(error.is_broken() && error.to_string().contains("n < 3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn initializer<A>(self, f: fn(A), argument: A) -> PoolBuilder<(), K>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        self.prepare("initializer", TaskRef::of_state(f), &argument)
    }

    /// As [`PoolBuilder::initializer`], with a function that may fail; any error that can be displayed.
    pub fn try_initializer<A, E>(self, f: fn(A) -> Result<(), E>, argument: A) -> PoolBuilder<(), K>
    where
        A: Serialize + DeserializeOwned + 'static,
        E: fmt::Display + 'static,
    {
        self.prepare("initializer", TaskRef::of_try_state(f), &argument)
    }

    fn prepare<A>(mut self, what: &str, f: Result<TaskRef, FunctionError>, argument: &A) -> Self
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        match Preparation::new(what, f, argument) {
            Ok(step) => self.terms.steps.push(step),
            Err(error) => self.refused = self.refused.or(Some(error)),
        }
        self
    }
}

impl<S, K> PoolBuilder<S, K> {
    /// How many workers; 0, which is the default: as many as [`cpu_count`].
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// What the workers are called in messages, followed by their number. By default `pool-1`,
    /// `pool-2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many tasks a worker runs before another takes its place; 0, which is the default: any
    /// number. For tasks that leave something behind, such as memory that is never freed.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.terms.most_tasks = tasks;
        self
    }

    /// The longest that a task may run, unless its call says otherwise: see
    /// [`PoolHandle::task_timeout`](crate::PoolHandle::task_timeout). By default for ever.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Whether a task whose worker died may be run again, unless its call says otherwise. By default
    /// [`Retry::never`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }

    /// The longest that a worker may take to be ready for its first task, initializer and state
    /// included. One that takes longer has failed to start. By default for ever.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = Some(limit);
        self
    }

    fn make(self, own_process: bool) -> Result<(Arc<Hub>, Options), BuildError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
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
        let method = match (self.method, get_start_method()) {
            (Some(StartMethod::Fork), _) => return Err(BuildError::Fork),
            (Some(method), _) => method,
            (None, StartMethod::Fork) => StartMethod::ForkServer,
            (None, method) => method,
        };
        let name = self
            .name
            .unwrap_or_else(|| format!("pool-{}", POOLS.fetch_add(1, Ordering::Relaxed)));
        let hub = Arc::new(Hub::new(Plan {
            name,
            workers,
            terms: Terms {
                own_process,
                ..self.terms
            },
            method,
            start_timeout: self.start_timeout,
            grace: self.grace,
            keeps_stderr: self.keeps_stderr,
        })?);
        let started = (0..workers).try_for_each(|slot| hub.start_worker(slot));
        if let Err(error) = hub.supervise() {
            hub.finish(TaskErrorKind::Cancelled);
            return Err(BuildError::Thread(Arc::new(error)));
        }
        if let Err(cause) = started {
            // Ends what was started.
            drop(Pool::<()>::of(hub, Options::default()));
            return Err(match cause {
                BrokenCause::Start(error) => BuildError::Start(error),
                BrokenCause::Create(error) => BuildError::Create(error),
                BrokenCause::Thread(error) => BuildError::Thread(error),
                BrokenCause::Died(_) | BrokenCause::Prepare(_) => {
                    unreachable!("starting does not wait for the worker")
                }
            });
        }
        Ok((hub, self.options))
    }
}

impl<S> PoolBuilder<S, Processes> {
    /// How the workers come about; otherwise by the process's own default
    /// ([`set_start_method`](multiproc_process::set_start_method)).
    ///
    /// Not by [`StartMethod::Fork`], which `build` refuses: a worker is replaced while other threads
    /// run. Where that is the default, workers come by [`StartMethod::ForkServer`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// How many bytes of memory of its own a worker may use and stay: one that uses more after a task
    /// is replaced, and nothing is lost. By default any number.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.terms.most_memory = bytes.max(1);
        self
    }

    /// Whether the last 4 KiB that a worker wrote to its standard error come with the error of a task
    /// that it took along ([`WorkerLost`](TaskErrorKind::WorkerLost)). By default not.
    ///
    /// What workers write then goes through a pipe and a thread of this process to its own standard
    /// error: a worker sees no terminal there, and what it wrote in the last moment before this process
    /// ends may not be shown.
    pub fn capture_stderr(mut self, capture: bool) -> Self {
        self.keeps_stderr = capture;
        self
    }

    /// How long a worker may take to end that was asked to, because its task took too long or was
    /// cancelled; then it is killed. By default a second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing left running.
    pub fn build(self) -> Result<Pool<S>, BuildError> {
        let (hub, options) = self.make(true)?;
        Ok(Pool::of(hub, options))
    }
}

impl<S> PoolBuilder<S, Threads> {
    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing left running.
    pub fn build(self) -> Result<ThreadPool<S>, BuildError> {
        let (hub, options) = self.make(false)?;
        Ok(ThreadPool::of(hub, options))
    }
}

impl<S, K> fmt::Debug for PoolBuilder<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("workers", &self.workers)
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
