//! The book: which chunks there are, where each is, and which of their items are answered.
//!
//! Owns the rule that each item is answered exactly once: a chunk is in `pushed` or in the backlog,
//! never in both, and [`Chunk`] counts its answers in order. The parent's side of the pool keeps it
//! under one lock, inside which a job's lock may be taken.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use multiproc_shm::{CreateError, Object, PushError, TailGuard, parcel};
use multiproc_wire::{DecodeError, EncodeError};

use crate::error::TaskErrorKind;
use crate::frame;
use crate::job::{Answer, Job, State};
use crate::outcome::{Kind, RECORD, Record, decode_failure};
use crate::words::Claim;
use crate::worker::ticket_of;

/// The chunks of one pool.
pub(crate) struct Book {
    phase: Phase,
    /// Pushed and not yet answered to the end, by ticket.
    pushed: HashMap<u32, Chunk, BuildHasherDefault<TicketHasher>>,
    /// Not yet pushed, or pushed once and given back by a death.
    backlog: VecDeque<Chunk>,
    /// Calls that have more to hand in.
    feeding: usize,
    jobs: u64,
}

/// Where a pool is in its life. It never goes back.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Open,
    Closed,
    /// Every open item was answered with this; so is every new one.
    Over(TaskErrorKind),
}

/// Some items of one job on their way through a worker.
pub(crate) struct Chunk {
    pub(crate) job: Arc<Job>,
    /// The index of its first item in the job.
    pub(crate) first: usize,
    pub(crate) count: u32,
    pub(crate) body: Body,
    /// How many of its items are answered. A worker runs them in order, so also which.
    next: u32,
    /// The same when it was pushed: where its frame begins.
    start: u32,
    /// Its length, as the job counts it, once it does.
    bytes: usize,
    counted: bool,
}

/// A chunk's frame, kept in case it must be pushed again.
pub(crate) enum Body {
    Inline(Vec<u8>),
    Stored(Object),
}

impl Chunk {
    pub(crate) fn new(job: Arc<Job>, first: usize, count: u32, body: Body) -> Chunk {
        let bytes = match &body {
            Body::Inline(frame) => frame.len(),
            Body::Stored(object) => object.len(),
        };
        Chunk {
            job,
            first,
            count,
            body,
            next: 0,
            start: 0,
            bytes,
            counted: false,
        }
    }

    /// Takes in records of it. `true`: it is answered to the end.
    fn take_in<'a>(&mut self, records: impl Iterator<Item = (Record, &'a [u8])>) -> bool {
        let job = Arc::clone(&self.job);
        let mut state = job.lock();
        for (record, body) in records {
            let answer = match record.kind {
                Kind::Value => Answer::Value(body),
                kind => Answer::Failed(decode_failure(kind, body)),
            };
            if self.answer_in(&mut state, &record, answer) {
                return true;
            }
        }
        false
    }

    /// Takes in one outcome, unless the item has one. `true`: the chunk is answered to the end.
    fn answer(&mut self, record: &Record, answer: Answer<'_>) -> bool {
        let job = Arc::clone(&self.job);
        self.answer_in(&mut job.lock(), record, answer)
    }

    fn answer_in(&mut self, state: &mut State, record: &Record, answer: Answer<'_>) -> bool {
        if record.item < self.next || record.item >= self.count {
            return false;
        }
        while self.next < record.item {
            // A worker publishes in order: the record between was damaged.
            let error = DecodeError::new("a task's result", "its record was damaged");
            let kind = TaskErrorKind::Decode(error);
            state.answer(self.first + self.next as usize, Answer::Failed(kind));
            self.next += 1;
        }
        state.answer(self.first + self.next as usize, answer);
        self.next += 1;
        let done = self.next == self.count;
        if done {
            state.chunk_done(self.bytes);
            if !record.took.is_zero() {
                state.measured(self.count - self.start, record.took);
            }
        }
        done
    }

    /// Answers all that is left of it.
    fn fail(self, kind: &TaskErrorKind) {
        let mut state = self.job.lock();
        for item in self.next..self.count {
            state.answer(self.first + item as usize, Answer::Failed(kind.clone()));
        }
        if self.counted {
            state.chunk_done(self.bytes);
        }
    }

    /// Makes the frame begin with the first unanswered item.
    fn begin_later(&mut self) -> Result<(), TaskErrorKind> {
        if self.start == self.next {
            return Ok(());
        }
        match &mut self.body {
            Body::Inline(bytes) => frame::set_start(bytes, self.next),
            Body::Stored(object) => {
                let mut copy = parcel::load(object).map_err(|error| TaskErrorKind::NoSpace {
                    reason: error.to_string(),
                })?;
                frame::set_start(&mut copy.bytes, self.next);
                *object = parcel::store(&copy).map_err(not_stored)?;
            }
        }
        self.start = self.next;
        Ok(())
    }
}

/// Why there is no parcel: no memory, or something in it that cannot be shared.
pub(crate) fn not_stored(error: CreateError) -> TaskErrorKind {
    if error.is_invalid() {
        return TaskErrorKind::Encode(EncodeError::new("an argument", error));
    }
    TaskErrorKind::NoSpace {
        reason: error.to_string(),
    }
}

impl Book {
    pub(crate) fn new() -> Book {
        Book {
            phase: Phase::Open,
            pushed: HashMap::default(),
            backlog: VecDeque::new(),
            feeding: 0,
            jobs: 0,
        }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// A new job, if the pool is open.
    pub(crate) fn open_job(
        &mut self,
        eager: bool,
        feeding: bool,
    ) -> Result<Arc<Job>, TaskErrorKind> {
        match &self.phase {
            Phase::Open => {}
            Phase::Closed => return Err(TaskErrorKind::Closed),
            Phase::Over(kind) => return Err(kind.clone()),
        }
        self.feeding += usize::from(feeding);
        self.jobs += 1;
        Ok(Job::new(self.jobs, eager))
    }

    /// A feeding job hands in no more.
    pub(crate) fn fed(&mut self) {
        self.feeding -= 1;
    }

    /// Takes chunks of one job into the backlog. Those of a pool that is over are answered with why.
    pub(crate) fn accept(&mut self, chunks: &mut Vec<Chunk>) -> Result<(), TaskErrorKind> {
        let Some(job) = chunks.first().map(|first| Arc::clone(&first.job)) else {
            return Ok(());
        };
        if let Phase::Over(kind) = &self.phase {
            chunks.drain(..).for_each(|chunk| chunk.fail(kind));
            return Err(kind.clone());
        }
        let mut state = job.lock();
        for chunk in &mut *chunks {
            chunk.counted = true;
            state.chunks += 1;
            state.bytes += chunk.bytes;
        }
        drop(state);
        self.backlog.extend(chunks.drain(..));
        Ok(())
    }

    /// How many chunks wait in the parent.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.len()
    }

    pub(crate) fn close(&mut self) {
        if let Phase::Open = self.phase {
            self.phase = Phase::Closed;
        }
    }

    /// `false`: it was over already.
    pub(crate) fn end(&mut self, kind: TaskErrorKind) -> bool {
        let first = !matches!(self.phase, Phase::Over(_));
        if first {
            self.phase = Phase::Over(kind);
        }
        first
    }

    /// Answers all that is open, once the pool is over.
    pub(crate) fn answer_all(&mut self) {
        let Phase::Over(kind) = &self.phase else {
            return;
        };
        let pushed = self.pushed.drain().map(|(_, chunk)| chunk);
        let waiting = self.backlog.drain(..);
        pushed.chain(waiting).for_each(|chunk| chunk.fail(kind));
    }

    /// Whether a closed pool has nothing left to do.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Closed)
            && self.feeding == 0
            && self.pushed.is_empty()
            && self.backlog.is_empty()
    }

    /// Step 2, for the backlog. `false`: there is no room for all of it.
    pub(crate) fn push(&mut self, tail: &mut TailGuard<'_>) -> bool {
        while let Some(chunk) = self.backlog.front() {
            let ticket = ticket_of(tail.position());
            // Tickets go round after 2^32 pushes; one that a worker has held so long is skipped by
            // a frame without content.
            let taken = self.pushed.contains_key(&ticket);
            let pushed = match &chunk.body {
                _ if taken => tail.push(&[], 0),
                Body::Inline(frame) => tail.push(&[frame], 0),
                Body::Stored(object) => tail.push_parcel(object),
            };
            debug_assert_ne!(pushed, Err(PushError::TooLong), "longer frames are stored");
            if pushed.is_err() {
                return false;
            }
            if !taken && let Some(chunk) = self.backlog.pop_front() {
                self.pushed.insert(ticket, chunk);
            }
        }
        true
    }

    /// Step 12, for records that stood in a ring.
    pub(crate) fn take_in(&mut self, records: &[u8], ends: &[usize]) {
        let mut start = 0;
        let mut frames = ends.iter().map(|&end| {
            let frame = &records[start..end];
            start = end;
            Record::from_bytes(frame).map(|record| (record, &frame[RECORD..]))
        });
        let mut next = frames.next();
        while let Some(first) = next {
            let Some((record, _)) = first else {
                next = frames.next();
                continue;
            };
            // A worker publishes a whole chunk in a row: one look-up and one lock for all of it.
            let ticket = record.ticket;
            let mut run = std::iter::from_fn(|| {
                let same = next.flatten().filter(|(record, _)| record.ticket == ticket);
                if same.is_some() {
                    next = frames.next();
                }
                same
            });
            match self.pushed.entry(ticket) {
                Entry::Vacant(_) => run.for_each(drop),
                Entry::Occupied(mut chunk) => {
                    if chunk.get_mut().take_in(&mut run) {
                        chunk.remove();
                    }
                    run.for_each(drop);
                }
            }
        }
    }

    /// Step 12, for a record in a parcel. A damaged one says nothing, and a later record will tell.
    pub(crate) fn take_in_stored(&mut self, stored: Object) {
        let _ = parcel::with_bytes(&stored, |frame, _| {
            let Some(record) = Record::from_bytes(frame) else {
                return;
            };
            let answer = match record.kind {
                Kind::Value => Answer::Stored(stored.clone()),
                kind => Answer::Failed(decode_failure(kind, &frame[RECORD..])),
            };
            if let Entry::Occupied(mut chunk) = self.pushed.entry(record.ticket)
                && chunk.get_mut().answer(&record, answer)
            {
                chunk.remove();
            }
        });
    }

    /// A dead worker's chunk, drained: the item it had begun is lost, the rest is next in line.
    pub(crate) fn give_back(&mut self, claim: Claim, lost: TaskErrorKind) {
        let Some(mut chunk) = self.pushed.remove(&claim.ticket) else {
            return;
        };
        if let Phase::Over(kind) = &self.phase {
            // The pool's end killed it.
            return chunk.fail(kind);
        }
        if claim.begun > chunk.next {
            let record = Record {
                ticket: claim.ticket,
                item: chunk.next,
                kind: Kind::Value,
                took: std::time::Duration::ZERO,
            };
            if chunk.answer(&record, Answer::Failed(lost)) {
                return;
            }
        }
        match chunk.begin_later() {
            Ok(()) => self.backlog.push_front(chunk),
            Err(kind) => chunk.fail(&kind),
        }
    }
}

/// Tickets are consecutive: spreading their low bits is all that a table asks for.
#[derive(Default)]
struct TicketHasher(u64);

impl Hasher for TicketHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, ticket: u32) {
        self.0 = (self.0 ^ u64::from(ticket)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
