//! The pool's own shared words, in one plain object: the *board*.
//!
//! | half word | values | written by | read by |
//! |---|---|---|---|
//! | `bell` | where the collecting thread sleeps: see [`Alarm`] | it, and whoever rings | workers, threads of the parent |
//! | `watch` | the same for the supervisor | likewise | likewise |
//! | `unattended` | 1: nobody has the turn, so the supervisor must hear of results | the parent, under the turn's lock | workers |
//! | `refill` | n: ring when fewer than n frames are in the task ring | the parent sets, a worker clears | workers |
//!
//! and for each slot, 64 bytes apart:
//!
//! | word | values | written by | read by |
//! |---|---|---|---|
//! | `claim` | 0: none; else [`Claim`] | the worker: whole under the head lock, its low bits before each call. The head lock's next owner after a death, and the supervisor once the worker is dead: to 0 | supervisor, head lock's owner after a death |
//! | `ready` | 1: the worker has reached its loop | the worker; the parent zeroes it before a start | supervisor |
//!
//! Nobody else reads the bits. Which order of steps makes them true is in [`protocol`](crate::protocol).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use multiproc_shm::{CreateError, Kind, Object, OpenError, Sleeper};
use multiproc_sys::futex::{self, Woken};

/// `b"pool"`
const TAG: u32 = u32::from_le_bytes(*b"pool");

const BELL: usize = 0;
const WATCH: usize = 1;
const UNATTENDED: usize = 2;
const REFILL: usize = 3;

/// Words before the first slot, and words of one slot.
const STRIDE: usize = 8;
const CLAIM: usize = 0;
const READY: usize = 1;

/// The shared words of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    object: Object,
    slots: usize,
}

/// What a worker has taken, and how far it came.
///
/// `1 << 63 | ticket << 16 | items begun`: one word, so that it is never half changed. `items begun`
/// counts from the first item of the chunk's body; 0 when none was begun in this push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) ticket: u32,
    pub(crate) begun: u32,
}

impl Claim {
    const TAKEN: u64 = 1 << 63;

    fn to_word(self) -> u64 {
        Claim::TAKEN | u64::from(self.ticket) << 16 | u64::from(self.begun)
    }

    fn from_word(word: u64) -> Option<Claim> {
        (word & Claim::TAKEN != 0).then_some(Claim {
            ticket: (word >> 16) as u32,
            begun: word as u16 as u32,
        })
    }
}

impl Board {
    pub(crate) fn create(slots: usize) -> Result<Board, CreateError> {
        let object = Object::create(Kind::Plain, TAG, (slots + 1) * STRIDE * 8, |_| ())?;
        Ok(Board { object, slots })
    }

    pub(crate) fn open(object: Object) -> Result<Board, OpenError> {
        let object = object.expect_tag(TAG, "a pool's board")?;
        let slots = (object.len() / (STRIDE * 8)).saturating_sub(1);
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

    /// Stores a claim on the frame at the head. Under the head lock, before the head moves.
    pub(crate) fn claim(&self, slot: usize, ticket: u32) {
        let claim = Claim { ticket, begun: 0 };
        // Whoever sees the head moved must see the claim: that store releases.
        self.slot(slot, CLAIM)
            .store(claim.to_word(), Ordering::Relaxed);
    }

    /// Says that item `item` of the claimed chunk is about to run.
    pub(crate) fn begin(&self, slot: usize, ticket: u32, item: u32) {
        let claim = Claim {
            ticket,
            begun: item + 1,
        };
        self.slot(slot, CLAIM)
            .store(claim.to_word(), Ordering::Release);
    }

    /// Takes back a claim whose frame was not taken.
    pub(crate) fn unclaim(&self, slot: usize) {
        self.slot(slot, CLAIM).store(0, Ordering::Release);
    }

    /// After a death under the head lock: a claim on the frame at the head was stored, but the head
    /// was not moved, so the chunk is still everybody's. Under the head lock.
    pub(crate) fn repair(&self, head: u32) {
        for slot in 0..self.slots {
            let word = self.slot(slot, CLAIM);
            if Claim::from_word(word.load(Ordering::Acquire)).is_some_and(|it| it.ticket == head) {
                word.store(0, Ordering::Release);
            }
        }
    }

    /// What a dead worker had taken; nobody has it after this. Under the head lock, repaired.
    pub(crate) fn take_claim(&self, slot: usize) -> Option<Claim> {
        Claim::from_word(self.slot(slot, CLAIM).swap(0, Ordering::AcqRel))
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
        &self.object.words()[(slot + 1) * STRIDE + word]
    }
}

/// A place where one thread sleeps until rung.
///
/// | state | meaning | leaves to |
/// |---|---|---|
/// | 0 | awake, and not rung since it last looked | `ASLEEP` by [`Alarm::arm`], `RUNG` by a ringer |
/// | `ASLEEP` | asleep, or about to | `RUNG` by a ringer, who wakes it; 0 by its own waking up |
/// | `RUNG` | rung since it last looked | 0 by [`Alarm::arm`], which then refuses |
///
/// Sleeper: look at everything, [`Alarm::arm`], [`Alarm::sleep`]. Ringer: change something, then
/// [`Alarm::ring`]. A ring while the sleeper looks is not lost: arming is refused. A ringer killed
/// between its store and the wake leaves a sleeper whom that death wakes.
#[derive(Clone, Copy)]
pub(crate) struct Alarm<'a>(&'a AtomicU32);

const ASLEEP: u32 = 1;
const RUNG: u32 = 2;

impl Alarm<'_> {
    /// About to sleep. `false`: it was rung; look again instead.
    #[must_use = "whoever was rung must look again"]
    pub(crate) fn arm(self) -> bool {
        // SYNC POINT bell: whoever rings after this sees `ASLEEP`, whoever rang before left `RUNG`.
        let armed = self
            .0
            .compare_exchange(0, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        if armed.is_err() {
            self.disarm();
        }
        armed.is_ok()
    }

    /// Awake, and about to look at everything.
    pub(crate) fn disarm(self) {
        self.0.swap(0, Ordering::SeqCst);
    }

    /// Sleeps until rung after [`Alarm::arm`]. Returns early, too.
    pub(crate) fn sleep(self, sleeper: &mut Sleeper) -> Woken {
        let woken = sleeper.on(self.0, ASLEEP);
        self.disarm();
        woken
    }

    /// Wakes the sleeper, or has it look again before it sleeps.
    pub(crate) fn ring(self) {
        // SYNC POINT bell
        fence(Ordering::SeqCst);
        self.ring_after_fence();
    }

    /// Whether there was a sleeper.
    fn ring_after_fence(self) -> bool {
        if self.0.load(Ordering::Relaxed) == RUNG {
            return false;
        }
        let slept = self.0.swap(RUNG, Ordering::SeqCst) == ASLEEP;
        if slept {
            futex::wake(self.0, 1);
        }
        slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_taken_back_once() {
        let board = Board::create(2).unwrap();
        assert_eq!(board.take_claim(1), None);
        board.claim(1, 0);
        assert_eq!(
            board.take_claim(1),
            Some(Claim {
                ticket: 0,
                begun: 0
            })
        );
        assert_eq!(board.take_claim(1), None);
        board.claim(1, u32::MAX);
        board.begin(1, u32::MAX, 65_534);
        assert_eq!(
            board.take_claim(1),
            Some(Claim {
                ticket: u32::MAX,
                begun: 65_535
            })
        );
        assert_eq!(board.take_claim(0), None);
    }

    #[test]
    fn repair_clears_only_the_claim_at_the_head() {
        let board = Board::create(3).unwrap();
        board.claim(0, 4);
        board.claim(2, 5);
        board.repair(5);
        assert_eq!(
            board.take_claim(0),
            Some(Claim {
                ticket: 4,
                begun: 0
            })
        );
        assert_eq!(board.take_claim(2), None);
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
        let woken = bell.sleep(&mut Sleeper::new(multiproc_sys::clock::Deadline::NEVER));
        assert_eq!(woken, Woken::Changed);
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
