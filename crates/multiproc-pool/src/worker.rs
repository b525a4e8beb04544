//! The loop of a worker process: take a chunk, run its items one by one, publish each outcome.
//!
//! The steps and their order are those of [`protocol`](crate::protocol); the numbers are its table's.
//! A worker decides nothing: what a death costs is worked out by the parent from what lies in the
//! shared words.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use multiproc_process::guard;
use multiproc_shm::{Frame, Hope, Object, OpenError, PushError, Ring, Sleeper, TailGuard, parcel};
use multiproc_sys::child::lifetime;
use multiproc_sys::clock::{Deadline, monotonic_nanos};
use multiproc_wire::task::{State, Task, TaskRef};
use multiproc_wire::{Attachment, DecodeError, EncodeError, FunctionError, Parcel, RunError};
use serde::{Deserialize, Serialize};

use crate::frame::{HEADER, Header, Items};
use crate::outcome::{Failure, Kind, RECORD, Record, Span};
use crate::terms::{Retirement, Terms};
use crate::words::{Board, EndWord, Held, Said};

/// The largest frame of one item's outcome that stands in the ring itself.
pub(crate) const INLINE: usize = 8 << 10;

/// The most a reply buffer keeps for the next item.
const KEPT: usize = 4 << 20;

/// A worker's argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) board: Object,
    pub(crate) tasks: Object,
    pub(crate) results: Object,
    pub(crate) slot: u32,
    pub(crate) terms: Terms,
}

/// The moments between two steps of the protocol, at which a worker may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    HeadLocked,
    Claimed,
    HeadMoved,
    Unlocked,
    Begun,
    Called,
    Published,
    Announced,
}

/// Hears of each step. Outside of tests nobody does, and nothing is left of it.
pub(crate) trait Witness {
    fn at(&mut self, step: Step);
}

struct Nobody;

impl Witness for Nobody {
    #[inline]
    fn at(&mut self, _: Step) {}
}

/// The main function of a worker. An error is why it did not come to its first task.
pub(crate) fn work(seat: Seat) -> Result<(), String> {
    if seat.terms.own_process {
        lifetime::shrug_off_interrupts().map_err(|errno| errno.to_string())?;
    }
    work_before(seat, Nobody)
}

pub(crate) fn work_before(seat: Seat, witness: impl Witness) -> Result<(), String> {
    let reached = (|| {
        let board = Board::open(seat.board)?;
        Ok::<_, OpenError>((board, Ring::open(seat.tasks)?, Ring::open(seat.results)?))
    })();
    let (board, tasks, results) =
        reached.map_err(|error| format!("it cannot reach its pool: {error}"))?;
    // For life: nobody else pushes here, and the parent never needs this side.
    let records = results
        .tail(Deadline::NEVER)
        .map_err(|error| format!("it cannot publish its results: {error}"))?;
    let state = seat.terms.prepare()?;
    let slot = seat.slot as usize;
    board.set_ready(slot, true);
    Worker {
        board: &board,
        slot,
        tasks: &tasks,
        results: &results,
        records,
        reply: Parcel::default(),
        state,
        retirement: Retirement::new(&seat.terms),
        held: Held::default(),
        hope: Hope::default(),
        function: None,
        job: 0,
        unannounced: 0,
        is_spoiled: false,
        witness,
    }
    .run();
    Ok(())
}

struct Worker<'a, W> {
    board: &'a Board,
    slot: usize,
    tasks: &'a Ring,
    results: &'a Ring,
    records: TailGuard<'a>,
    /// The frame of the outcome in the making; one buffer for all.
    reply: Parcel,
    /// What tasks with a state are lent.
    state: State,
    retirement: Retirement,
    held: Held,
    /// Whether it pays off to look for tasks a little longer.
    hope: Hope,
    /// The last function, resolved.
    function: Option<(TaskRef, Result<Task, FunctionError>)>,
    /// The job of the last chunk.
    job: u64,
    /// Bytes of results since somebody was told.
    unannounced: usize,
    /// It can no longer send large results, so another should take its place.
    is_spoiled: bool,
    witness: W,
}

/// Whether the worker goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use = "a worker that is to leave begins nothing"]
enum Then {
    GoOn,
    Leave,
}

/// What the worker found in the task ring.
enum Popped {
    Nothing,
    Chunk { ticket: u32, parcel: Option<Object> },
}

/// The item in hand.
#[derive(Clone, Copy)]
struct Place {
    ticket: u32,
    item: u32,
    took: Duration,
}

impl<W: Witness> Worker<'_, W> {
    fn run(&mut self) {
        let mut frame = Vec::new();
        while let Some((ticket, parcel)) = self.next(&mut frame) {
            if self.board.withdrawn(ticket).is_set() {
                continue;
            }
            let then = match parcel {
                None => self.run_chunk(ticket, &frame, &[]),
                Some(parcel) => {
                    let run = parcel::with_bytes(&parcel, |frame, attachments| {
                        self.run_chunk(ticket, frame, attachments)
                    });
                    // On an error nothing was begun: the parent gives the chunk to another worker.
                    run.unwrap_or(Then::Leave)
                }
            };
            if then == Then::Leave || self.retirement.is_due(true) {
                return;
            }
        }
    }

    /// Waits for a chunk; `None`: the pool lets its workers go.
    fn next(&mut self, frame: &mut Vec<u8>) -> Option<(u32, Option<Object>)> {
        // One wait until there is a chunk, so that an idle worker looks ever more seldom.
        let mut sleeper = Sleeper::new(Deadline::NEVER);
        loop {
            let Some(popped) = self.pop(frame) else {
                // Who pushed may have counted on this worker.
                self.tasks.items().ring();
                return None;
            };
            if let Popped::Chunk { ticket, parcel } = popped {
                return Some((ticket, parcel));
            }
            let said = self.end_word().get();
            if said.leave_when_idle() {
                return None;
            }
            if said.is_closing() {
                // The parent lets go when it has seen every result.
                self.announce();
            } else {
                self.tell_collector();
            }
            self.wait_for_tasks(said, &mut sleeper);
        }
    }

    /// Steps 4 to 7. `None`: this worker can work no more.
    fn pop(&mut self, frame: &mut Vec<u8>) -> Option<Popped> {
        if self.tasks.is_empty() {
            return Some(Popped::Nothing);
        }
        // Refused only where a task has leaked thousands of locks into this thread.
        let mut head = self.tasks.head(Deadline::NEVER).ok()?;
        self.witness.at(Step::HeadLocked);
        let ticket = ticket_of(head.position());
        if head.taken().is_after_death() {
            self.board.repair(ticket);
        }
        if head.is_empty() {
            return Some(Popped::Nothing);
        }
        frame.clear();
        if !self.board.claim(self.slot).claim(&mut self.held, ticket) {
            return None;
        }
        self.witness.at(Step::Claimed);
        let parcel = match head.pop(frame) {
            Ok(Some(Frame::Bytes)) => None,
            Ok(Some(Frame::Parcel(parcel))) => Some(parcel),
            Ok(None) => return Some(Popped::Nothing),
            Err(_) => {
                if ticket_of(head.position()) == ticket {
                    // Still in the ring: no memory to take it. Another worker may have some.
                    self.board.claim(self.slot).unclaim();
                }
                return None;
            }
        };
        self.witness.at(Step::HeadMoved);
        drop(head);
        self.witness.at(Step::Unlocked);
        Some(Popped::Chunk { ticket, parcel })
    }

    fn end_word(&self) -> EndWord<'_> {
        EndWord(self.tasks.state())
    }

    /// Looks for a moment, for longer if that has paid off; whether there is a task.
    fn finds_soon(&self) -> bool {
        let seeker = self.board.seeker();
        if !seeker.begin(self.slot) {
            // One is enough: a second takes the processor from the caller or from the first.
            return false;
        }
        let found = self.hope.stay_awake(|| !self.tasks.is_empty());
        seeker.end();
        if found && self.tasks.len() > 1 {
            // Nobody was rung for those beside the one that this worker takes.
            self.tasks.items().ring();
        }
        found
    }

    /// Sleeps until there may be a task, or another state than `seen`.
    fn wait_for_tasks(&self, seen: Said, sleeper: &mut Sleeper) {
        if self.finds_soon() {
            return;
        }
        let bell = self.tasks.items();
        let armed = bell.arm();
        // SYNC POINT close: our results were pushed before `arm`, which fences; the parent changes the
        // state, then looks for results.
        if self.tasks.is_empty() && self.end_word().get() == seen {
            let _ = bell.sleep(armed, sleeper);
        }
    }

    fn run_chunk(&mut self, ticket: u32, frame: &[u8], attachments: &[Attachment]) -> Then {
        // A frame without a header is a filler: nobody waits for it.
        let Some(header) = Header::from_bytes(frame) else {
            return Then::GoOn;
        };
        if self.board.wants_refill(self.tasks.len()) {
            self.announce();
        }
        if header.job != self.job {
            // A long task of this job must not hide finished results of the last one.
            self.tell_collector();
            self.job = header.job;
        }
        let task = self.resolve(TaskRef::from_words(header.function));
        let mut items = Items::of(&frame[HEADER..], header.count)
            .into_iter()
            .flatten();
        let begun = header.timed.then(Instant::now);
        if header.start > 0 {
            let _answered_before = items.nth(header.start as usize - 1);
        }
        for item in header.start..header.count {
            if !self
                .board
                .claim(self.slot)
                .begin(&mut self.held, ticket, item)
            {
                return Then::Leave;
            }
            self.witness.at(Step::Begun);
            let since = if header.traced { monotonic_nanos() } else { 0 };
            let failure = match (&task, items.next()) {
                (Ok(task), Some(argument)) => self.call(task, argument, attachments),
                (Ok(task), None) => Some(damaged(task)),
                (Err(error), _) => Some(Failure::Function(error.clone())),
            };
            let took = match begun {
                Some(begun) if item + 1 == header.count => begun.elapsed(),
                _ => Duration::ZERO,
            };
            self.witness.at(Step::Called);
            if header.traced {
                self.publish_span(ticket, item, since);
            }
            self.publish(Place { ticket, item, took }, failure, &task);
            self.witness.at(Step::Published);
            self.unannounced += self.reply.bytes.len();
            if self.unannounced > RING_HALF {
                self.announce();
            } else if header.eager {
                self.board.announce_to_collector();
            }
            self.witness.at(Step::Announced);
            if self.end_word().is_over() || self.is_spoiled || self.retirement.is_due(false) {
                // What is left of the chunk goes back to the parent.
                return Then::Leave;
            }
        }
        Then::GoOn
    }

    fn resolve(&mut self, words: TaskRef) -> Result<Task, FunctionError> {
        match &self.function {
            Some((known, task)) if *known == words => task.clone(),
            _ => {
                let task = words.resolve();
                self.function = Some((words, task.clone()));
                task
            }
        }
    }

    /// Step 9: leaves the encoded value in the reply, behind room for its record.
    fn call(
        &mut self,
        task: &Task,
        argument: &[u8],
        attachments: &[Attachment],
    ) -> Option<Failure> {
        self.clear_reply();
        let mut with = (&mut self.state, &mut self.reply, argument, attachments);
        // One reference is all that is captured: six words are moved through memory, and waited for.
        let run = || {
            let (state, reply, argument, attachments) = &mut with;
            task.run_with(state, argument, attachments, reply)
        };
        match guard::catch(AssertUnwindSafe(run)) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::Run(error)),
            Err(report) => Some(Failure::Panicked(report)),
        }
    }

    fn clear_reply(&mut self) {
        if self.reply.bytes.capacity() > KEPT {
            self.reply.bytes = Vec::new();
        }
        self.reply.attachments.clear();
        self.reply.bytes.clear();
        self.reply.bytes.resize(RECORD, 0);
    }

    /// When an item ran, for the timeline: before its outcome, which is then the last of the chunk.
    fn publish_span(&mut self, ticket: u32, item: u32, begun: u64) {
        let took = monotonic_nanos().saturating_sub(begun);
        let record = Record {
            ticket,
            item,
            kind: Kind::Span,
            took: Duration::ZERO,
        };
        let (record, span) = (record.to_bytes(), Span { begun, took }.to_bytes());
        // Without room the timeline lacks a box; the outcome waits, this does not.
        let _ = self.records.push(&[&record, &span], 0);
    }

    /// Step 10.
    fn publish(
        &mut self,
        place: Place,
        failure: Option<Failure>,
        task: &Result<Task, FunctionError>,
    ) {
        let mut kind = Kind::Value;
        if let Some(failure) = failure {
            kind = self.reply_with(&failure);
        }
        self.write_record(place, kind);
        if self.reply.bytes.len() <= INLINE && self.reply.attachments.is_empty() {
            return self.push(None);
        }
        match parcel::store(&self.reply) {
            Ok(stored) => self.push(Some(&stored)),
            Err(error) => {
                let failure = if error.is_invalid() {
                    let name = task.as_ref().map_or("a result", Task::name);
                    Failure::Run(RunError::Encode(EncodeError::new(name, error)))
                } else {
                    // Anything but a lack of memory will not pass: a task has closed our files, say.
                    self.is_spoiled |= !error.is_no_space();
                    Failure::NoSpace(error.to_string())
                };
                let kind = self.reply_with(&failure);
                self.write_record(place, kind);
                self.push(None);
            }
        }
    }

    fn reply_with(&mut self, failure: &Failure) -> Kind {
        let (kind, body) = failure.encode();
        self.clear_reply();
        self.reply.bytes.extend_from_slice(&body);
        kind
    }

    fn write_record(&mut self, place: Place, kind: Kind) {
        let Place { ticket, item, took } = place;
        let record = Record {
            ticket,
            item,
            kind,
            took,
        };
        self.reply.bytes[..RECORD].copy_from_slice(&record.to_bytes());
    }

    /// Pushes the reply, or what holds it, waiting for room as long as it takes.
    fn push(&mut self, stored: Option<&Object>) {
        loop {
            if self.try_push(stored) {
                return;
            }
            let armed = self.results.space().arm();
            if self.try_push(stored) {
                return;
            }
            // After arming: whoever stops collecting now sees that we wait.
            self.announce();
            let mut sleeper = Sleeper::new(Deadline::NEVER);
            let _ = self.results.space().sleep(armed, &mut sleeper);
        }
    }

    fn try_push(&mut self, stored: Option<&Object>) -> bool {
        let pushed = match stored {
            Some(stored) => self.records.push_parcel(stored),
            None => self.records.push(&[&self.reply.bytes], 0),
        };
        debug_assert_ne!(pushed, Err(PushError::TooLong), "larger frames are stored");
        pushed.is_ok()
    }

    /// Step 11, where the parent must do something whether anybody waits or not.
    fn announce(&mut self) {
        self.unannounced = 0;
        self.board.announce();
    }

    /// Step 11, where it matters only to those who wait.
    fn tell_collector(&mut self) {
        if self.unannounced > 0 && self.board.announce_to_collector() {
            self.unannounced = 0;
        }
    }
}

/// The size of a worker's result ring.
pub(crate) const RESULT_RING: usize = 128 << 10;
const RING_HALF: usize = RESULT_RING / 2;

/// The ticket of a push: how many frames had been pushed before it, which is the lower half of a ring
/// position.
pub(crate) fn ticket_of(position: u64) -> u32 {
    position as u32
}

#[cold]
fn damaged(task: &Task) -> Failure {
    let reason = "the chunk ends before its items do";
    Failure::Run(RunError::Decode(DecodeError::new(task.name(), reason)))
}
