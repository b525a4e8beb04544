//! The parent's side: chunks out to the workers, outcomes back to their jobs.
//!
//! Owns the rule that each item is answered exactly once: a chunk is in `chunks` (pushed) or in the
//! backlog, never in both, and `Chunk::next` counts its answers. All of that changes under one lock.
//! Lock order: a slot's reader, `core`, a job.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use multiproc_process::ExitStatus;
use multiproc_shm::{CreateError, Frame, Object, OpenError, PushError, Ring, TailGuard, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{DecodeError, EncodeError};
use parking_lot::{Mutex, MutexGuard};

use crate::error::TaskErrorKind;
use crate::frame;
use crate::job::{Answer, Job, State};
use crate::outcome::{Kind, RECORD, Record, decode_failure};
use crate::supervisor::Crew;
use crate::turn::Turn;
use crate::words::{Board, Claim};
use crate::worker::{CLOSING, LEAVING, RESULT_RING, ticket_of};

/// The size of the task ring: room for some thousand small chunks.
const TASK_RING: usize = 256 << 10;
/// How many records are taken out of a ring before they are looked at.
const AT_ONCE: usize = 256;
/// How often to push into a ring that was full, and is empty.
const ATTEMPTS: u32 = 3;
/// `b"task"`
const TASKS_TAG: u32 = u32::from_le_bytes(*b"task");
/// `b"rslt"`
const RESULTS_TAG: u32 = u32::from_le_bytes(*b"rslt");

/// The parent's side of one pool.
pub(crate) struct Hub {
    pub(crate) board: Board,
    pub(crate) tasks: Ring,
    readers: Box<[Mutex<Reader>]>,
    core: Mutex<Core>,
    pub(crate) turn: Turn,
    pub(crate) crew: Crew,
    /// Whether a waiting thread may spin without taking a processor from a worker.
    pub(crate) has_free_cpus: bool,
}

/// The reading end of one worker's result ring. `None` while the slot has no worker.
#[derive(Default)]
struct Reader {
    ring: Option<Ring>,
    /// Records just taken out, and where each ends.
    records: Vec<u8>,
    ends: Vec<usize>,
}

/// What changes under the parent's lock.
struct Core {
    phase: Phase,
    /// Pushed and not yet answered to the end, by ticket.
    chunks: HashMap<u32, Chunk, BuildHasherDefault<TicketHasher>>,
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

impl Hub {
    pub(crate) fn new(name: String, workers: usize) -> Result<Hub, CreateError> {
        Ok(Hub {
            board: Board::create(workers)?,
            tasks: Ring::create(TASKS_TAG, TASK_RING)?,
            readers: (0..workers).map(|_| Mutex::default()).collect(),
            core: Mutex::new(Core {
                phase: Phase::Open,
                chunks: HashMap::default(),
                backlog: VecDeque::new(),
                feeding: 0,
                jobs: 0,
            }),
            turn: Turn::default(),
            crew: Crew::new(name, workers),
            has_free_cpus: workers < multiproc_process::cpu_count(),
        })
    }

    pub(crate) fn workers(&self) -> usize {
        self.readers.len()
    }

    /// A new job, refused unless the pool is open. One that is `feeding` keeps the pool from
    /// letting its workers go until [`Hub::fed`].
    pub(crate) fn open_job(&self, eager: bool, feeding: bool) -> Result<Arc<Job>, TaskErrorKind> {
        let mut core = self.core.lock();
        match &core.phase {
            Phase::Open => {}
            Phase::Closed => return Err(TaskErrorKind::Closed),
            Phase::Over(kind) => return Err(kind.clone()),
        }
        core.feeding += usize::from(feeding);
        core.jobs += 1;
        Ok(Job::new(core.jobs, eager))
    }

    /// A feeding job hands in no more.
    pub(crate) fn fed(&self) {
        let mut core = self.core.lock();
        core.feeding -= 1;
        let done = core.is_done();
        drop(core);
        if done {
            self.board.watch().ring();
        }
    }

    /// Hands in chunks of one job. Those of a pool that is over are answered with why.
    pub(crate) fn submit(&self, chunks: &mut Vec<Chunk>) -> Result<(), TaskErrorKind> {
        let Some(job) = chunks.first().map(|first| Arc::clone(&first.job)) else {
            return Ok(());
        };
        let mut core = self.core.lock();
        if let Phase::Over(kind) = &core.phase {
            let kind = kind.clone();
            drop(core);
            chunks.drain(..).for_each(|chunk| chunk.fail(&kind));
            return Err(kind);
        }
        let mut state = job.lock();
        for chunk in &mut *chunks {
            chunk.counted = true;
            state.chunks += 1;
            state.bytes += chunk.bytes;
        }
        drop(state);
        core.backlog.extend(chunks.drain(..));
        self.push_backlog(core);
        Ok(())
    }

    /// Pushes as much of the backlog as there is room for.
    pub(crate) fn flush(&self) {
        let core = self.core.lock();
        if !core.backlog.is_empty() {
            self.push_backlog(core);
        }
    }

    fn push_backlog(&self, mut core: MutexGuard<'_, Core>) {
        // Refused only where this thread holds thousands; then another thread will push.
        let Ok(mut tail) = self.tasks.tail(Deadline::NEVER) else {
            return;
        };
        let before = core.backlog.len();
        for _ in 0..ATTEMPTS {
            if core.push(&mut tail) {
                break;
            }
            self.ask_refill();
            if !self.tasks.is_empty() {
                break;
            }
            // The workers took everything before they could see the wish.
        }
        drop(tail);
        let pushed = before - core.backlog.len();
        drop(core);
        for _ in 0..self.workers().min(pushed) {
            self.tasks.items().ring();
        }
    }

    /// Whether a worker has published something that was not drained.
    pub(crate) fn has_results(&self) -> bool {
        self.readers.iter().any(|reader| {
            reader
                .lock()
                .ring
                .as_ref()
                .is_some_and(|ring| !ring.is_empty())
        })
    }

    /// Takes in all outcomes there are.
    pub(crate) fn drain(&self) {
        for slot in 0..self.workers() {
            self.drain_slot(slot);
        }
    }

    /// Takes in all outcomes of one worker.
    pub(crate) fn drain_slot(&self, slot: usize) {
        let Reader {
            ring,
            records,
            ends,
        } = &mut *self.readers[slot].lock();
        let Some(ring) = ring.as_ref().filter(|ring| !ring.is_empty()) else {
            return;
        };
        // Nobody else reads here, so the lock is free; refused only where this thread holds
        // thousands, and then another thread will drain.
        let Ok(mut head) = ring.head(Deadline::NEVER) else {
            return;
        };
        let mut core = self.core.lock();
        let mut more = true;
        while more {
            let mut stored = None;
            records.clear();
            ends.clear();
            while stored.is_none() && ends.len() < AT_ONCE {
                match head.pop(records) {
                    Ok(Some(Frame::Bytes)) => ends.push(records.len()),
                    Ok(Some(Frame::Parcel(object))) => stored = Some(object),
                    // The frame is gone; a later record will tell whose it was.
                    Err(OpenError::Corrupt(_)) => {}
                    // No more; or no memory to take it, so it stays for the next time.
                    Ok(None) | Err(_) => {
                        more = false;
                        break;
                    }
                }
            }
            core.take_in(records, ends);
            if let Some(object) = stored {
                core.take_in_stored(object);
            }
        }
        let done = core.is_done();
        drop(core);
        drop(head);
        ring.space().ring();
        if done {
            self.board.watch().ring();
        }
    }

    /// Gives a slot's new worker a result ring.
    pub(crate) fn new_results(&self, slot: usize) -> Result<Ring, CreateError> {
        let ring = Ring::create(RESULTS_TAG, RESULT_RING)?;
        self.readers[slot].lock().ring = Some(ring.clone());
        Ok(ring)
    }

    /// Settles what a dead worker leaves: its outcomes are taken in, the item it was running is
    /// lost, the rest of its chunk is next in line.
    pub(crate) fn bury(&self, slot: usize, pid: u32, status: ExitStatus) {
        self.drain_slot(slot);
        self.readers[slot].lock().ring = None;
        if let Some(claim) = self.take_claim(slot) {
            let lost = TaskErrorKind::WorkerLost {
                pid,
                signal: status.signal(),
                status,
            };
            self.core.lock().give_back(claim, lost);
        }
        self.flush();
        self.board.bell().ring();
    }

    fn take_claim(&self, slot: usize) -> Option<Claim> {
        // A stopped worker may hold the lock as long as it likes; nobody gets a task meanwhile,
        // and the pool's end kills it.
        let head = self.tasks.head(Deadline::NEVER).ok()?;
        if head.taken().is_after_death() {
            self.board.repair(ticket_of(head.position()));
        }
        self.board.take_claim(slot)
    }

    /// Accepts no more work.
    pub(crate) fn close(&self) {
        let mut core = self.core.lock();
        if let Phase::Open = core.phase {
            core.phase = Phase::Closed;
        }
        drop(core);
        // Workers that go idle from now on tell the supervisor, and those idle now have been seen
        // by it.
        let state = self.tasks.state();
        let _ = state.compare_exchange(0, CLOSING, Ordering::AcqRel, Ordering::Relaxed);
        self.board.watch().ring();
    }

    /// Ends the pool: whatever is not answered yet is answered with `kind` by
    /// [`Hub::answer_all`]. `false`: it was over already.
    pub(crate) fn end(&self, kind: TaskErrorKind) -> bool {
        let mut core = self.core.lock();
        let first = !matches!(core.phase, Phase::Over(_));
        if first {
            core.phase = Phase::Over(kind);
        }
        first
    }

    /// Answers all that is open, once the pool is over.
    pub(crate) fn answer_all(&self) {
        self.drain();
        let mut core = self.core.lock();
        let Phase::Over(kind) = core.phase.clone() else {
            return;
        };
        let pushed = std::mem::take(&mut core.chunks).into_values();
        let waiting = std::mem::take(&mut core.backlog);
        for chunk in pushed.chain(waiting) {
            chunk.fail(&kind);
        }
        drop(core);
        self.board.bell().ring();
    }

    pub(crate) fn phase(&self) -> Phase {
        self.core.lock().phase.clone()
    }

    /// Lets the workers go once a closed pool has nothing left to do.
    pub(crate) fn let_go_if_done(&self) {
        let leaving = || self.tasks.state().swap(LEAVING, Ordering::AcqRel) == LEAVING;
        if self.core.lock().is_done() && !leaving() {
            self.tasks.items().ring_all();
        }
    }

    /// Whether workers leave because they are no longer needed.
    pub(crate) fn is_letting_go(&self) -> bool {
        self.tasks.state().load(Ordering::Acquire) == LEAVING
    }

    /// Whether [`Hub::let_go_if_done`] has something to do.
    pub(crate) fn may_let_go(&self) -> bool {
        !self.is_letting_go() && self.core.lock().is_done()
    }

    /// Has a worker ring when half of the tasks there are now have been taken.
    pub(crate) fn ask_refill(&self) {
        self.board.ask_refill((self.tasks.len() / 2).max(1));
    }

    /// Whether results must be taken out though nobody waits for one: tasks wait in the parent, a
    /// worker waits for room, or the pool is to end.
    pub(crate) fn cannot_wait(&self) -> bool {
        let core = self.core.lock();
        let urgent = !core.backlog.is_empty() || !matches!(core.phase, Phase::Open);
        drop(core);
        let waits = |reader: &Mutex<Reader>| {
            let reader = reader.lock();
            reader
                .ring
                .as_ref()
                .is_some_and(|ring| ring.space().is_armed())
        };
        urgent || self.readers.iter().any(waits)
    }
}

impl Core {
    /// Whether a closed pool has nothing left to do.
    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Closed)
            && self.feeding == 0
            && self.chunks.is_empty()
            && self.backlog.is_empty()
    }

    /// Step 2, for the backlog. `false`: there is no room for all of it.
    fn push(&mut self, tail: &mut TailGuard<'_>) -> bool {
        while let Some(chunk) = self.backlog.front() {
            let ticket = ticket_of(tail.position());
            // Tickets go round after 2^32 pushes; one that a worker has held so long is skipped by
            // a frame without content.
            let taken = self.chunks.contains_key(&ticket);
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
                self.chunks.insert(ticket, chunk);
            }
        }
        true
    }

    /// Step 12, for records that stood in a ring.
    fn take_in(&mut self, records: &[u8], ends: &[usize]) {
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
            match self.chunks.entry(ticket) {
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
    fn take_in_stored(&mut self, stored: Object) {
        let _ = parcel::with_bytes(&stored, |frame, _| {
            let Some(record) = Record::from_bytes(frame) else {
                return;
            };
            let answer = match record.kind {
                Kind::Value => Answer::Stored(stored.clone()),
                kind => Answer::Failed(decode_failure(kind, &frame[RECORD..])),
            };
            if let Entry::Occupied(mut chunk) = self.chunks.entry(record.ticket)
                && chunk.get_mut().answer(&record, answer)
            {
                chunk.remove();
            }
        });
    }

    /// A dead worker's chunk, drained: the item it had begun is lost, the rest is next in line.
    fn give_back(&mut self, claim: Claim, lost: TaskErrorKind) {
        let Some(mut chunk) = self.chunks.remove(&claim.ticket) else {
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
