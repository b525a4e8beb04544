//! Members: each thread of a model is one, until it stops for ever.

use loom::sync::atomic::AtomicU32;

use crate::door::Ordering;
use crate::mortal::{self, step};

/// In the real one, the slot's generation.
const GENERATION: u64 = 7 << 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberId(u64);

impl MemberId {
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Option<MemberId> {
        (bits >> 32 != 0 && bits as u32 <= 4_095).then_some(MemberId(bits))
    }
}

loom::lazy_static! {
    /// A bit for each that has died.
    static ref DEAD: AtomicU32 = AtomicU32::new(0);
}

pub(crate) fn me() -> Option<MemberId> {
    let tid = mortal::with(|me| me.tid.get());
    Some(MemberId(GENERATION | u64::from(tid)))
}

pub(crate) fn is_alive(member: MemberId) -> bool {
    step() && DEAD.load(Ordering::Acquire) >> (member.bits() as u32) & 1 == 0
}

pub(crate) fn bury(tid: u32) {
    DEAD.fetch_or(1 << tid, Ordering::AcqRel);
}

pub(crate) fn name_of(_member: MemberId) -> Option<String> {
    None
}

pub(crate) fn pid_of(_member: MemberId) -> Option<u32> {
    None
}
