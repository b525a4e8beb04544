//! Where a thread says what it is inside of: a word for each thread of a model.

use crate::door::{AtomicU64, Ordering};
use crate::family::{self, MemberId};
use crate::mortal;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    pub(crate) token: u64,
    pub(crate) slot: u32,
    pub(crate) inside: &'static AtomicU64,
}

loom::lazy_static! {
    static ref INSIDE: [AtomicU64; 4] = Default::default();
}

pub(crate) fn me() -> Option<Me> {
    let slot = mortal::with(|me| me.tid.get());
    Some(Me {
        token: family::me()?.bits(),
        slot,
        inside: &INSIDE[slot as usize],
    })
}

/// Only compared: any number that comes once.
pub(crate) fn new_ticket() -> u32 {
    use std::sync::atomic::AtomicU32;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1) + 1
}

pub(crate) fn is_outside() -> bool {
    me().is_some_and(|me| me.inside.load(Ordering::Relaxed) == 0)
}

pub(crate) fn is_inside(_token: u64, slot: u32, ticket: u64) -> bool {
    INSIDE[slot as usize].load(Ordering::Acquire) == ticket
}

pub(crate) fn is_alive(token: u64) -> bool {
    MemberId::from_bits(token).is_some_and(family::is_alive)
}
