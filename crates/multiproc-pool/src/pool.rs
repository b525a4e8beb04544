//! The pool as its user sees it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;
use multiproc_wire::task::TaskRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::book::{Chunk, Phase};
use crate::builder::PoolBuilder;
use crate::chunk;
use crate::error::{BuildError, PoolJoinError, TaskError, TaskErrorKind};
use crate::feed::{self, Feed, Size};
use crate::hub::Hub;
use crate::imap::{Imap, ImapUnordered};
use crate::job::{Batch, Job};
use crate::result::AsyncResult;

/// How long the end of a pool may take. Killed processes end at once; one that hangs in the kernel
/// is left to it.
const END: Duration = Duration::from_secs(5);

/// Worker processes that run functions.
///
/// A task ends as its value or as a [`TaskError`], always. Share a pool between threads by
/// reference or in an `Arc`; every method takes `&self`.
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
/// [`WorkerLost`](TaskErrorKind::WorkerLost); what it had finished is delivered, what it had taken
/// and not begun runs elsewhere, and a new worker takes its place. If the process that owns the
/// pool dies, its workers are killed.
///
/// # Differences from Python
///
/// No task of a lost worker hangs for ever. Dropping a pool terminates it, as leaving the `with`
/// block does. Long iterators are not read ahead without bound.
pub struct Pool {
    hub: Arc<Hub>,
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
        PoolBuilder::default()
    }

    pub(crate) fn of(hub: Arc<Hub>) -> Pool {
        Pool {
            hub,
            owner: std::process::id(),
        }
    }

    #[cfg(test)]
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
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
        let task = TaskRef::of_call(f).map_err(TaskErrorKind::Function);
        let job = task.and_then(|task| self.submit_one(task, &()));
        AsyncResult::one(&self.hub, job).get()
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
        let task = TaskRef::of(f).map_err(TaskErrorKind::Function);
        let job = task.and_then(|task| self.submit_one(task, &argument));
        AsyncResult::one(&self.hub, job)
    }

    fn submit_one<A>(&self, task: TaskRef, argument: &A) -> Result<Arc<Job>, TaskErrorKind>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        let job = self.hub.open_job(true, false)?;
        let mut parcel = feed::empty_parcel();
        feed::encode(argument, &mut parcel, true).map_err(TaskErrorKind::Encode)?;
        let header = feed::header(&job, task, 1, false);
        let body = feed::make_body(header, &mut parcel, &[])?;
        self.hub
            .submit(&mut vec![Chunk::new(Arc::clone(&job), 0, 1, body)])?;
        Ok(job)
    }

    /// Calls `f` for each item and waits for the results, in the order of the items.
    ///
    /// Items are handed out in chunks, sized by how long tasks take. Several arguments travel as a
    /// tuple: `pool.map(|(a, b)| add(a, b), pairs)`.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the failed item with the lowest [`index`](TaskError::index). Items after
    /// a failure may not be run at all; [`Pool::map_each`] runs every one.
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let mut feed = self.feed(f, items, Size::Measured, false)?;
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
        let items = items.into_iter();
        let mut feed = match self.try_feed(f, items, Size::Measured, false) {
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

    /// As [`Pool::map`], without waiting. All items are encoded and handed in before it returns.
    pub fn map_async<A, R, I>(&self, f: fn(A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let items: Vec<A> = items.into_iter().collect();
        let size = chunk::share(items.len(), self.hub.workers());
        let handed = self
            .feed(f, items, Size::Fixed(size), false)
            .map(|mut feed| {
                feed.fill_all(size);
                feed.detach()
            });
        AsyncResult::all(&self.hub, handed)
    }

    /// Calls `f` for each item; the results come one by one, in the order of the items, as they are
    /// ready.
    ///
    /// Items are taken from the iterator as results are taken out; see [`Imap::buffer`].
    ///
    /// If the pool ends meanwhile (terminated or broken), each item that was taken is answered, the last
    /// with why, and the results end there; [`Pool::map_each`] answers all items even then.
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.feed(f, items, Size::Fixed(1), true))
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
        ImapUnordered::new(self.feed(f, items, Size::Fixed(1), true))
    }

    fn feed<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
        size: Size,
        eager: bool,
    ) -> Result<Feed<I::IntoIter>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let feed = self.try_feed(f, items.into_iter(), size, eager);
        feed.map_err(|(kind, _)| TaskError::new(kind, 0))
    }

    fn try_feed<A, R, I>(
        &self,
        f: fn(A) -> R,
        items: I,
        size: Size,
        eager: bool,
    ) -> Result<Feed<I>, (TaskErrorKind, I)>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: Iterator<Item = A>,
    {
        let function = TaskRef::of(f).map_err(TaskErrorKind::Function);
        let opened = function.and_then(|f| Ok((f, self.hub.open_job(eager, true)?)));
        match opened {
            Ok((function, job)) => Ok(Feed::new(&self.hub, job, function, items, size)),
            Err(kind) => Err((kind, items)),
        }
    }

    /// The process ids of the workers that are alive now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.hub.crew.pids()
    }

    /// Accepts no more work. What has been handed in is finished, then the workers leave.
    ///
    /// A [`Pool::map`] that runs, and an [`Pool::imap`] that was begun, still get through all their
    /// items.
    pub fn close(&self) {
        self.hub.close();
    }

    /// Waits until all work is done and the workers have left. Call [`Pool::close`] or
    /// [`Pool::terminate`] first.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`].
    pub fn join(&self) -> Result<(), PoolJoinError> {
        self.join_until(Deadline::NEVER)
    }

    /// As [`Pool::join`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), PoolJoinError> {
        self.join_until(Deadline::after(timeout))
    }

    /// As [`Pool::join`], until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`].
    pub fn join_deadline(&self, deadline: Instant) -> Result<(), PoolJoinError> {
        self.join_until(Deadline::at(deadline))
    }

    fn join_until(&self, deadline: Deadline) -> Result<(), PoolJoinError> {
        if matches!(self.hub.phase(), Phase::Open) {
            return Err(PoolJoinError::Open);
        }
        if !self.hub.crew.wait_until_over(deadline) {
            return Err(PoolJoinError::TimedOut);
        }
        match self.hub.phase() {
            Phase::Over(TaskErrorKind::Broken { cause }) => Err(PoolJoinError::Broken { cause }),
            _ => Ok(()),
        }
    }

    /// Kills the workers. What is not finished ends as [`Cancelled`](TaskErrorKind::Cancelled).
    ///
    /// Returns once the workers are gone, after 5 s at the latest. Calling it again does nothing.
    pub fn terminate(&self) {
        self.hub.finish(TaskErrorKind::Cancelled);
        // A process that hangs in the kernel is left to it.
        let _ = self.hub.crew.wait_until_over(Deadline::after(END));
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
        feed.take(&mut batch);
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

impl Drop for Pool {
    /// As [`Pool::terminate`].
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.terminate();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.hub.crew.name())
            .field("workers", &self.hub.workers())
            .field("phase", &self.hub.phase())
            .finish_non_exhaustive()
    }
}
