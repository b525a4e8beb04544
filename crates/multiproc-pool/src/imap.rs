//! Results as an iterator.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::MOST_ITEMS;
use crate::error::{TaskError, TaskErrorKind};
use crate::feed::{Feed, Size};
use crate::job::Batch;

/// How many items are taken ahead of the results by default; of chunks, some for each worker.
const AHEAD: usize = 4_096;
const CHUNKS_AHEAD: usize = 8;

/// After so many results, more items are handed in, though others are still there to be taken.
const REFILL: usize = 32;

/// What comes next.
enum Next<R> {
    /// The outcome of the item with this index.
    Outcome(usize, Result<R, TaskError>),
    /// Nothing came until the deadline.
    Late,
    /// Nothing more comes.
    End,
}

/// Outcomes as they come.
struct Stream<A, R, I> {
    /// `Err`: refused. Taken out once it was said.
    feed: Result<Feed<I>, Option<TaskError>>,
    batch: Batch,
    /// The next outcome in `batch`.
    at: usize,
    since_refill: usize,
    _types: PhantomData<fn(A) -> R>,
}

impl<A, R, I> Stream<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    fn new(feed: Result<Feed<I>, TaskError>) -> Self {
        let mut stream = Stream {
            feed: feed.map_err(Some),
            batch: Batch::default(),
            at: 0,
            since_refill: 0,
            _types: PhantomData,
        };
        stream.set_most(AHEAD);
        stream
    }

    fn chunk_size(&mut self, items: usize) {
        if let Ok(feed) = &mut self.feed {
            feed.size = match items {
                0 => Size::Measured,
                items => Size::Fixed(items.min(MOST_ITEMS)),
            };
            let items = if items == 0 { MOST_ITEMS } else { items };
            feed.most = feed
                .most
                .max(items.saturating_mul(feed.workers() * CHUNKS_AHEAD));
        }
    }

    fn set_most(&mut self, items: usize) {
        if let Ok(feed) = &mut self.feed {
            feed.most = items.max(1);
        }
    }

    /// The next outcome in order of arrival.
    fn next(&mut self, deadline: Deadline) -> Next<R> {
        let feed = match &mut self.feed {
            Ok(feed) => feed,
            Err(refused) => {
                return refused
                    .take()
                    .map_or(Next::End, |error| Next::Outcome(error.index(), Err(error)));
            }
        };
        while self.at == self.batch.outcomes.len() {
            feed.fill();
            if feed.is_exhausted() {
                return Next::End;
            }
            if !feed.take(&mut self.batch, deadline) {
                return Next::Late;
            }
            (self.at, self.since_refill) = (0, 0);
        }
        if self.since_refill == REFILL {
            feed.fill();
            self.since_refill = 0;
        }
        let outcome = &self.batch.outcomes[self.at];
        self.at += 1;
        self.since_refill += 1;
        Next::Outcome(outcome.index, self.batch.read(outcome))
    }

    fn used(&mut self) {
        if let Ok(feed) = &mut self.feed {
            feed.used += 1;
        }
    }
}

/// Results in the order of their items: from [`Pool::imap`](crate::PoolHandle::imap).
///
/// Dropping it lets what was handed in run, and forgets the results.
#[must_use = "no task is handed in before the first `next`"]
pub struct Imap<A, R, I> {
    stream: Stream<A, R, I>,
    /// Results that came before their turn; the first is the next to be given out.
    early: VecDeque<Option<Result<R, TaskError>>>,
    given: usize,
}

/// Results as they are ready: from [`Pool::imap_unordered`](crate::PoolHandle::imap_unordered).
///
/// Dropping it lets what was handed in run, and forgets the results.
#[must_use = "no task is handed in before the first `next`"]
pub struct ImapUnordered<A, R, I> {
    stream: Stream<A, R, I>,
}

impl<A, R, I> Imap<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    pub(crate) fn new(feed: Result<Feed<I>, TaskError>) -> Self {
        Imap {
            stream: Stream::new(feed),
            early: VecDeque::new(),
            given: 0,
        }
    }

    /// How many items a worker takes at once; 0: sized by how long tasks take. The default is 1.
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.stream.chunk_size(items);
        self
    }

    /// How many items may be taken from the iterator ahead of the results given out; at least 1. The
    /// default is 4,096, or eight chunks for each worker if that is more; what is on its way is
    /// bounded to about 4 MiB of arguments all the same. Call it after [`Imap::chunk_size`].
    pub fn buffer(mut self, items: usize) -> Self {
        self.stream.set_most(items);
        self
    }

    fn next_until(&mut self, deadline: Deadline) -> Option<Result<R, TaskError>> {
        while !matches!(self.early.front(), Some(Some(_))) {
            let (index, result) = match self.stream.next(deadline) {
                Next::Outcome(index, result) => (index, result),
                Next::Late => return Some(Err(late(self.given))),
                Next::End => return None,
            };
            let place = index - self.given;
            if self.early.len() <= place {
                self.early.resize_with(place + 1, || None);
            }
            self.early[place] = Some(result);
        }
        self.given += 1;
        self.stream.used();
        self.early.pop_front().flatten()
    }
}

impl<A, R, I> ImapUnordered<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    pub(crate) fn new(feed: Result<Feed<I>, TaskError>) -> Self {
        ImapUnordered {
            stream: Stream::new(feed),
        }
    }

    /// As [`Imap::chunk_size`].
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.stream.chunk_size(items);
        self
    }

    /// As [`Imap::buffer`].
    pub fn buffer(mut self, items: usize) -> Self {
        self.stream.set_most(items);
        self
    }

    fn next_until(&mut self, deadline: Deadline) -> Option<Result<R, TaskError>> {
        match self.stream.next(deadline) {
            Next::Outcome(_, result) => {
                self.stream.used();
                Some(result)
            }
            Next::Late => Some(Err(late(0))),
            Next::End => None,
        }
    }
}

/// Of a timed `next`: the task goes on, and its result can still be had.
#[cold]
fn late(index: usize) -> TaskError {
    TaskError::new(TaskErrorKind::TimedOut, index)
}

macro_rules! timed {
    ($name:ident) => {
        impl<A, R, I> $name<A, R, I>
        where
            A: Serialize + DeserializeOwned + 'static,
            R: Serialize + DeserializeOwned + 'static,
            I: Iterator<Item = A>,
        {
            /// The next result if it is there. If not, an error of the kind
            /// [`TimedOut`](TaskErrorKind::TimedOut), after which one can ask again.
            pub fn try_next(&mut self) -> Option<Result<R, TaskError>> {
                self.next_until(Deadline::NOW)
            }

            /// The next result, for which it waits for at most `timeout`. If it does not come, an error
            /// of the kind [`TimedOut`](TaskErrorKind::TimedOut), after which one can ask again.
            pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R, TaskError>> {
                self.next_until(Deadline::after(timeout))
            }

            /// As `next_timeout`, until `deadline`.
            pub fn next_deadline(&mut self, deadline: Instant) -> Option<Result<R, TaskError>> {
                self.next_until(Deadline::at(deadline))
            }
        }
    };
}

timed!(Imap);
timed!(ImapUnordered);

impl<A, R, I> Iterator for Imap<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        self.next_until(Deadline::NEVER)
    }
}

impl<A, R, I> Iterator for ImapUnordered<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        self.next_until(Deadline::NEVER)
    }
}

impl<A, R, I> FusedIterator for Imap<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
}

impl<A, R, I> FusedIterator for ImapUnordered<A, R, I>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
}

impl<A, R, I> fmt::Debug for Imap<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl<A, R, I> fmt::Debug for ImapUnordered<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered").finish_non_exhaustive()
    }
}
