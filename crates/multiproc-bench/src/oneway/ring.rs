//! The limit for small messages: memory that two processes share, and two counters. Who has to wait
//! looks until it can go on; whoever dies leaves the other there.

use std::error::Error;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Rate, Setup, rivals};
use crate::raw;

/// Bytes in a message at most.
pub(super) const MOST: usize = 4096;

/// Words in the ring.
const ROOM: usize = 1 << 15;

/// Where the counters are, each in a pair of cache lines of its own, and the ring behind them.
const HEAD: usize = 0;
const TAIL: usize = 16;
const START: usize = 32;

/// How often one looks before another gets the processor.
const LOOKS: u32 = 2_000;

/// Words are as good as bytes: a message is written and read in full.
pub(super) fn spinning(setup: &Setup) -> Result<Rate, Box<dyn Error>> {
    let words = raw::shared_long_words(START + ROOM)?;
    let len = setup.size.div_ceil(8).max(1);
    // What one knows of the other's counter, and one's own.
    let (mut head, mut seen_tail) = (0, 0);
    let (mut tail, mut seen_head) = (0, 0);
    let send = |n: u64| {
        until(&mut seen_tail, &words[TAIL], |tail| {
            head + len - tail <= ROOM
        });
        for word in 0..len {
            place(words, head + word).store(black_box(n), Ordering::Relaxed);
        }
        head += len;
        words[HEAD].store(head as u64, Ordering::Release);
    };
    let receive = || {
        until(&mut seen_head, &words[HEAD], |head| head - tail >= len);
        let words_of = (0..len).map(|word| place(words, tail + word).load(Ordering::Relaxed));
        let sum = words_of.fold(0, |sum, word| sum ^ word);
        tail += len;
        words[TAIL].store(tail as u64, Ordering::Release);
        sum
    };
    rivals::between(setup, send, receive)
}

fn place(words: &[AtomicU64], at: usize) -> &AtomicU64 {
    &words[START + at % ROOM]
}

/// Looks at the other's counter until it is as wanted, if what was seen of it before is not.
fn until(seen: &mut usize, counter: &AtomicU64, wanted: impl Fn(usize) -> bool) {
    let mut looks = 0;
    while !wanted(*seen) {
        *seen = counter.load(Ordering::Acquire) as usize;
        looks += 1;
        match looks % LOOKS {
            0 => thread::yield_now(),
            _ => spin_loop(),
        }
    }
}
