//! Damage to the arena, as a stray pointer of a member would do it.
//!
//! One kind is left out: a lock word that names a thread that could exist. That is what a held lock
//! looks like, and whoever wants it waits.

use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering;

use multiproc_sys::robust::Word;

use super::Chance;
use crate::arena;
use crate::layout::{GRANULE, Header, MEMBERS_AT, THREADS_AT};
use crate::member::{self, Slot};
use crate::object::{Kind, Object};
use crate::sleep::ThreadSlot;

/// How much of an object is worth damaging: its header, and what its kind begins with.
const BEGIN: u64 = 512;

/// Overwrites one word of the arena: of its header, of a member's or thread's slot, or at the beginning of
/// one of `objects`.
///
/// # Panics
///
/// If there is no arena.
pub fn scribble(random: &mut Chance, objects: &[Object]) {
    let arena = arena::existing().expect("an arena");
    let (at, locks) = match random.below(8) {
        0..3 => {
            let at = random.below(size_of::<Header>() as u64);
            (at, is_in_word(at, offset_of!(Header, lock) as u64))
        }
        3 => {
            let slot = random.below(u64::from(member::used(arena)).max(1));
            let at = random.below(size_of::<Slot>() as u64);
            let slot = MEMBERS_AT + slot * size_of::<Slot>() as u64;
            (slot + at, is_in_word(at, offset_of!(Slot, life) as u64))
        }
        4 => (
            THREADS_AT + random.below(4 * size_of::<ThreadSlot>() as u64),
            false,
        ),
        _ if objects.is_empty() => return,
        _ => in_object(
            &objects[random.below(objects.len() as u64) as usize],
            random,
        ),
    };
    let word = arena.word(at & !7);
    word.store(
        damage(random, word.load(Ordering::Relaxed), locks),
        Ordering::Relaxed,
    );
}

/// A place in the object, and whether a lock may lie there.
fn in_object(object: &Object, random: &mut Chance) -> (u64, bool) {
    let offset = object.offset();
    // Its first byte lies there, whatever its header says by now.
    let before = object.payload().addr().get() as u64 % GRANULE;
    let before = if before == 0 { GRANULE } else { before };
    let len = (before + object.len() as u64).min(BEGIN);
    // The header is more often worth it.
    let at = match random.below(2) {
        0 => random.below(before),
        _ => random.below(len),
    };
    let locks = at >= before && matches!(object.kind(), Kind::Ring | Kind::Locked);
    (offset + at, locks)
}

fn is_in_word(at: u64, word: u64) -> bool {
    (word..word + size_of::<Word>() as u64).contains(&(at & !7))
}

fn damage(random: &mut Chance, word: u64, locks: bool) -> u64 {
    // Halves that name no thread there can be, but for the lock's owner bit.
    const NOBODY: [u64; 4] = [0, u32::MAX as u64, 1 << 31, 0x3FFF_0000];
    if locks {
        let half = |random: &mut Chance| NOBODY[random.below(4) as usize];
        return half(random) << 32 | half(random);
    }
    match random.below(5) {
        0 => random.below(u64::MAX),
        1 => random.below(64),
        2 => word ^ 1 << random.below(64),
        3 => word.wrapping_add(random.below(1 << 20)) & !63,
        _ => [0, u64::MAX, i64::MAX as u64, u64::MAX - 7][random.below(4) as usize],
    }
}
