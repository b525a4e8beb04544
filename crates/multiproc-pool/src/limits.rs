//! Tasks that take too long, and tasks that are no longer wanted.
//!
//! Owns the ladder: the claim is marked, so that nothing else is begun there; the item is answered;
//! the worker is asked to end, and killed after the grace. No worker looks at a clock for this: the
//! supervisor looks at the claims, four times in the shortest limit, and counts from when it first saw
//! one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_sys::clock::{Deadline, monotonic_nanos};

use crate::error::TaskErrorKind;
use crate::hub::Hub;
use crate::job::Job;
use crate::words::Claim;

/// The claims are looked at no more often, and no less.
const LOOK_EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(1);

/// What the supervisor saw when it last looked: each slot's claim, and since when it is the same.
pub(crate) struct Watched {
    seen: Vec<Option<(Claim, Instant)>>,
}

impl Watched {
    pub(crate) fn new(workers: usize) -> Watched {
        Watched {
            seen: vec![None; workers],
        }
    }
}

/// How often to look where a task may take so long: late by a quarter at most.
fn interval(limit: Duration) -> Duration {
    (limit / 4).clamp(*LOOK_EVERY.start(), *LOOK_EVERY.end())
}

impl Hub {
    /// Stops each task that has run for longer than it may. When to look again.
    pub(crate) fn enforce_limits(&self, watched: &mut Watched) -> Deadline {
        let Some(shortest) = self.book().limit() else {
            return Deadline::NEVER;
        };
        let now = Instant::now();
        let mut next = Deadline::after(interval(shortest));
        for slot in 0..self.workers() {
            let claim = self.board.claim(slot).get();
            let seen = &mut watched.seen[slot];
            *seen = match (claim, *seen) {
                (Some(claim), Some((before, since))) if claim == before => Some((claim, since)),
                (claim, _) => claim.map(|claim| (claim, now)),
            };
            let Some((claim, since)) = *seen else {
                continue;
            };
            let running = self.book().running(claim);
            let Some(limit) = running.and_then(|running| running.timeout) else {
                continue;
            };
            if now.duration_since(since) >= limit {
                self.stop_item(slot, claim, TaskErrorKind::TimedOut);
                *seen = None;
            } else {
                next = next.earlier(Deadline::at(since + limit));
            }
        }
        next
    }

    /// A task that may take so long has been handed in.
    pub(crate) fn has_limit(&self, limit: Duration) {
        let due = monotonic_nanos() + interval(limit).as_nanos() as u64;
        if self.crew.sleeps_past(due) {
            self.board.watch().ring();
        }
    }

    /// Whether the supervisor plans to look later than it must.
    pub(crate) fn looks_too_late(&self) -> bool {
        let limit = self.book().limit();
        limit.is_some_and(|limit| {
            let due = monotonic_nanos() + 2 * interval(limit).as_nanos() as u64;
            self.crew.sleeps_past(due)
        })
    }

    /// Answers the item that runs in a slot under `claim`, unless it ends by itself just now, and sees
    /// to it that it stops. `false`: it has ended.
    fn stop_item(&self, slot: usize, claim: Claim, kind: TaskErrorKind) -> bool {
        self.drain_slot(slot);
        let running = self.book().running(claim);
        if running.is_none() || !self.crew.stop(&self.board, slot, claim) {
            return false;
        }
        // From here on it is certain that nothing else begins there; it may just have ended.
        self.drain_slot(slot);
        let answered = self.book().answer_running(claim, kind);
        self.board.bell().ring();
        self.board.watch().ring();
        answered
    }

    /// Answers what is open of a job: what nobody has begun is dropped, what runs is stopped.
    pub(crate) fn cancel(&self, job: &Arc<Job>) {
        let tickets = self.book().withdraw(job, &self.board);
        for slot in 0..self.workers() {
            while let Some(claim) = self.board.claim(slot).get()
                && tickets.contains(&claim.ticket)
            {
                self.drain_slot(slot);
                if !self.book().is_pushed(claim.ticket) {
                    break;
                }
                // Also one that has begun nothing: it may not have seen that the chunk is withdrawn.
                if self.crew.stop(&self.board, slot, claim) {
                    self.drain_slot(slot);
                    self.book().answer_running(claim, TaskErrorKind::Cancelled);
                    break;
                }
                // It has gone on, to the next item or to another chunk.
            }
        }
        let mut book = self.book();
        tickets.into_iter().for_each(|ticket| book.cancel(ticket));
        drop(book);
        self.board.bell().ring();
        self.board.watch().ring();
    }
}
