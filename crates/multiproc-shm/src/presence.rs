//! Where a thread says which lock that it has to itself it is inside of: see `alone.rs`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::arena;
use crate::family;
use crate::member::MemberId;
use crate::sleep;

/// What a thread needs to have a lock to itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    /// The thread: its member, and a number that no other thread of that member ever has.
    pub(crate) token: u64,
    /// Its slot among the family's threads ..
    pub(crate) slot: u32,
    /// .. and the word of that slot.
    pub(crate) inside: &'static AtomicU64,
}

/// The most threads of one process that get a number.
const MOST: u32 = (1 << 20) - 1;

/// This thread; `None` where there is no slot for it, or no number.
#[inline]
pub(crate) fn me() -> Option<Me> {
    sleep::presence()
}

/// A number for a thread of `member`, if there are some left.
pub(crate) fn new_token(member: MemberId) -> Option<u64> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let next = |number: u32| (number < MOST).then_some(number + 1);
    let number = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    number.ok().map(|number| member.with_thing(number))
}

/// A number for a lock that a thread of this process has to itself. Never 0.
pub(crate) fn new_ticket() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1) + 1
}

/// Whether this thread is inside of none.
pub(crate) fn is_outside() -> bool {
    me().is_some_and(|me| me.inside.load(Ordering::Relaxed) == 0)
}

/// Whether the thread behind a token, which has or had that slot, is inside of the lock with that ticket.
pub(crate) fn is_inside(token: u64, slot: u32, ticket: u64) -> bool {
    let member = MemberId::of_thing(token);
    let arena = arena::existing();
    arena.is_some_and(|arena| sleep::inside_of(arena, slot, member) == ticket)
}

/// Whether the process of the thread behind a token lives. A thread leaves before it ends.
pub(crate) fn is_alive(token: u64) -> bool {
    MemberId::of_thing(token).is_some_and(family::is_alive)
}
