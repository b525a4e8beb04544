//! Who is a member of this family, and how a process becomes one.
//!
//! The order of a start: the parent [`reserve`]s a [`Seat`] and endows it with what the child needs
//! first; the child's process maps the arena ([`adopt`], done once by a fork server for all its
//! children) and takes the seat ([`take_seat`]); then it [`claim`]s what it was endowed with. The
//! order of an end: whoever reaps the child says so ([`member_died`] or [`sweep_now`]).

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use multiproc_sys::liveness;

use crate::alloc::{self, Usage};
use crate::arena::{self, Arena};
use crate::error::{CreateError, OpenError};
use crate::files;
use crate::layout;
use crate::member::{self, Phase};
use crate::object::{self, Handle, Object};
use crate::sweep;

pub use crate::member::MemberId;

/// The arena's descriptor, to be handed to a process that is to [`adopt`] it. Makes the family if
/// this process has none.
///
/// # Errors
///
/// [`CreateError`] if the arena cannot be made.
pub fn arena_fd() -> Result<BorrowedFd<'static>, CreateError> {
    arena::get().map(Arena::fd)
}

/// The descriptor by which a process reaches the family's file exchange, to be handed to one that is
/// to [`adopt`] it.
///
/// # Errors
///
/// [`CreateError`] if the exchange cannot be made.
pub fn exchange_fd() -> Result<BorrowedFd<'static>, CreateError> {
    files::members_end()
}

/// Maps an arena that came from the parent, with the way to the file exchange. The process is no
/// member until [`take_seat`].
///
/// # Errors
///
/// [`OpenError::Incompatible`] if the process has a family already or the arena has another layout;
/// [`OpenError::Os`] if it is not sealed or cannot be mapped.
pub fn adopt(arena: OwnedFd, exchange: OwnedFd) -> Result<(), OpenError> {
    arena::adopt(arena)?;
    files::adopt(exchange)
}

/// This process as a member, if it is one.
#[inline]
pub fn me() -> Option<MemberId> {
    member::me().ok()
}

/// A member's name, while its slot has not been given to another.
pub fn name_of(id: MemberId) -> Option<String> {
    let arena = arena::existing()?;
    let slot = (id.index() < member::used(arena)).then(|| member::slot(arena, id.index()))?;
    let name = slot.name();
    (slot.now(id.index()).0 == id).then_some(name)
}

/// A member's process id, under the same condition as [`name_of`], once it runs.
pub fn pid_of(id: MemberId) -> Option<u32> {
    let arena = arena::existing()?;
    let slot = (id.index() < member::used(arena)).then(|| member::slot(arena, id.index()))?;
    let pid = slot.pid();
    pid.filter(|_| slot.now(id.index()).0 == id)
}

/// The live member one of whose threads has this number.
pub fn member_of_thread(tid: u32) -> Option<MemberId> {
    let arena = arena::existing()?;
    let live = (0..member::used(arena)).filter_map(|index| {
        let (id, phase) = member::slot(arena, index).now(index);
        (phase == Phase::Live).then_some(id)
    });
    let mut live = live.filter_map(|id| Some((id, pid_of(id)?)));
    live.find(|&(_, pid)| liveness::has_thread(pid, tid))
        .map(|(id, _)| id)
}

/// Whether a member still runs. One that was never heard of does not.
///
/// Two loads: its slot, and the life word that the kernel marks at its death.
#[inline]
pub fn is_alive(id: MemberId) -> bool {
    arena::existing().is_some_and(|arena| {
        id.index() < member::used(arena) && {
            let slot = member::slot(arena, id.index());
            slot.now(id.index()) == (id, Phase::Live) && !slot.life.is_suspect()
        }
    })
}

/// What the heap holds now; `None` where there is no arena.
pub fn usage() -> Option<Usage> {
    arena::existing().map(alloc::usage)
}

/// The most bytes that all objects together can have; `None` where there is no arena.
pub fn room() -> Option<u64> {
    arena::existing().map(|arena| arena.len() - layout::heap_at(arena.len()))
}

/// A place reserved for a child that does not run yet.
///
/// Dropped, it is given back together with what it was endowed with; call [`Seat::launched`] once
/// the child may run.
#[derive(Debug)]
pub struct Seat {
    arena: &'static Arena,
    id: MemberId,
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Reserves a seat for a child of this process. Of a longer name, the first 48 bytes are kept.
///
/// # Errors
///
/// [`CreateError::Limit`] if 4,096 members are alive.
pub fn reserve(name: &str) -> Result<Seat, CreateError> {
    let arena = arena::get()?;
    let me = member::me()?;
    files::ensure()?;
    let id = member::occupy(&arena.lock_for_create()?, name, Some(me))?;
    Ok(Seat { arena, id })
}

impl Seat {
    /// The member the child will be.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// Gives the child a reference of its own, before it exists.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn endow(&self, object: &Object) -> Result<(), CreateError> {
        object::endow(object, self.id)
    }

    /// Gives the child, which is to be a copy of this process, a reference of its own to whatever this
    /// process holds, and has `fork` make it before that can change.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; `fork` was not called.
    pub fn endow_all<R>(&self, fork: impl FnOnce() -> R) -> Result<R, CreateError> {
        object::endow_all(self.arena, self.id, fork)
    }

    /// The child's process id, which it writes before anything else.
    pub fn pid(&self) -> Option<u32> {
        pid_of(self.id)
    }

    /// Whether the child has taken the seat and has not been buried.
    pub fn is_live(&self) -> bool {
        member::slot(self.arena, self.id.index()).now(self.id.index()) == (self.id, Phase::Live)
    }

    /// The child may run now: the seat is no longer given back by a drop, but by the reaper.
    pub fn launched(self) -> MemberId {
        let id = self.id;
        std::mem::forget(self);
        id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let slot = member::slot(self.arena, self.id.index());
        if slot.advance(self.id, Phase::Starting, Phase::Dead) {
            sweep::sweep(self.arena, self.id);
        }
    }
}

/// Why a child could not take its seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeatError {
    /// It was given back or buried meanwhile: the parent has given up on this child.
    Gone,
    /// The C library's robust list has an unknown layout.
    Unsupported,
}

impl fmt::Display for SeatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SeatError::Gone => "the parent has given up on this process",
            SeatError::Unsupported => "the C library's robust list has an unknown layout",
        })
    }
}

impl std::error::Error for SeatError {}

/// Makes this process the member `id`. Call it on the thread that lives as long as the process: the
/// kernel reports the member dead when that thread ends.
///
/// # Errors
///
/// [`SeatError`]; the process should end.
pub fn take_seat(id: MemberId) -> Result<(), SeatError> {
    let arena = arena::existing().ok_or(SeatError::Gone)?;
    if id.index() >= member::used(arena) {
        return Err(SeatError::Gone);
    }
    let slot = member::slot(arena, id.index());
    if slot.now(id.index()) != (id, Phase::Starting) {
        return Err(SeatError::Gone);
    }
    // Renews the fork mark if need be, which the life word's list depends on.
    member::become_member(id);
    files::leave_behind(id);
    if !slot.say_pid(id) {
        return Err(SeatError::Gone);
    }
    let held = slot.hold_life(id).map_err(|_| SeatError::Unsupported)?;
    if held && slot.advance(id, Phase::Starting, Phase::Live) {
        Ok(())
    } else {
        Err(SeatError::Gone)
    }
}

/// Has this process look after members whose parent is gone: for one that outlives its own.
pub fn look_after_orphans() {
    if let Some(arena) = arena::existing() {
        sweep::ensure_sweeper(arena);
    }
}

/// Takes over a reference that this member's seat was endowed with.
///
/// # Errors
///
/// [`OpenError::NotFound`] if it was not.
pub fn claim(handle: Handle) -> Result<Object, OpenError> {
    let arena = arena::existing().ok_or(OpenError::NotFound)?;
    object::claim(arena, handle)
}

/// Takes a reference of this process's own to an object that another member keeps alive meanwhile. For
/// handles that came by a channel that keeps no references.
///
/// # Errors
///
/// [`OpenError::NotFound`] if there is no such object in this family.
pub fn open(handle: Handle) -> Result<Object, OpenError> {
    let arena = arena::existing().ok_or(OpenError::NotFound)?;
    object::open(arena, handle)
}

/// A child of this process has been reaped: everybody who sleeps is woken, and another thread gives
/// back what it held. Takes no shared lock.
pub fn member_died(id: MemberId) {
    if let Some(arena) = arena::existing()
        && sweep::bury(arena, id)
    {
        sweep::hand_over(arena, id);
    }
}

/// As [`member_died`], but what it held has been given back when this returns: for a thread that may
/// wait for the arena lock.
pub fn sweep_now(id: MemberId) {
    let Some(arena) = arena::existing() else {
        return;
    };
    if !sweep::bury(arena, id) {
        return;
    }
    sweep::sweep(arena, id);
    let orphaned = (0..member::used(arena)).any(|index| {
        let slot = member::slot(arena, index);
        slot.parent.load(Ordering::Relaxed) == id.bits() && slot.now(index).1 != Phase::Free
    });
    if orphaned {
        // The sweeper finds them by looking; any death makes it look.
        sweep::hand_over(arena, id);
    }
}
