//! A pool of workers in the server, for all its clients.
//!
//! A task's answer is promised, not waited for: however many are under way, no thread of the server is.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use multiproc_pool::{
    AnyPool, AsyncResult, BuildError, Pool, PoolHandle, PoolJoinError, TaskError,
};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Function;
use multiproc_wire::task::TaskRef;

use super::{Data, Pending, Produce, Remote, outcome, proxy, remote, wait_until};
use crate::context;
use crate::error::{CallError, ProxyError};
use crate::handle::Outgoing;
use crate::host::{self, Fault, Subject};
use crate::manager::Manager;
use crate::message::{Op, Run, Wait};

proxy! {
    /// A [`Pool`] that lives in a manager's server: its workers are the server's children, and any
    /// client hands in tasks.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let pool = manager.pool(2)?;
    /// assert_eq!(pool.apply(|(a, b): (u32, u32)| a + b, (2, 3))?, 5);
    /// assert_eq!(pool.map(|n: u64| n * n, 1..=4)?, [1, 4, 9, 16]);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TaskError`], for the reasons a pool in this process has, inside [`ProxyError::Object`]; or
    /// [`CallError`].
    ///
    /// # If a process dies
    ///
    /// A worker: as with any [`Pool`]. A client: its tasks are finished, and nobody hears of them. The
    /// last client that has the proxy: the pool is terminated. The server: its workers end with it, and
    /// every call is [`CallError::ServerGone`].
    ///
    /// # Differences from a pool in this process
    ///
    /// A task costs a round trip more. Arguments and results are limited by
    /// [`max_frame`](crate::ManagerBuilder::max_frame). There is no `imap_unordered`.
    PoolProxy
}

impl Manager {
    /// A new pool of `workers` processes, children of the server; 0: as many as it has processors.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Refused`] with the reason if the workers cannot be started.
    pub fn pool(&self, workers: usize) -> Result<PoolProxy, CallError> {
        self.pool_with(Pool::new, workers)
    }

    /// A pool that a function makes in the server, by [`Pool::builder`]: with an initializer, limits,
    /// retries.
    ///
    /// ```
    /// # use multiproc_manager::Manager;
    /// # use multiproc_pool::{Pool, Retry};
    /// let manager = Manager::start()?;
    /// let build = |workers| Pool::builder().workers(workers).retry(Retry::idempotent(2)).build();
    /// let pool = manager.pool_with(build, 2)?;
    /// assert_eq!(pool.call(|| 1)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Manager::pool`].
    pub fn pool_with<A: Data>(
        &self,
        f: fn(A) -> Result<Pool, BuildError>,
        a: A,
    ) -> Result<PoolProxy, CallError> {
        let argument = (Function::new(f), a);
        remote::make(self, build::<A>, &argument).map(PoolProxy::of)
    }
}

type Task<A, R> = Function<fn(A) -> R>;

impl PoolProxy {
    /// Calls `f(argument)` in a worker and waits for the result.
    ///
    /// # Errors
    ///
    /// [`TaskError`], or [`CallError`].
    pub fn apply<A: Data, R: Data>(
        &self,
        f: fn(A) -> R,
        argument: A,
    ) -> Result<R, ProxyError<TaskError>> {
        settled(self.apply_async(f, argument).wait())
    }

    /// As [`PoolProxy::apply`], without an argument.
    ///
    /// # Errors
    ///
    /// As [`PoolProxy::apply`].
    pub fn call<R: Data>(&self, f: fn() -> R) -> Result<R, ProxyError<TaskError>> {
        settled(self.ask(call::<R>, &Function::new(f)).wait())
    }

    /// As [`PoolProxy::apply`], without waiting. Dropped, the task is run all the same.
    pub fn apply_async<A: Data, R: Data>(
        &self,
        f: fn(A) -> R,
        argument: A,
    ) -> Pending<Result<R, TaskError>> {
        self.ask(apply::<A, R>, &(Function::new(f), argument))
    }

    /// Calls `f` with each item; the results in the same order, or the first failure. All items
    /// travel in one message.
    ///
    /// # Errors
    ///
    /// [`TaskError`] with the item's [`index`](TaskError::index), or [`CallError`].
    pub fn map<A: Data, R: Data>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, ProxyError<TaskError>> {
        settled(self.map_async(f, items).wait())
    }

    /// As [`PoolProxy::map`], without waiting.
    pub fn map_async<A: Data, R: Data>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Pending<Result<Vec<R>, TaskError>> {
        let items: Vec<A> = items.into_iter().collect();
        self.ask(map::<A, R>, &(Function::new(f), items))
    }

    /// Calls `f` with each item; every item is answered, with its value or its error.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn map_each<A: Data, R: Data>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<Result<R, TaskError>>, CallError> {
        let under_way: Vec<_> = items.into_iter().map(|a| self.apply_async(f, a)).collect();
        let results = under_way.into_iter().enumerate();
        let results = results.map(|(index, result)| Ok(at_index(result.wait()?, index)));
        results.collect()
    }

    /// Calls `f` with each item; the results come in order, as they are asked for. So many items as
    /// [`buffer`](RemoteImap::buffer) says are under way at once.
    pub fn imap<A: Data, R: Data, I: IntoIterator<Item = A>>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> RemoteImap<A, R, I::IntoIter> {
        RemoteImap {
            pool: self.clone(),
            f,
            items: items.into_iter(),
            under_way: VecDeque::new(),
            buffer: BUFFER,
            next: 0,
        }
    }

    /// Accepts no more work. What has been handed in is finished, then the workers leave.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn close(&self) -> Result<(), CallError> {
        self.remote().call(|pool, ()| pool.close(), ())
    }

    /// Ends the workers. What is not finished ends as
    /// [`Cancelled`](multiproc_pool::TaskErrorKind::Cancelled).
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn terminate(&self) -> Result<(), CallError> {
        self.remote().call(|pool, ()| pool.terminate(), ())
    }

    /// The process ids of the workers that are alive now.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn worker_pids(&self) -> Result<Vec<u32>, CallError> {
        self.remote().call(|pool, ()| pool.worker_pids(), ())
    }

    /// Waits until all work is done and the workers have left. Call [`PoolProxy::close`] or
    /// [`PoolProxy::terminate`] first.
    ///
    /// # Errors
    ///
    /// [`PoolJoinError`], or [`CallError`].
    pub fn join(&self) -> Result<(), ProxyError<PoolJoinError>> {
        self.join_until(Deadline::NEVER)
    }

    /// As [`PoolProxy::join`], for at most `timeout`. The server keeps the time.
    ///
    /// # Errors
    ///
    /// As [`PoolProxy::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), ProxyError<PoolJoinError>> {
        self.join_until(Deadline::after(timeout))
    }

    /// As [`PoolProxy::join`], until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// As [`PoolProxy::join`].
    pub fn join_deadline(&self, deadline: Instant) -> Result<(), ProxyError<PoolJoinError>> {
        self.join_until(Deadline::at(deadline))
    }

    fn join_until(&self, deadline: Deadline) -> Result<(), ProxyError<PoolJoinError>> {
        settled(self.ask(join, &wait_until(deadline)).wait())
    }

    fn remote(&self) -> Remote<Pool> {
        Remote::of(self.handle.clone())
    }

    fn ask<A: Data, R: Data>(
        &self,
        driver: fn(A) -> Result<(), Fault>,
        argument: &A,
    ) -> Pending<R> {
        let op = self.op(driver, argument);
        Pending::new(&self.handle, op, outcome::<R>)
    }

    fn op<A: Data>(
        &self,
        driver: fn(A) -> Result<(), Fault>,
        argument: &A,
    ) -> Result<(Op, Outgoing), CallError> {
        let (argument, kept) = self.handle.pack(argument)?;
        let task = TaskRef::of(driver)?.to_words();
        let run = Run {
            task,
            exclusive: false,
            argument,
        };
        Ok((Op::Run(run), kept))
    }
}

fn settled<R, E>(answer: Result<Result<R, E>, CallError>) -> Result<R, ProxyError<E>> {
    answer?.map_err(ProxyError::Object)
}

fn at_index<R>(result: Result<R, TaskError>, index: usize) -> Result<R, TaskError> {
    result.map_err(|error| error.at_index(index))
}

/// How many tasks of an iterator are under way unless it is told otherwise.
const BUFFER: usize = 256;

/// The results of [`PoolProxy::imap`], in order.
#[must_use = "nothing is handed in before the first result is asked for"]
pub struct RemoteImap<A, R, I> {
    pool: PoolProxy,
    f: fn(A) -> R,
    items: I,
    under_way: VecDeque<Pending<Result<R, TaskError>>>,
    buffer: usize,
    /// The place of the next result.
    next: usize,
}

impl<A, R, I> RemoteImap<A, R, I> {
    /// Has so many tasks under way at most: 256 unless set.
    pub fn buffer(mut self, items: usize) -> Self {
        self.buffer = items.max(1);
        self
    }
}

impl<A: Data, R: Data, I: Iterator<Item = A>> Iterator for RemoteImap<A, R, I> {
    type Item = Result<R, ProxyError<TaskError>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.under_way.len() < self.buffer
            && let Some(item) = self.items.next()
        {
            self.under_way
                .push_back(self.pool.apply_async(self.f, item));
        }
        let result = self.under_way.pop_front()?.wait();
        let index = self.next;
        self.next += 1;
        Some(settled(result.map(|result| at_index(result, index))))
    }
}

impl<A, R, I> fmt::Debug for RemoteImap<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteImap")
            .field("pool", &self.pool)
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}

// What follows runs in the server.

fn build<A: Data>((f, a): (Produce<A, Result<Pool, BuildError>>, A)) -> Result<(), Fault> {
    let pool =
        context::outside(|| (f.pointer())(a)).map_err(|error| Fault::Refused(error.to_string()))?;
    host::place(Box::new(pool))
}

/// The pool that the function on this thread runs beside.
fn here() -> Result<PoolHandle, Fault> {
    host::with_subject(|subject, _| {
        let Subject::User(user) = subject else {
            return Err(Fault::Kind);
        };
        let value = user.value.read();
        let pool = value.downcast_ref::<Pool>().ok_or(Fault::Kind)?;
        Ok(pool.handle().clone())
    })
}

/// Answers with what `start` has begun, when that is done.
fn later<R: Data>(start: impl FnOnce(&PoolHandle) -> AsyncResult<R>) -> Result<(), Fault> {
    let pool = here()?;
    let promise = host::promise()?;
    // The result is not kept here: its callback is.
    let result = context::outside(|| start(&pool));
    drop(result.done_callback(|result| promise.keep(result)));
    Ok(())
}

fn apply<A: Data, R: Data>((f, a): (Task<A, R>, A)) -> Result<(), Fault> {
    later(|pool| pool.apply_async(f.pointer(), a))
}

fn call<R: Data>(f: Function<fn() -> R>) -> Result<(), Fault> {
    later(|pool| pool.apply_async(|f: Function<fn() -> R>| (f.pointer())(), f))
}

fn map<A: Data, R: Data>((f, items): (Task<A, R>, Vec<A>)) -> Result<(), Fault> {
    later(|pool| pool.map_async(f.pointer(), items))
}

/// Waits in a thread of its own.
fn join(wait: Wait) -> Result<(), Fault> {
    let pool = here()?;
    let promise = host::promise()?;
    let deadline = wait.0.map(Duration::from_micros);
    let wait = move || {
        promise.keep(match deadline {
            Some(time) => pool.join_timeout(time),
            None => pool.join(),
        });
    };
    // Without a thread, the promise is dropped, and that is answered.
    let _ = std::thread::Builder::new()
        .name("mp-pool-join".into())
        .spawn(wait);
    Ok(())
}
