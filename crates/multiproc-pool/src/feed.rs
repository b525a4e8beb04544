//! Items into chunks: encoding, and how much is handed in ahead of the workers.
//!
//! Runs on the thread of the caller, whose iterator and `Serialize` it calls. What it hands in ahead
//! is bounded in chunks and in bytes, so a long or endless iterator takes no memory.

use std::sync::Arc;

use multiproc_shm::parcel;
use multiproc_sys::clock::Deadline;
use multiproc_wire::task::TaskRef;
use multiproc_wire::{EncodeError, Parcel, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::book::{Body, Chunk, not_stored};
use crate::chunk;
use crate::collect::Then;
use crate::error::{TaskError, TaskErrorKind};
use crate::frame::{self, HEADER, Header};
use crate::hub::Hub;
use crate::job::{Answer, Batch, Job};
use crate::options::Options;
use crate::worker::INLINE;

/// How many bytes of arguments may be on their way, unless the workers would run dry.
const BYTES_AHEAD: usize = 4 << 20;

/// The most chunks handed in at once.
const BURST: usize = 32;

/// How a job's items are cut into chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    /// So many each.
    Fixed(usize),
    /// As measured; see [`chunk::size`].
    Measured,
}

/// The caller's end of a job: its items, handed in as workers come to need them.
pub(crate) struct Feed<I> {
    hub: Arc<Hub>,
    job: Arc<Job>,
    function: TaskRef,
    options: Options,
    items: I,
    /// Whether `items` may have more, and they are to be handed in.
    more: bool,
    /// Why the pool takes no more of them.
    over: Option<TaskErrorKind>,
    pub(crate) size: Size,
    /// The most items on their way.
    pub(crate) most: usize,
    /// How many were taken from `items`, each with an answer or on its way to one.
    fed: usize,
    /// How many answers were taken out.
    taken: usize,
    /// How many of those have been used.
    pub(crate) used: usize,
    /// Whether the job goes on without this.
    detached: bool,
    /// Whether the hub knows that no more will come.
    ended: bool,
    /// Made, and about to be handed in.
    ready: Vec<Chunk>,
    ends: Vec<usize>,
    /// Room for the next chunk's bytes, where the last ones were large.
    spare: Parcel,
}

impl<A, I> Feed<I>
where
    A: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = A>,
{
    /// `job` must have been opened as feeding.
    pub(crate) fn new(
        hub: &Arc<Hub>,
        job: Arc<Job>,
        function: TaskRef,
        options: Options,
        items: I,
        size: Size,
    ) -> Feed<I> {
        Feed {
            hub: Arc::clone(hub),
            job,
            function,
            options,
            items,
            more: true,
            over: None,
            size,
            most: usize::MAX,
            fed: 0,
            taken: 0,
            used: 0,
            detached: false,
            ended: false,
            ready: Vec::new(),
            ends: Vec::new(),
            spare: Parcel::default(),
        }
    }

    /// Hands in as much as may be on its way.
    pub(crate) fn fill(&mut self) {
        // The first is handed in at once, as a worker may sleep; then more at a time.
        let mut burst = 1;
        loop {
            let (size, room) = self.room();
            if !self.more || room == 0 {
                return;
            }
            for _ in 0..room.min(burst) {
                let before = self.fed;
                self.make_chunk(size.min(self.most));
                if !self.more || self.fed - self.used >= self.most || before == self.fed {
                    break;
                }
            }
            self.hand_in();
            burst = (burst * 2).min(BURST);
        }
    }

    /// The size of the next chunk, and how many such may be handed in now.
    fn room(&self) -> (usize, usize) {
        if self.fed - self.used >= self.most {
            return (1, 0);
        }
        let state = self.job.lock();
        let (time, chunks, bytes) = (state.task_time, state.chunks, state.bytes);
        drop(state);
        let workers = self.hub.workers();
        let (size, most) = match self.size {
            Size::Fixed(size) => (size, chunk::in_flight(size, workers)),
            Size::Measured if time.is_none() => (1, workers * 2),
            Size::Measured => {
                let size = chunk::size(self.left(), workers, time);
                (size, chunk::in_flight(size, workers))
            }
        };
        let most = if bytes > BYTES_AHEAD {
            most.min(workers * 2)
        } else {
            most
        };
        (size, most.saturating_sub(chunks))
    }

    /// Hands in everything at once.
    pub(crate) fn fill_all(&mut self, size: usize) {
        while self.more {
            self.make_chunk(size);
            self.hand_in();
        }
    }

    fn left(&self) -> Option<usize> {
        match self.items.size_hint() {
            (least, Some(most)) if least == most => Some(least),
            _ => None,
        }
    }

    /// Encodes up to `size` items.
    fn make_chunk(&mut self, size: usize) {
        let mut parcel = std::mem::take(&mut self.spare);
        if parcel.bytes.is_empty() {
            parcel = empty_parcel();
        }
        let (first, mut refused) = (self.fed, None);
        self.ends.clear();
        while self.ends.len() < size && parcel.bytes.len() <= chunk::MOST_BYTES {
            let Some(item) = self.items.next() else {
                self.more = false;
                break;
            };
            if let Err(error) = encode(&item, &mut parcel, first == 0 && self.ends.is_empty()) {
                refused = Some(error);
                break;
            }
            self.ends.push(parcel.bytes.len());
        }
        let count = self.ends.len();
        if count > 0 {
            let timed = matches!(self.size, Size::Measured);
            let header = header(&self.job, self.function, count as u32, timed);
            match make_body(header, &mut parcel, &self.ends) {
                Ok(body) => {
                    if let Body::Stored(_) = body {
                        // The copy is stored; its memory can serve the next one.
                        parcel.bytes.truncate(HEADER);
                        parcel.attachments.clear();
                        self.spare = parcel;
                    }
                    let job = Arc::clone(&self.job);
                    self.ready.push(Chunk::new(job, first, count as u32, body));
                    self.fed += count;
                }
                Err(kind) => (0..count).for_each(|_| self.answer_next(kind.clone())),
            }
        }
        if let Some(error) = refused {
            self.answer_next(TaskErrorKind::Encode(error));
        }
    }

    fn hand_in(&mut self) {
        if let Err(kind) = self.hub.submit(&mut self.ready) {
            self.over = Some(kind);
            self.more = false;
        }
        if !self.more {
            self.end();
        }
    }

    fn answer_next(&mut self, kind: TaskErrorKind) {
        self.job.lock().answer(self.fed, Answer::Failed(kind, 0));
        self.fed += 1;
    }

    /// The items that a pool which ended has not taken, as errors.
    pub(crate) fn refused(&mut self) -> impl Iterator<Item = TaskError> {
        let (first, over) = (self.fed, self.over.take());
        let rest = if over.is_some() { usize::MAX } else { 0 };
        let items = self.items.by_ref().take(rest).enumerate();
        items.filter_map(move |(at, _)| Some(TaskError::new(over.clone()?, first + at)))
    }
}

impl<I> Feed<I> {
    /// Hands in no more items.
    pub(crate) fn end(&mut self) {
        self.more = false;
        if !std::mem::replace(&mut self.ended, true) {
            self.hub.fed();
        }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.hub.workers()
    }

    /// Leaves the job to itself: it, and how many items it has.
    pub(crate) fn detach(mut self) -> (Arc<Job>, usize) {
        self.detached = true;
        (Arc::clone(&self.job), self.fed)
    }

    /// Whether all items have been taken, and their answers taken out.
    pub(crate) fn is_exhausted(&self) -> bool {
        !self.more && self.taken == self.fed
    }

    /// Takes out the answers that have come, waiting for one; false if none did until `deadline`. Call
    /// [`Feed::fill`] first.
    pub(crate) fn take(&mut self, batch: &mut Batch, deadline: Deadline) -> bool
    where
        I: Iterator,
    {
        let then = if self.more { Then::Feed } else { Then::Nothing };
        let waits = self.taken < self.fed;
        if waits && !self.hub.wait(&self.job, self.taken + 1, then, deadline) {
            return false;
        }
        self.job.take(batch);
        self.taken += batch.outcomes.len();
        if self.options.progress.is_some() {
            let (least, most) = self.items.size_hint();
            let total = match most {
                _ if !self.more => Some(self.fed),
                Some(most) if most == least => Some(self.fed + most),
                _ => None,
            };
            self.options.report(self.taken, total);
        }
        true
    }
}

impl<I> Drop for Feed<I> {
    fn drop(&mut self) {
        self.end();
        if !self.detached {
            self.job.abandon();
        }
    }
}

pub(crate) fn header(job: &Job, function: TaskRef, count: u32, timed: bool) -> Header {
    Header {
        job: job.id,
        function: function.to_words(),
        start: 0,
        count,
        eager: job.manner.eager,
        timed,
        traced: job.manner.traced,
    }
}

/// A parcel with room for the header.
pub(crate) fn empty_parcel() -> Parcel {
    let mut bytes = Vec::with_capacity(HEADER + 48);
    bytes.resize(HEADER, 0);
    Parcel {
        bytes,
        attachments: Vec::new(),
    }
}

/// Encodes one item behind what is in `parcel`. The first of a job is checked to be readable.
pub(crate) fn encode<A>(item: &A, parcel: &mut Parcel, first: bool) -> Result<(), EncodeError>
where
    A: Serialize + DeserializeOwned + 'static,
{
    if first {
        codec::encode_checked_into(item, parcel)
    } else {
        codec::encode_into(item, parcel)
    }
}

/// Makes a frame of a parcel that has room for the header and the items up to `ends`. Takes the
/// bytes out of the parcel if they become the frame.
pub(crate) fn make_body(
    header: Header,
    parcel: &mut Parcel,
    ends: &[usize],
) -> Result<Body, TaskErrorKind> {
    frame::append_lengths(&mut parcel.bytes, HEADER, ends);
    parcel.bytes[..HEADER].copy_from_slice(&header.to_bytes());
    if parcel.bytes.len() <= INLINE && parcel.attachments.is_empty() {
        return Ok(Body::Inline(std::mem::take(&mut parcel.bytes)));
    }
    parcel::store(parcel).map(Body::Stored).map_err(not_stored)
}
