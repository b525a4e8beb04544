//! The parent's side: chunks out to the workers, outcomes back to their jobs.
//!
//! Moves frames between the [book](crate::book) and shared memory, and wakes whoever waits for them.
//! Lock order: a slot's reader, the book, a job.

use std::sync::Arc;

use multiproc_shm::{CreateError, Found, Frame, Hope, OpenError, Ring};
use multiproc_sys::clock::Deadline;
use parking_lot::{Mutex, MutexGuard};

use crate::book::{Book, Chunk, Phase};
use crate::callbacks::Callbacks;
use crate::coroner::Coroner;
use crate::crew::{Crew, Exit, Plan};
use crate::error::TaskErrorKind;
use crate::job::{Job, Manner};
use crate::options::Options;
use crate::trace::Trace;
use crate::turn::Turn;
use crate::words::{Board, Claim, EndWord};
use crate::worker::{RESULT_RING, ticket_of};

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
    book: Mutex<Book>,
    pub(crate) turn: Turn,
    pub(crate) crew: Crew,
    pub(crate) callbacks: Arc<Callbacks>,
    pub(crate) trace: Trace,
    pub(crate) coroner: Coroner,
    /// Whether it pays off to wait for results a little longer.
    pub(crate) hope: Hope,
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
    /// How many outcomes its workers have sent.
    done: u64,
}

impl Hub {
    pub(crate) fn new(plan: Plan) -> Result<Hub, CreateError> {
        let workers = plan.workers;
        Ok(Hub {
            board: Board::create(workers)?,
            tasks: Ring::create(TASKS_TAG, TASK_RING)?,
            readers: (0..workers).map(|_| Mutex::default()).collect(),
            book: Mutex::new(Book::new()),
            turn: Turn::default(),
            callbacks: Callbacks::new(),
            trace: Trace::default(),
            coroner: Coroner::new(),
            hope: Hope::default(),
            has_free_cpus: workers < multiproc_process::cpu_count(),
            crew: Crew::new(plan),
        })
    }

    /// The book, for whoever holds no slot's reader or comes with the one lock order.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    pub(crate) fn workers(&self) -> usize {
        self.readers.len()
    }

    /// A new job, refused unless the pool is open. One that is `feeding` keeps the pool from
    /// letting its workers go until [`Hub::fed`].
    pub(crate) fn open_job(
        &self,
        eager: bool,
        feeding: bool,
        options: &Options,
    ) -> Result<Arc<Job>, TaskErrorKind> {
        let manner = Manner {
            eager,
            timeout: options.timeout,
            retries: options.retry.times,
            traced: self.trace.is_on(),
        };
        self.book.lock().open_job(manner, feeding)
    }

    /// A feeding job hands in no more.
    pub(crate) fn fed(&self) {
        let mut book = self.book.lock();
        book.fed();
        let done = book.is_done();
        drop(book);
        if done {
            self.board.watch().ring();
        }
    }

    /// Hands in chunks of one job. Those of a pool that is over are answered with why.
    pub(crate) fn submit(&self, chunks: &mut Vec<Chunk>) -> Result<(), TaskErrorKind> {
        let limit = chunks.first().and_then(|chunk| chunk.job.manner.timeout);
        let mut book = self.book.lock();
        book.accept(chunks)?;
        self.push_backlog(book);
        if let Some(limit) = limit {
            self.has_limit(limit);
        }
        Ok(())
    }

    /// Pushes as much of the backlog as there is room for.
    pub(crate) fn flush(&self) {
        let book = self.book.lock();
        if book.backlog() > 0 {
            self.push_backlog(book);
        }
    }

    fn push_backlog(&self, mut book: MutexGuard<'_, Book>) {
        // Refused only where this thread holds thousands; then another thread will push.
        let Ok(mut tail) = self.tasks.tail(Deadline::NEVER) else {
            return;
        };
        let before = book.backlog();
        for _ in 0..ATTEMPTS {
            if book.push(&mut tail, &self.board) {
                break;
            }
            self.ask_refill();
            if !self.tasks.is_empty() {
                break;
            }
            // The workers took everything before they could see the wish.
        }
        drop(tail);
        let pushed = before - book.backlog();
        drop(book);
        let awake = usize::from(pushed > 0 && self.board.seeker().is_there());
        for _ in awake..self.workers().min(pushed) {
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
            done,
        } = &mut *self.readers[slot].lock();
        let Some(ring) = ring.as_ref().filter(|ring| !ring.is_empty()) else {
            return;
        };
        // Nobody else reads here, so the lock is free; refused only where this thread holds
        // thousands, and then another thread will drain.
        let Ok(mut head) = ring.head(Deadline::NEVER) else {
            return;
        };
        let mut book = self.book.lock();
        let mut more = true;
        while more {
            let mut stored = None;
            records.clear();
            ends.clear();
            while stored.is_none() && ends.len() < AT_ONCE {
                let found = match head.pop_quietly(records) {
                    Ok(Found::Files(_)) => head.pop(records).map(|frame| match frame {
                        Some(Frame::Parcel(object)) => Found::Parcel(object),
                        Some(Frame::Bytes) => Found::Bytes,
                        None => Found::Nothing,
                    }),
                    found => found,
                };
                match found {
                    Ok(Found::Bytes) => ends.push(records.len()),
                    Ok(Found::Parcel(object) | Found::Files(object)) => stored = Some(object),
                    // The frame is gone; a later record will tell whose it was.
                    Err(OpenError::Corrupt(_)) => {}
                    // No more; or no memory to take it, so it stays for the next time.
                    Ok(Found::Nothing) | Err(_) => {
                        more = false;
                        break;
                    }
                }
            }
            // One store for all that were copied.
            head.settle();
            *done += (ends.len() + usize::from(stored.is_some())) as u64;
            book.take_in(records, ends, |job, item, span| {
                *done -= 1;
                self.trace.ran(slot, job, item, span);
            });
            if let Some(object) = stored {
                book.take_in_stored(object);
            }
        }
        let done = book.is_done();
        drop(book);
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
    pub(crate) fn bury(&self, exit: &Exit) {
        let Exit {
            slot, pid, status, ..
        } = *exit;
        self.drain_slot(slot);
        self.readers[slot].lock().ring = None;
        if let Some(claim) = self.take_claim(slot) {
            let last_words = self.crew.slots().of[slot].last_words();
            let lost = TaskErrorKind::WorkerLost {
                pid,
                signal: status.signal(),
                status,
                oom: self.coroner.was_oom(status),
                stderr: last_words.map_or_else(String::new, |words| words.text()),
            };
            let loss = self.book.lock().give_back(claim, lost);
            self.trace.ended(slot, pid, status, loss);
        }
        if self.board.seeker().bury(slot) {
            self.tasks.items().ring_all();
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
        self.board.claim(slot).take()
    }

    /// Accepts no more work.
    pub(crate) fn close(&self) {
        self.book.lock().close();
        // Workers that go idle from now on tell the supervisor, and those idle now have been seen
        // by it.
        self.end_word().close();
        self.board.watch().ring();
    }

    /// Ends the pool: whatever is not answered yet is answered with `kind` by
    /// [`Hub::answer_all`]. `false`: it was over already.
    pub(crate) fn end(&self, kind: TaskErrorKind) -> bool {
        self.book.lock().end(kind)
    }

    /// Answers all that is open, once the pool is over.
    pub(crate) fn answer_all(&self) {
        self.drain();
        self.book.lock().answer_all();
        self.board.bell().ring();
    }

    pub(crate) fn phase(&self) -> Phase {
        self.book.lock().phase().clone()
    }

    /// Lets the workers go once a closed pool has nothing left to do.
    pub(crate) fn let_go_if_done(&self) {
        if self.book.lock().is_done() && self.end_word().let_go() {
            self.tasks.items().ring_all();
        }
    }

    fn end_word(&self) -> EndWord<'_> {
        EndWord(self.tasks.state())
    }

    /// Has every worker leave after the item in hand.
    pub(crate) fn dismiss(&self) {
        self.end_word().dismiss();
        self.tasks.items().ring_all();
    }

    /// How many outcomes the workers of a slot have sent.
    pub(crate) fn done(&self, slot: usize) -> u64 {
        self.readers[slot].lock().done
    }

    /// Whether workers leave because they are no longer needed.
    pub(crate) fn is_letting_go(&self) -> bool {
        self.end_word().get().leave_when_idle()
    }

    /// Whether [`Hub::let_go_if_done`] has something to do.
    pub(crate) fn may_let_go(&self) -> bool {
        !self.is_letting_go() && self.book.lock().is_done()
    }

    /// Has a worker ring when half of the tasks there are now have been taken.
    pub(crate) fn ask_refill(&self) {
        self.board.ask_refill((self.tasks.len() / 2).max(1));
    }

    /// Whether results must be taken out though nobody waits for one: tasks wait in the parent, a
    /// worker waits for room, or the pool is to end.
    pub(crate) fn cannot_wait(&self) -> bool {
        let book = self.book.lock();
        let urgent = book.backlog() > 0 || !matches!(book.phase(), Phase::Open);
        drop(book);
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
