//! The pool's own shared words, in one plain object: the *board*.
//!
//! | half word | values | written by | read by |
//! |---|---|---|---|
//! | `bell` | where the collecting thread sleeps: see [`Alarm`] | it, and whoever rings | workers, threads of the parent |
//! | `watch` | the same for the supervisor | likewise | likewise |
//! | `unattended` | 1: nobody has the turn, so the supervisor must hear of results | the parent, under the turn's lock | workers |
//! | `refill` | n: ring when fewer than n frames are in the task ring | the parent sets, a worker clears | workers |
//! | `seeker` | which worker is awake and looks for a task: see [`SeekWord`] | that worker, whoever buries it | the parent |
//!
//! then the *withdrawn* tickets, a bit `ticket % 16384` for each ([`Withdrawn`]), and for each slot,
//! 64 bytes apart, its claim ([`ClaimWord`]) and
//!
//! | word | values | written by | read by |
//! |---|---|---|---|
//! | `ready` | 1: the worker has reached its loop | the worker; the parent zeroes it before a start | supervisor |
//!
//! A worker that finds `STOP` begins nothing more: it leaves. So whoever has set it on an item knows
//! that no other item will be begun there, and may send a signal without hitting an innocent one.
//!
//! Nobody else reads the bits. Which order of steps makes them true is in [`protocol`](crate::protocol).

mod alarm;
mod claim;
mod seek;
mod state;

use multiproc_shm::{CreateError, Kind, Object, OpenError};

use crate::door::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use alarm::Alarm;
pub(crate) use claim::{Claim, ClaimWord, Held, Withdrawn};
pub(crate) use seek::SeekWord;
pub(crate) use state::{EndWord, Said};

/// `b"pool"`
const TAG: u32 = u32::from_le_bytes(*b"pool");

const BELL: usize = 0;
const WATCH: usize = 1;
const UNATTENDED: usize = 2;
const REFILL: usize = 3;
const SEEKER: usize = 4;

/// More tickets than there can be frames in the task ring.
const WITHDRAWN: usize = 1 << 14;

/// Words before the withdrawn tickets, and words of one slot.
const STRIDE: usize = 8;
/// Words before the first slot.
const FIRST: usize = STRIDE + WITHDRAWN / 64;
const CLAIM: usize = 0;
const READY: usize = 1;

/// The shared words of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    object: Object,
    slots: usize,
}

impl Board {
    pub(crate) fn create(slots: usize) -> Result<Board, CreateError> {
        let object = Object::create(Kind::Plain, TAG, (FIRST + slots * STRIDE) * 8, |_| ())?;
        Ok(Board { object, slots })
    }

    pub(crate) fn open(object: Object) -> Result<Board, OpenError> {
        let object = object.expect_tag(TAG, "a pool's board")?;
        let slots = (object.len() / 8).saturating_sub(FIRST) / STRIDE;
        Ok(Board { object, slots })
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// Where the collecting thread sleeps.
    pub(crate) fn bell(&self) -> Alarm<'_> {
        Alarm(self.half(BELL))
    }

    /// Where the supervisor sleeps.
    pub(crate) fn watch(&self) -> Alarm<'_> {
        Alarm(self.half(WATCH))
    }

    /// Says whether the supervisor must hear of results. Followed by a fence: whoever leaves results
    /// to the supervisor looks at the rings once more.
    pub(crate) fn set_unattended(&self, unattended: bool) {
        self.half(UNATTENDED)
            .store(u32::from(unattended), Ordering::Relaxed);
        // SYNC POINT turn: the worker pushes, fences, then reads this.
        fence(Ordering::SeqCst);
    }

    /// After a push: wakes the collecting thread if it sleeps. `false`: nobody collects, which matters
    /// only where room or tasks run out.
    pub(crate) fn announce_to_collector(&self) -> bool {
        // SYNC POINT bell, SYNC POINT turn
        fence(Ordering::SeqCst);
        self.bell().ring_after_fence() || self.half(UNATTENDED).load(Ordering::Relaxed) == 0
    }

    /// After a push: wakes the collecting thread if it sleeps, or the supervisor if nobody collects.
    pub(crate) fn announce(&self) {
        if !self.announce_to_collector() {
            self.watch().ring_after_fence();
        }
    }

    /// Asks for a bell when fewer than `frames` frames are in the task ring.
    pub(crate) fn ask_refill(&self, frames: usize) {
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.half(REFILL).store(frames, Ordering::Relaxed);
        // SYNC POINT refill
        fence(Ordering::SeqCst);
    }

    /// Whether the parent asked for a bell at `frames` frames. Says so once.
    pub(crate) fn wants_refill(&self, frames: usize) -> bool {
        // SYNC POINT refill: the parent stores its wish, fences, and looks at the ring.
        fence(Ordering::SeqCst);
        let refill = self.half(REFILL);
        frames < refill.load(Ordering::Relaxed) as usize && refill.swap(0, Ordering::Relaxed) != 0
    }

    /// Who is awake and looks for a task.
    pub(crate) fn seeker(&self) -> SeekWord<'_> {
        SeekWord(self.half(SEEKER))
    }

    /// What the worker of a slot has taken.
    #[inline]
    pub(crate) fn claim(&self, slot: usize) -> ClaimWord<'_> {
        ClaimWord(self.slot(slot, CLAIM))
    }

    /// Whether nobody is to begin this ticket.
    pub(crate) fn withdrawn(&self, ticket: u32) -> Withdrawn<'_> {
        let index = ticket as usize % WITHDRAWN;
        Withdrawn(&self.object.words()[STRIDE + index / 64], 1 << (index % 64))
    }

    /// After a death under the head lock: nobody has the frame at the head. Under the head lock.
    pub(crate) fn repair(&self, head: u32) {
        (0..self.slots).for_each(|slot| self.claim(slot).repair(head));
    }

    pub(crate) fn set_ready(&self, slot: usize, ready: bool) {
        self.slot(slot, READY)
            .store(u64::from(ready), Ordering::Release);
    }

    pub(crate) fn is_ready(&self, slot: usize) -> bool {
        self.slot(slot, READY).load(Ordering::Acquire) != 0
    }

    fn half(&self, index: usize) -> &AtomicU32 {
        &self.object.half_words()[index]
    }

    fn slot(&self, slot: usize, word: usize) -> &AtomicU64 {
        &self.object.words()[FIRST + slot * STRIDE + word]
    }
}

#[cfg(test)]
mod tests {
    use super::alarm::RUNG;
    use super::*;
    use multiproc_shm::Sleeper;

    fn claim(ticket: u32, begun: u32) -> Claim {
        Claim { ticket, begun }
    }

    #[test]
    fn a_claim_is_taken_back_once() {
        let (board, mut held) = (Board::create(2).unwrap(), Held::default());
        assert_eq!(board.claim(1).take(), None);
        assert!(board.claim(1).claim(&mut held, 0));
        assert_eq!(board.claim(1).take(), Some(claim(0, 0)));
        assert_eq!(board.claim(1).take(), None);
        let mut held = Held::default();
        assert!(board.claim(1).claim(&mut held, u32::MAX));
        assert!(board.claim(1).begin(&mut held, u32::MAX, 65_534));
        assert_eq!(board.claim(1).take(), Some(claim(u32::MAX, 65_535)));
        assert_eq!(board.claim(0).take(), None);
    }

    #[test]
    fn repair_clears_only_the_claim_at_the_head() {
        let board = Board::create(3).unwrap();
        assert!(board.claim(0).claim(&mut Held::default(), 4));
        assert!(board.claim(2).claim(&mut Held::default(), 5));
        board.repair(5);
        assert_eq!(board.claim(0).take(), Some(claim(4, 0)));
        assert_eq!(board.claim(2).take(), None);
    }

    #[test]
    fn who_is_stopped_begins_nothing_more() {
        let (board, mut held) = (Board::create(1).unwrap(), Held::default());
        assert!(board.claim(0).claim(&mut held, 7));
        assert!(board.claim(0).begin(&mut held, 7, 0));
        assert!(!board.claim(0).stop(claim(7, 0)), "it has gone on");
        assert!(board.claim(0).stop(claim(7, 1)));
        assert!(!board.claim(0).begin(&mut held, 7, 1));
        assert!(!board.claim(0).claim(&mut held, 8));
        assert_eq!(board.claim(0).take(), Some(claim(7, 1)));
    }

    #[test]
    fn a_withdrawn_ticket_is_renewed_by_the_next_with_its_bit() {
        let board = Board::create(1).unwrap();
        board.withdrawn(5).set();
        assert!(board.withdrawn(5).is_set() && !board.withdrawn(6).is_set());
        board.withdrawn(5 + WITHDRAWN as u32).renew();
        assert!(!board.withdrawn(5).is_set());
    }

    #[test]
    fn a_refill_is_asked_for_once() {
        let board = Board::create(1).unwrap();
        assert!(!board.wants_refill(0));
        board.ask_refill(10);
        assert!(!board.wants_refill(10));
        assert!(board.wants_refill(9));
        assert!(!board.wants_refill(0));
    }

    #[test]
    fn a_rung_alarm_does_not_sleep() {
        let board = Board::create(1).unwrap();
        let bell = board.bell();
        assert!(bell.arm());
        assert!(board.announce_to_collector(), "somebody was there");
        let mut sleeper = Sleeper::new(multiproc_sys::clock::Deadline::NEVER);
        assert!(bell.sleep(&mut sleeper), "it was rung before");
        bell.ring();
        assert!(!bell.arm(), "it was rung while it looked");
        assert!(bell.arm(), "and has looked again");
    }

    #[test]
    fn the_supervisor_hears_of_results_only_when_nobody_collects() {
        let board = Board::create(1).unwrap();
        let rung = || board.half(WATCH).load(Ordering::Relaxed) == RUNG;
        assert!(board.watch().arm());
        board.announce();
        assert!(!rung(), "somebody collects");
        board.set_unattended(true);
        assert!(!board.announce_to_collector());
        assert!(!rung(), "that can wait");
        board.announce();
        assert!(rung());
    }
}
