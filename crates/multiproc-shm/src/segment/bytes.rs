//! Bytes in and out of memory that others use at the same time.
//!
//! Whole words where they are aligned, single bytes at the edges, all of them relaxed atomics: what
//! races with a writer comes out old or new, never undefined.

use std::sync::atomic::Ordering::Relaxed;

use crate::object::Object;

const WORD: usize = 8;

/// Where the first whole word begins, seen from `offset`, if `len` bytes reach so far.
fn before_words(offset: usize, len: usize) -> usize {
    (offset.next_multiple_of(WORD) - offset).min(len)
}

/// Copies from the content of `object`, which has that many bytes from `offset` on.
pub(super) fn copy_out(object: &Object, offset: usize, into: &mut [u8]) {
    let (bytes, words) = (object.bytes(), object.words());
    let (first, rest) = into.split_at_mut(before_words(offset, into.len()));
    let middle = offset + first.len();
    let last = middle + rest.len() / WORD * WORD;
    for (to, from) in first.iter_mut().zip(&bytes[offset..]) {
        *to = from.load(Relaxed);
    }
    let mut chunks = rest.chunks_exact_mut(WORD);
    for (to, from) in chunks.by_ref().zip(&words[middle / WORD..]) {
        to.copy_from_slice(&from.load(Relaxed).to_ne_bytes());
    }
    for (to, from) in chunks.into_remainder().iter_mut().zip(&bytes[last..]) {
        *to = from.load(Relaxed);
    }
}

/// Copies into the content of `object`, which has that many bytes from `offset` on.
pub(super) fn copy_in(object: &Object, offset: usize, from: &[u8]) {
    let (bytes, words) = (object.bytes(), object.words());
    let (first, rest) = from.split_at(before_words(offset, from.len()));
    let middle = offset + first.len();
    let chunks = rest.chunks_exact(WORD);
    let last = middle + rest.len() / WORD * WORD;
    for (from, to) in first.iter().zip(&bytes[offset..]) {
        to.store(*from, Relaxed);
    }
    for (from, to) in chunks.remainder().iter().zip(&bytes[last..]) {
        to.store(*from, Relaxed);
    }
    for (from, to) in chunks.zip(&words[middle / WORD..]) {
        let word = from.try_into().expect("chunks of a word");
        to.store(u64::from_ne_bytes(word), Relaxed);
    }
}

/// A number that says whether bytes are those that were written: damage or a mixture of two writes
/// goes unseen once in 2^64.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    // Each step is reversible, so two inputs that differ in one word never meet.
    let mix = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ hash >> 29
    };
    let mut hash = mix(seed ^ 0x5851_f42d_4c95_7f2d, bytes.len() as u64);
    for chunk in bytes.chunks(WORD) {
        let mut word = [0; WORD];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    mix(hash, seed.rotate_left(32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    #[test]
    fn any_range_comes_back_and_leaves_the_rest() {
        for offset in 0..20 {
            for len in 0..40 {
                let object = Object::create(Kind::Plain, 1, 64, |_| {}).expect("an object");
                let bytes: Vec<u8> = (1..=len).collect();
                copy_in(&object, offset, &bytes);
                let mut all = [0; 64];
                copy_out(&object, 0, &mut all);
                let mut expected = [0; 64];
                expected[offset..][..bytes.len()].copy_from_slice(&bytes);
                assert_eq!(all, expected, "{offset} {len}");
                let mut again = vec![0; bytes.len()];
                copy_out(&object, offset, &mut again);
                assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn a_checksum_sees_each_bit_the_length_and_the_seed() {
        let bytes = [0u8; 20];
        let whole = checksum(3, &bytes);
        for bit in 0..160 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(3, &other), whole, "bit {bit}");
        }
        assert_ne!(checksum(3, &bytes[..19]), whole);
        assert_ne!(checksum(4, &bytes), whole);
    }
}
