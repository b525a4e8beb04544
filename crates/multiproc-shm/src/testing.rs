//! For the tests of this crate and those above: raw forks that are members, an audit, and
//! [`instructions`], which kills such members at every instruction of what they do.

mod chaos;
mod counters;
pub mod instructions;
mod scribble;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::testing as raw;

use crate::alloc;
use crate::arena::{self, Arena, Locked};
use crate::family;
use crate::layout::heap_at;
use crate::ledger;
use crate::member::{self, MemberId, Phase};
use crate::object::{self, Handle, Kind};
use crate::{parcel, ring, sweep};

pub use chaos::{Chance, alone, kills};
pub use counters::{Counters, LIMIT, until};
pub use scribble::scribble;

/// A forked member. Not reaped by a drop.
#[derive(Debug)]
pub struct Forked {
    /// Its process id.
    pub pid: u32,
    /// The member it is.
    pub id: MemberId,
}

/// Forks a member that inherits this process's references, runs `child` and ends with 0, or with 101
/// if it panics.
///
/// The test harness has threads, so `child` should keep to shared memory and not print.
///
/// # Panics
///
/// If there is no seat or no process to be had.
pub fn fork(child: impl FnOnce()) -> Forked {
    fork_unseated(|id| {
        family::take_seat(id).expect("the seat is ours");
        child();
    })
}

/// As [`fork`], but `child` is to take the seat itself.
///
/// # Panics
///
/// As [`fork`].
pub fn fork_unseated(child: impl FnOnce(MemberId)) -> Forked {
    let seat = family::reserve("forked").expect("a seat");
    let arena = arena::get().expect("an arena");
    let id = seat.id();
    let forked = object::endow_all(arena, id, raw::fork).expect("the child's references");
    match forked.expect("fork") {
        0 => {
            let run = std::panic::AssertUnwindSafe(|| child(id));
            let code = if std::panic::catch_unwind(run).is_ok() {
                0
            } else {
                101
            };
            raw::exit_now(code)
        }
        pid => {
            seat.launched();
            Forked { pid, id }
        }
    }
}

impl Forked {
    /// Waits for its end and sweeps; true if it ended with code 0.
    ///
    /// # Panics
    ///
    /// If somebody else has reaped it.
    pub fn join(self) -> bool {
        let ended_well = raw::wait(self.pid).expect("our child");
        family::sweep_now(self.id);
        ended_well
    }

    /// Kills it, waits for its end and sweeps.
    ///
    /// # Panics
    ///
    /// As [`Forked::join`].
    pub fn kill(self) {
        raw::kill(self.pid).expect("our child, not reaped");
        self.join();
    }
}

/// Hides the free objects of the size for `len` bytes, and with `chunk` what is carved of it, so that
/// the next create has to carve, or to take a chunk. They are never used again.
///
/// # Panics
///
/// If there is no arena, or no such size.
pub fn hide_free(len: usize, chunk: bool) {
    let arena = arena::get().expect("an arena");
    let locked = arena.lock_for_create().expect("the arena lock");
    alloc::hide_free(&locked, len as u64, chunk);
}

/// Makes a member say another process id, as if the kernel had given its own to that process.
///
/// # Panics
///
/// If there is no arena.
pub fn forge_pid(id: MemberId, pid: u32) {
    let arena = arena::get().expect("an arena");
    member::slot(arena, id.index()).forge_pid(id, pid);
}

/// Waits until this process is the only member left; false if that takes longer than `limit`.
pub fn settle(limit: Duration) -> bool {
    sweep::settle(Deadline::after(limit))
}

/// Whether nothing in the arena contradicts itself; the text says what does.
///
/// # Errors
///
/// What was found.
pub fn audit() -> Result<(), String> {
    match arena::existing() {
        Some(arena) => alloc::audit(arena),
        None => Ok(()),
    }
}

/// Counts, for each object, its ledger bits and the references stored in containers, and compares
/// with its header; then compares what they take with `used`.
pub(crate) fn audit_locked(locked: &Locked<'_>) -> Result<(), String> {
    let arena = locked.arena();
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for index in 0..member::used(arena) {
        let (id, phase) = member::slot(arena, index).now(index);
        let mut from = heap_at(arena.len());
        while let Some(object) = ledger::first_held(arena, id, from) {
            if phase == Phase::Free {
                return Err(format!("free slot {index} holds {object:#x}"));
            }
            *counts.entry(object).or_default() += 1;
            from = object + crate::layout::GRANULE;
        }
    }
    let mut to_look: Vec<u64> = counts.keys().copied().collect();
    while let Some(object) = to_look.pop() {
        for child in owned(arena, object)
            .into_iter()
            .filter_map(|handle| handle.valid_in(arena))
        {
            let count = counts.entry(child).or_default();
            if *count == 0 {
                to_look.push(child);
            }
            *count += 1;
        }
    }
    let mut used = 0;
    for (&object, &count) in &counts {
        let head = alloc::head(arena, object);
        if head.status != alloc::LIVE || head.count != count {
            return Err(format!(
                "{object:#x} has {count} references and says {head:?}"
            ));
        }
        used += head.size();
    }
    let said = locked.header().used.load(Ordering::Relaxed);
    let dying = locked.header().dying.load(Ordering::Relaxed);
    if used != said || dying != 0 {
        return Err(format!(
            "objects take {used} bytes, used says {said}, dying {dying:#x}"
        ));
    }
    check_free_lists(arena)
}

fn owned(arena: &'static Arena, object: u64) -> Vec<Handle> {
    let head = alloc::head(arena, object);
    let payload = object + head.before_payload();
    match Kind::from_bits(head.kind) {
        Kind::Plain | Kind::Locked => Vec::new(),
        Kind::Parcel | Kind::End => parcel::owned(arena, payload),
        Kind::Ring => ring::owned(arena, payload, head.size() - head.before_payload()),
    }
}

fn check_free_lists(arena: &'static Arena) -> Result<(), String> {
    for class in 0..alloc::CLASSES - 1 {
        let most = 1 << 24;
        for (length, object) in alloc::free_list(arena, class).enumerate() {
            let head = alloc::head(arena, object);
            if length > most || head.status != alloc::FREE || head.class != class {
                return Err(format!("free list {class}: {object:#x} says {head:?}"));
            }
        }
    }
    Ok(())
}
