//! The book: which chunks there are, where each is, and which of their items are answered.
//!
//! Owns the rule that each item is answered exactly once: a chunk is in `pushed` or in the backlog,
//! never in both, and [`Chunk`] counts its answers in order. The parent's side of the pool keeps it
//! under one lock, inside which a job's lock may be taken.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use multiproc_shm::{CreateError, Object, PushError, TailGuard, parcel};
use multiproc_wire::{DecodeError, EncodeError};

use crate::error::TaskErrorKind;
use crate::frame;
use crate::job::{Answer, Job, Manner, State};
use crate::outcome::{Kind, RECORD, Record, Records, Span, decode_failure};
use crate::words::{Board, Claim};
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
    /// The shortest time that a task of those handed in lately may take.
    limit: Option<Duration>,
    /// How many items the pool's end has left without a value.
    cancelled: u64,
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
    /// How often its next item was begun and lost.
    lost: u32,
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
            lost: 0,
            bytes,
            counted: false,
        }
    }

    /// Takes in records of it. `true`: it is answered to the end.
    fn take_in(
        &mut self,
        ticket: u32,
        records: &mut Records<'_>,
        mut seen: impl FnMut(usize, Span),
    ) -> bool {
        let job = Arc::clone(&self.job);
        let mut state = job.lock();
        let mut done = false;
        while !done && let Some((record, body)) = records.next_of(ticket) {
            let answer = match record.kind {
                // As nearly all are: told to those who wait after the last of them.
                Kind::Value if record.item == self.next && self.next < self.count => {
                    state.value(self.first + self.next as usize, body);
                    done = self.pass(&mut state, &record);
                    continue;
                }
                Kind::Value => Answer::Value(body),
                Kind::Span => {
                    if let Some(span) = Span::from_bytes(body) {
                        seen(self.first + record.item as usize, span);
                    }
                    continue;
                }
                kind => Answer::Failed(decode_failure(kind, body), self.lost + 1),
            };
            done = self.answer_in(&mut state, &record, answer);
        }
        state.progressed();
        done
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
            let answer = Answer::Failed(TaskErrorKind::Decode(error), self.lost + 1);
            state.answer(self.first + self.next as usize, answer);
            self.next += 1;
            self.lost = 0;
        }
        state.answer(self.first + self.next as usize, answer);
        self.pass(state, record)
    }

    /// The next item has been answered. `true`: the chunk is, to the end.
    #[inline]
    fn pass(&mut self, state: &mut State, record: &Record) -> bool {
        self.next += 1;
        self.lost = 0;
        let done = self.next == self.count;
        if done {
            state.chunk_done(self.bytes);
            if !record.took.is_zero() {
                state.measured(self.count - self.start, record.took);
            }
        }
        done
    }

    /// Answers the next item without a record. `true`: the chunk is answered to the end.
    fn answer_next(&mut self, ticket: u32, kind: TaskErrorKind, attempts: u32) -> bool {
        let record = Record {
            ticket,
            item: self.next,
            kind: Kind::Value,
            took: Duration::ZERO,
        };
        self.answer(&record, Answer::Failed(kind, attempts))
    }

    /// Answers all that is left of it.
    fn fail(self, kind: &TaskErrorKind) {
        let mut state = self.job.lock();
        for item in self.next..self.count {
            let attempts = if item == self.next { self.lost } else { 0 };
            let answer = Answer::Failed(kind.clone(), attempts);
            state.answer(self.first + item as usize, answer);
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
            limit: None,
            cancelled: 0,
        }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// A new job, if the pool is open.
    pub(crate) fn open_job(
        &mut self,
        manner: Manner,
        feeding: bool,
    ) -> Result<Arc<Job>, TaskErrorKind> {
        match &self.phase {
            Phase::Open => {}
            Phase::Closed => return Err(TaskErrorKind::Closed),
            Phase::Over(kind) => return Err(kind.clone()),
        }
        self.feeding += usize::from(feeding);
        self.jobs += 1;
        Ok(Job::new(self.jobs, manner))
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
        // Together with the chunks: without any, there is no limit to keep.
        if let Some(timeout) = job.manner.timeout {
            self.limit = Some(self.limit.map_or(timeout, |limit| limit.min(timeout)));
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
        for chunk in pushed.chain(self.backlog.drain(..)) {
            self.cancelled += u64::from(chunk.count - chunk.next);
            chunk.fail(kind);
        }
    }

    /// Whether a closed pool has nothing left to do.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Closed)
            && self.feeding == 0
            && self.pushed.is_empty()
            && self.backlog.is_empty()
    }

    /// Step 2, for the backlog. `false`: there is no room for all of it.
    pub(crate) fn push(&mut self, tail: &mut TailGuard<'_>, board: &Board) -> bool {
        while let Some(chunk) = self.backlog.front() {
            let ticket = ticket_of(tail.position());
            // Tickets go round after 2^32 pushes; one that a worker has held so long is skipped by
            // a frame without content.
            let taken = self.pushed.contains_key(&ticket);
            board.withdrawn(ticket).renew();
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

    /// Step 12, for records that stood in a ring. `seen` hears when an item ran.
    pub(crate) fn take_in(
        &mut self,
        records: &[u8],
        ends: &[usize],
        mut seen: impl FnMut(u64, usize, Span),
    ) {
        let mut records = Records::new(records, ends);
        // A worker publishes a whole chunk in a row: one look-up and one lock for all of it.
        while let Some(ticket) = records.ticket() {
            if let Entry::Occupied(mut chunk) = self.pushed.entry(ticket) {
                let job = chunk.get().job.id;
                let seen = |item, span| seen(job, item, span);
                if chunk.get_mut().take_in(ticket, &mut records, seen) {
                    chunk.remove();
                }
            }
            // Of a chunk that is answered already.
            while records.next_of(ticket).is_some() {}
        }
    }

    /// Step 12, for a record in a parcel. A damaged one says nothing, and a later record will tell.
    pub(crate) fn take_in_stored(&mut self, stored: Object) {
        let _ = parcel::with_bytes(&stored, |frame, _| {
            let Some(record) = Record::from_bytes(frame) else {
                return;
            };
            let Entry::Occupied(mut chunk) = self.pushed.entry(record.ticket) else {
                return;
            };
            let answer = match record.kind {
                Kind::Value => Answer::Stored(stored.clone()),
                kind => {
                    let kind = decode_failure(kind, &frame[RECORD..]);
                    Answer::Failed(kind, chunk.get().lost + 1)
                }
            };
            if chunk.get_mut().answer(&record, answer) {
                chunk.remove();
            }
        });
    }

    /// A dead worker's chunk, drained: the item it had begun is lost, or begun again if it may be; the
    /// rest is next in line. Says what happened to the item, if there was one.
    pub(crate) fn give_back(&mut self, claim: Claim, lost: TaskErrorKind) -> Option<Loss> {
        let mut chunk = self.pushed.remove(&claim.ticket)?;
        if let Phase::Over(kind) = &self.phase {
            // The pool's end killed it.
            self.cancelled += u64::from(chunk.count - chunk.next);
            chunk.fail(kind);
            return None;
        }
        let mut loss = None;
        if claim.begun > chunk.next {
            chunk.lost += 1;
            let again = chunk.lost <= chunk.job.manner.retries;
            loss = Some(Loss {
                job: chunk.job.id,
                item: chunk.first + chunk.next as usize,
                attempt: chunk.lost,
                again,
            });
            if !again && chunk.answer_next(claim.ticket, lost, chunk.lost) {
                return loss;
            }
        }
        if chunk.job.lock().is_withdrawn() {
            // It was among the tickets that are being cancelled, and would come back under another one.
            chunk.fail(&TaskErrorKind::Cancelled);
            return loss;
        }
        match chunk.begin_later() {
            Ok(()) => self.backlog.push_front(chunk),
            Err(kind) => chunk.fail(&kind),
        }
        loss
    }

    /// The item that runs under `claim`, once its ring is drained: its job, its place in it, and how
    /// long it may run. `None`: it is answered already.
    pub(crate) fn running(&self, claim: Claim) -> Option<Running> {
        let chunk = self.pushed.get(&claim.ticket)?;
        (claim.begun > chunk.next).then(|| Running {
            item: chunk.first + chunk.next as usize,
            timeout: chunk.job.manner.timeout,
        })
    }

    /// Answers the item that runs under `claim`, drained, whatever becomes of it. `false`: it has its
    /// answer.
    pub(crate) fn answer_running(&mut self, claim: Claim, kind: TaskErrorKind) -> bool {
        let Entry::Occupied(mut chunk) = self.pushed.entry(claim.ticket) else {
            return false;
        };
        if claim.begun <= chunk.get().next {
            return false;
        }
        let attempts = chunk.get().lost + 1;
        if chunk.get_mut().answer_next(claim.ticket, kind, attempts) {
            chunk.remove();
        }
        true
    }

    /// Takes back all of a job that no worker has: its items are answered. The tickets of the rest,
    /// which workers may have.
    pub(crate) fn withdraw(&mut self, job: &Arc<Job>, board: &Board) -> Vec<u32> {
        let kind = &TaskErrorKind::Cancelled;
        job.lock().withdraw();
        let is_of = |chunk: &Chunk| Arc::ptr_eq(&chunk.job, job);
        let (gone, kept) = self.backlog.drain(..).partition(is_of);
        self.backlog = kept;
        VecDeque::into_iter(gone).for_each(|chunk| chunk.fail(kind));
        let pushed = self.pushed.iter().filter(|(_, chunk)| is_of(chunk));
        let tickets: Vec<u32> = pushed.map(|(ticket, _)| *ticket).collect();
        tickets
            .iter()
            .for_each(|ticket| board.withdrawn(*ticket).set());
        tickets
    }

    /// Answers what is left of a chunk that was withdrawn, and that no worker will begin. Drained.
    pub(crate) fn cancel(&mut self, ticket: u32) {
        if let Some(chunk) = self.pushed.remove(&ticket) {
            chunk.fail(&TaskErrorKind::Cancelled);
        }
    }

    /// The shortest time that a task may take, if there is any work.
    pub(crate) fn limit(&mut self) -> Option<Duration> {
        if self.pushed.is_empty() && self.backlog.is_empty() {
            self.limit = None;
        }
        self.limit
    }

    /// Whether the chunk has unanswered items, and is not in the backlog.
    pub(crate) fn is_pushed(&self, ticket: u32) -> bool {
        self.pushed.contains_key(&ticket)
    }

    /// How many items of the pool's work its end has cancelled.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled
    }

    /// How many chunks are with the workers, or on their way to them.
    pub(crate) fn pushed(&self) -> usize {
        self.pushed.len()
    }
}

/// What a death cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) job: u64,
    pub(crate) item: usize,
    pub(crate) attempt: u32,
    /// It will be begun once more.
    pub(crate) again: bool,
}

/// An item that a worker is at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) item: usize,
    pub(crate) timeout: Option<Duration>,
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
