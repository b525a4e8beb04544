//! The verbs: how work is handed to a pool, and what comes back.
//!
//! Whose workers they are, and when they end, is the business of [`Pool`](crate::Pool) and
//! [`ThreadPool`](crate::ThreadPool), which lend this out.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_wire::FunctionError;
use multiproc_wire::task::TaskRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::book::Chunk;
use crate::chunk;
use crate::error::{TaskError, TaskErrorKind};
use crate::feed::{self, Feed, Size};
use crate::hub::Hub;
use crate::imap::{Imap, ImapUnordered};
use crate::job::{Batch, Job};
use crate::options::{Options, Progress, Retry};
use crate::result::AsyncResult;

/// A function's words, or why it has none.
type Function = Result<TaskRef, FunctionError>;

/// What work is handed to: lent by a [`Pool`](crate::Pool) or a [`ThreadPool`](crate::ThreadPool), whose methods
/// these are.
///
/// Clones are cheap and hand in to the same workers. None of them keeps the workers alive: when the
/// pool is dropped, what is handed in afterwards ends as [`Cancelled`](TaskErrorKind::Cancelled).
///
/// [`task_timeout`](PoolHandle::task_timeout), [`retry`](PoolHandle::retry) and
/// [`progress`](PoolHandle::progress) give a handle whose calls have that option.
pub struct PoolHandle<S = ()> {
    pub(crate) hub: Arc<Hub>,
    options: Options,
    state: PhantomData<fn(&mut S)>,
}

/// Whatever has a [`PoolHandle`]: for functions that do not care whose workers they use.
///
/// # Examples
///
/// ```
/// use multiproc_pool::{AnyPool, Pool, TaskError, ThreadPool};
///
/// fn squares(pool: &impl AnyPool<State = ()>) -> Result<Vec<u64>, TaskError> {
///     pool.handle().map(|n: u64| n * n, 0..4)
/// }
///
/// assert_eq!(squares(&Pool::new(2)?)?, [0, 1, 4, 9]);
/// assert_eq!(squares(&ThreadPool::new(2)?)?, [0, 1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AnyPool {
    /// What each worker keeps for its tasks.
    type State;

    /// Where work is handed in.
    fn handle(&self) -> &PoolHandle<Self::State>;
}

impl<S> AnyPool for PoolHandle<S> {
    type State = S;

    fn handle(&self) -> &PoolHandle<S> {
        self
    }
}

impl<S> PoolHandle<S> {
    pub(crate) fn of(hub: Arc<Hub>, options: Options) -> PoolHandle<S> {
        PoolHandle {
            hub,
            options,
            state: PhantomData,
        }
    }

    fn with(&self, change: impl FnOnce(&mut Options)) -> PoolHandle<S> {
        let mut options = self.options.clone();
        change(&mut options);
        PoolHandle::of(Arc::clone(&self.hub), options)
    }

    /// The same pool, for calls of which no task may run longer than `limit`: such a task ends as
    /// [`TimedOut`](TaskErrorKind::TimedOut), at most a quarter later, or a second, if that is less.
    ///
    /// Its worker is asked to end (`SIGTERM`), killed after the pool's
    /// [`grace`](crate::PoolBuilder::grace), and replaced; nothing else is begun there. A thread
    /// cannot be stopped: its task is answered, and goes on until it ends by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// # use std::time::Duration;
    /// let pool = Pool::new(2)?;
    /// let quick = pool.task_timeout(Duration::from_millis(50));
    /// let error = quick.call(|| std::thread::sleep(Duration::from_secs(60))).unwrap_err();
    /// assert!(error.is_timed_out());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn task_timeout(&self, limit: Duration) -> PoolHandle<S> {
        self.with(|options| options.timeout = Some(limit))
    }

    /// The same pool, for calls whose tasks may be run again after a death.
    pub fn retry(&self, retry: Retry) -> PoolHandle<S> {
        self.with(|options| options.retry = retry)
    }

    /// The same pool, for calls that tell how far they are: `report` is called by the thread that
    /// waits in `map`, `map_each` or an iterator, each time results have come, a few or many at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// let pool = Pool::new(2)?;
    /// let watched = pool.progress(|so_far| eprint!("\r{} of {:?}", so_far.done, so_far.total));
    /// watched.map(|n: u64| n * n, 0..100)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress(&self, report: impl Fn(Progress) + Send + Sync + 'static) -> PoolHandle<S> {
        self.with(|options| options.progress = Some(Arc::new(report)))
    }

    /// As [`PoolHandle::progress`], shown by a bar of `indicatif`, which is given its length.
    #[cfg(feature = "indicatif")]
    pub fn progress_bar(&self, bar: &indicatif::ProgressBar) -> PoolHandle<S> {
        let bar = bar.clone();
        self.progress(move |so_far| {
            if let Some(total) = so_far.total {
                bar.set_length(total as u64);
            }
            bar.set_position(so_far.done as u64);
        })
    }

    /// Calls `f(argument)` in a worker and waits for the result.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// let pool = Pool::new(1)?;
    /// assert_eq!(pool.apply(|(a, b): (u32, u32)| a + b, (2, 3))?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub fn apply<A, R>(&self, f: fn(A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.apply_async(f, argument).get()
    }

    /// Calls `f()` in a worker and waits for the result.
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub fn call<R>(&self, f: fn() -> R) -> Result<R, TaskError>
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        self.one(TaskRef::of_call(f), &()).get()
    }

    /// Has `f(argument)` called in a worker; the result comes later.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// let pool = Pool::new(2)?;
    /// let later = pool.apply_async(|n: u64| (1..=n).product::<u64>(), 20);
    /// assert_eq!(later.get()?, 2_432_902_008_176_640_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply_async<A, R>(&self, f: fn(A) -> R, argument: A) -> AsyncResult<R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.one(TaskRef::of(f), &argument)
    }

    /// Calls `f` for each item and waits for the results, in the order of the items.
    ///
    /// Items are handed out in chunks, sized by how long tasks take. Several arguments travel as a
    /// tuple: `pool.map(|(a, b)| add(a, b), pairs)`.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the failed item with the lowest [`index`](TaskError::index). Items after
    /// a failure may not be run at all; [`PoolHandle::map_each`] runs every one.
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.all(TaskRef::of(f), items)
    }

    /// Calls `f` for each item and waits: every item's own outcome, in the order of the items.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// let pool = Pool::new(2)?;
    /// let outcomes = pool.map_each(|text: String| text.parse::<u8>().unwrap(), ["7", "x", "9"].map(String::from));
    /// assert_eq!(*outcomes[0].as_ref().unwrap(), 7);
    /// assert!(outcomes[1].as_ref().is_err_and(|error| error.is_panicked()));
    /// assert_eq!(*outcomes[2].as_ref().unwrap(), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_each<A, R, I>(&self, f: fn(A) -> R, items: I) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.each(TaskRef::of(f), items.into_iter())
    }

    /// As [`PoolHandle::map`], without waiting. All items are encoded and handed in before it returns.
    pub fn map_async<A, R, I>(&self, f: fn(A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.later(TaskRef::of(f), items)
    }

    /// Calls `f` for each item; the results come one by one, in the order of the items, as they are
    /// ready.
    ///
    /// Items are taken from the iterator as results are taken out; see [`Imap::buffer`].
    ///
    /// If the pool ends meanwhile (terminated or broken), each item that was taken is answered, the last
    /// with why, and the results end there; [`PoolHandle::map_each`] answers all items even then.
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.feed(TaskRef::of(f), items, Size::Fixed(1), true))
    }

    /// Calls `f` for each item; the results come one by one, whichever is ready first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use multiproc_pool::Pool;
    /// let pool = Pool::new(2)?;
    /// let mut sum = 0;
    /// for result in pool.imap_unordered(|n: u64| n * n, 0..100) {
    ///     sum += result?;
    /// }
    /// assert_eq!(sum, 328_350);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap_unordered<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> ImapUnordered<A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self.feed(TaskRef::of(f), items, Size::Fixed(1), true))
    }
}

/// What the verbs have in common, whether their functions are lent a state or not.
impl<S> PoolHandle<S> {
    pub(crate) fn one<A, R>(&self, function: Function, argument: &A) -> AsyncResult<R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: DeserializeOwned + 'static,
    {
        let function = function.map_err(TaskErrorKind::Function);
        let job = function.and_then(|function| self.submit_one(function, argument));
        AsyncResult::one(&self.hub, job)
    }

    fn submit_one<A>(&self, task: TaskRef, argument: &A) -> Result<Arc<Job>, TaskErrorKind>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        let job = self.hub.open_job(true, false, &self.options)?;
        let mut parcel = feed::empty_parcel();
        feed::encode(argument, &mut parcel, true).map_err(TaskErrorKind::Encode)?;
        let header = feed::header(&job, task, 1, false);
        let body = feed::make_body(header, &mut parcel, &[])?;
        self.hub
            .submit(&mut vec![Chunk::new(Arc::clone(&job), 0, 1, body)])?;
        Ok(job)
    }

    pub(crate) fn all<A, R, I>(&self, function: Function, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let mut feed = self.feed(function, items, Size::Measured, false)?;
        let mut results = Vec::new();
        let mut failed: Option<TaskError> = None;
        run(&mut feed, |feed, index, result| match result {
            Ok(value) => put(&mut results, index, value),
            Err(error) => {
                feed.end();
                if failed
                    .as_ref()
                    .is_none_or(|failed| error.index() < failed.index())
                {
                    failed = Some(error);
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(results.into_iter().flatten().collect()),
        }
    }

    pub(crate) fn each<A, R, I>(&self, function: Function, items: I) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: Iterator<Item = A>,
    {
        let mut feed = match self.try_feed(function, items, Size::Measured, false) {
            Ok(feed) => feed,
            Err((kind, items)) => {
                let refuse = |(index, _)| Err(TaskError::new(kind.clone(), index));
                return items.enumerate().map(refuse).collect();
            }
        };
        let mut results = Vec::new();
        run(&mut feed, |_, index, result| {
            put(&mut results, index, result)
        });
        let refused = feed.refused().map(Err);
        results.into_iter().flatten().chain(refused).collect()
    }

    pub(crate) fn later<A, R, I>(&self, function: Function, items: I) -> AsyncResult<Vec<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let items: Vec<A> = items.into_iter().collect();
        let size = chunk::share(items.len(), self.hub.workers());
        let handed = self
            .feed(function, items, Size::Fixed(size), false)
            .map(|mut feed| {
                feed.fill_all(size);
                feed.detach()
            });
        AsyncResult::all(&self.hub, handed)
    }

    pub(crate) fn feed<A, I>(
        &self,
        function: Function,
        items: I,
        size: Size,
        eager: bool,
    ) -> Result<Feed<I::IntoIter>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let feed = self.try_feed(function, items.into_iter(), size, eager);
        feed.map_err(|(kind, _)| TaskError::new(kind, 0))
    }

    fn try_feed<A, I>(
        &self,
        function: Function,
        items: I,
        size: Size,
        eager: bool,
    ) -> Result<Feed<I>, (TaskErrorKind, I)>
    where
        A: Serialize + DeserializeOwned + 'static,
        I: Iterator<Item = A>,
    {
        let function = function.map_err(TaskErrorKind::Function);
        let opened = function.and_then(|f| Ok((f, self.hub.open_job(eager, true, &self.options)?)));
        match opened {
            Ok((function, job)) => {
                let options = self.options.clone();
                Ok(Feed::new(&self.hub, job, function, options, items, size))
            }
            Err(kind) => Err((kind, items)),
        }
    }
}

/// Feeds a job to its end, and hands over each outcome as it comes.
fn run<A, R, I>(feed: &mut Feed<I>, mut each: impl FnMut(&mut Feed<I>, usize, Result<R, TaskError>))
where
    A: Serialize + DeserializeOwned + 'static,
    R: DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    let mut batch = Batch::default();
    loop {
        feed.fill();
        if feed.is_exhausted() {
            return;
        }
        feed.take(&mut batch, Deadline::NEVER);
        feed.used += batch.outcomes.len();
        for outcome in &batch.outcomes {
            each(feed, outcome.index, batch.read(outcome));
        }
    }
}

fn put<T>(results: &mut Vec<Option<T>>, index: usize, value: T) {
    if results.len() <= index {
        results.resize_with(index + 1, || None);
    }
    results[index] = Some(value);
}

impl<S> Clone for PoolHandle<S> {
    fn clone(&self) -> PoolHandle<S> {
        self.with(|_| ())
    }
}

impl<S> fmt::Debug for PoolHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHandle")
            .field("name", &self.hub.crew.name())
            .field("workers", &self.hub.workers())
            .field("phase", &self.hub.phase())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
