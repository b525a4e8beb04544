//! Finding out that a wait would never end, because its end waits for this thread.
//!
//! A thread that is about to wait for a user's lock, without a deadline and with a lock in its
//! hands, publishes an *edge* in its thread slot: the lock it waits for. Then it walks: that lock's
//! holder, the lock the holder waits for, its holder, and so on. If the walk comes back to the thread,
//! and a second walk finds the same, it is a deadlock.
//!
//! **None is missed.** Each thread of a cycle takes its lock first and publishes its edge then; the
//! last to publish finds the others' edges.
//!
//! **None is invented.** Every edge has a number that changes when the wait ends, and while it waits,
//! a thread releases nothing. What two walks one after the other both saw was true at once, between
//! them. A process that died is left out, as its locks are on their way back.
//!
//! | word of the thread slot | meaning | who writes |
//! |---|---|---|
//! | `tid` | the thread, as locks know it | the thread, before `holder` |
//! | `edge` | offset of the lock it waits for; true while `turn` is odd | the thread |
//! | `turn` | +1 when a wait begins, +1 when it ends | the thread |
//!
//! # Killed here: survivors see
//!
//! An edge of a dead member, at any step: it is not followed, and goes with the slot.

use std::cell::RefCell;
use std::sync::atomic::{Ordering, fence};

use multiproc_sys::robust::{self, Word};
use serde::{Deserialize, Serialize};

use crate::arena::{self, Arena};
use crate::family;
use crate::member::{self, MemberId};
use crate::sleep::{self, ThreadSlot};

/// The longest cycle that is found.
const MOST: usize = 64;

/// One wait in a cycle of waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlockLink {
    /// The name of the process that waits.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// The thread of it that waits.
    pub thread: u32,
    /// Which lock it waits for. The next in the cycle holds that one.
    pub lock: u64,
}

thread_local! {
    /// The cycle behind the last [`LockError::Deadlock`](crate::LockError::Deadlock) of this thread:
    /// the error of a hot path stays one byte.
    static FOUND: RefCell<Vec<DeadlockLink>> = const { RefCell::new(Vec::new()) };
}

/// The cycle that this thread's last [`LockError::Deadlock`](crate::LockError::Deadlock) is about;
/// it begins with this thread.
pub fn take_cycle() -> Vec<DeadlockLink> {
    FOUND.take()
}

/// A published edge, taken back when dropped.
pub(crate) struct Edge {
    arena: &'static Arena,
    slot: &'static ThreadSlot,
    lock: u64,
}

impl Edge {
    /// Says that this thread waits for `lock`, unless nobody can be waiting for this thread.
    pub(crate) fn publish(lock: &Word) -> Option<Edge> {
        if robust::held() == 0 {
            return None;
        }
        let arena = arena::existing()?;
        let offset = arena.offset_of(lock)?;
        let slot = sleep::my_slot(arena)?;
        slot.edge.store(offset, Ordering::SeqCst);
        slot.turn.fetch_add(1, Ordering::SeqCst);
        // SYNC POINT deadlock: the last to publish sees the others' edges, and who holds what.
        fence(Ordering::SeqCst);
        let lock = offset;
        Some(Edge { arena, slot, lock })
    }

    /// Whether this wait is part of a cycle; [`take_cycle`] has it then.
    pub(crate) fn closes_a_cycle(&self) -> bool {
        let Some(first) = self.walk() else {
            return false;
        };
        fence(Ordering::SeqCst);
        let same = self.walk().is_some_and(|second| second == first);
        if same {
            FOUND.set(first.iter().map(Step::describe).collect());
        }
        same
    }

    /// From this thread back to it; `None` if the way leads elsewhere.
    fn walk(&self) -> Option<Vec<Step>> {
        let me = member::me().ok()?;
        let turn = self.slot.turn.load(Ordering::SeqCst);
        let mut way = vec![Step {
            member: me,
            tid: robust::tid(),
            turn,
            lock: self.lock,
        }];
        while way.len() <= MOST {
            let (member, tid) = holder(self.arena, way.last()?.lock)?;
            if (member, tid) == (me, way[0].tid) {
                return Some(way);
            }
            way.push(step(self.arena, member, tid)?);
        }
        None
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.slot.turn.fetch_add(1, Ordering::SeqCst);
    }
}

/// A thread, and the wait it was seen in.
#[derive(PartialEq, Eq)]
struct Step {
    member: MemberId,
    tid: u32,
    turn: u64,
    lock: u64,
}

impl Step {
    fn describe(&self) -> DeadlockLink {
        let name = family::name_of(self.member);
        DeadlockLink {
            name: name.unwrap_or_else(|| String::from("a process that has ended")),
            pid: family::pid_of(self.member).unwrap_or(0),
            thread: self.tid,
            lock: self.lock,
        }
    }
}

/// Who holds the lock at `offset`, if it is said.
fn holder(arena: &'static Arena, offset: u64) -> Option<(MemberId, u32)> {
    let inside = offset.checked_add(size_of::<Word>() as u64)? <= arena.len();
    if !inside || !offset.is_multiple_of(align_of::<Word>() as u64) {
        return None;
    }
    // SAFETY: inside and aligned; a published edge names a lock in an object its thread holds, so
    // the page is reserved, and a word is made of atomics. A stale or forged edge leads to other
    // words of the arena, which are valid as any bits and only read here.
    let word: &Word = unsafe { arena.view(offset) };
    let member = MemberId::from_bits(word.owner().load(Ordering::Acquire))?;
    let tid = word.holder();
    (tid != 0).then_some((member, tid))
}

/// The wait of that thread, if it is in one and alive.
fn step(arena: &'static Arena, member: MemberId, tid: u32) -> Option<Step> {
    let slot = sleep::find_slot(arena, member, tid)?;
    let turn = slot.turn.load(Ordering::SeqCst);
    let lock = slot.edge.load(Ordering::SeqCst);
    let stands = turn % 2 == 1 && slot.turn.load(Ordering::SeqCst) == turn;
    (stands && family::is_alive(member)).then_some(Step {
        member,
        tid,
        turn,
        lock,
    })
}
