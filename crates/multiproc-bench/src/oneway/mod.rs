//! `oneway`: messages per second from producers to consumers.
//!
//! Ours runs between processes, the rival (crossbeam's bounded channel) between threads of one.
//! All move a `Vec<u8>` that the producer writes in full and the consumer reads in full, through
//! a buffer of as many messages.
//!
//! | impl | |
//! |---|---|
//! | `ours` | a queue |
//! | `ours-batch` | a queue, 32 messages in a call |
//! | `ours-thread` | a queue between threads of one process |
//! | `ours-alone`, `crossbeam-alone` | one thread puts 32 and gets them, in turn: nothing moves between processors |
//! | `ours-pipe` | a pipe |
//! | `ours-view` | a pipe that reads the bytes where the producer has them, and writes them where the consumer wants them |
//! | `ring` | the limit: memory and two counters, and who has to wait looks without end |
//! | `memcpy` | the limit for large ones: a copy in, nothing else |
//! | `clone` | the same where each message is made anew, and its copy too |

mod pipes;
mod queues;
mod ring;
mod rivals;

use std::hint::black_box;
use std::time::Duration;

use crate::args::Args;
use crate::{Outcome, measure};

/// Messages in a batch.
const BATCH: u64 = 32;

/// How many messages in which time.
type Rate = (u64, Duration);

pub(crate) fn run(args: &Args) -> Outcome {
    let setup = Setup {
        size: args.size("size", 64),
        producers: args.size("producers", 1),
        consumers: args.size("consumers", 1),
        cpus: args.placement(),
        target: Duration::from_millis(args.number("ms", 400)),
    };
    let (messages, time) = match args.imp.as_str() {
        "ours" => queues::between_processes(&setup, queues::SINGLES)?,
        "ours-batch" => queues::between_processes(&setup, queues::BATCHES)?,
        "ours-thread" => queues::between_threads(&setup)?,
        "crossbeam" => rivals::crossbeam(&setup),
        other if setup.producers > 1 || setup.consumers > 1 => {
            args.unsupported(&format!("{other} is measured one to one"))
        }
        "ours-alone" => queues::alone(&setup)?,
        "ours-pipe" => pipes::values(&setup)?,
        "ours-view" => pipes::views(&setup)?,
        "crossbeam-alone" => rivals::crossbeam_alone(&setup),
        "ipc-channel" => rivals::ipc_channel(&setup)?,
        "socketpair" => rivals::socketpair(&setup)?,
        "ring" if setup.size > ring::MOST => args.unsupported("small messages"),
        "ring" => ring::spinning(&setup)?,
        "memcpy" => rivals::memcpy(&setup),
        "clone" => rivals::clone(&setup),
        _ => args.unsupported("no such implementation"),
    };
    let rate = messages as f64 / time.as_secs_f64();
    args.emit("msgs_per_s", rate, "1/s");
    args.emit(
        "mib_per_s",
        rate * setup.size as f64 / f64::from(1 << 20),
        "MiB/s",
    );
    Ok(())
}

struct Setup {
    size: usize,
    producers: usize,
    consumers: usize,
    /// Where producers run, and where consumers.
    cpus: [Option<usize>; 2],
    /// What the batch that counts takes, about.
    target: Duration,
}

impl Setup {
    /// Messages under way at most.
    fn depth(&self) -> usize {
        match self.size {
            0..=0x10_0000 => 1024,
            _ => 4,
        }
    }

    /// Runs batches of messages, larger and larger, until one takes the time it should.
    fn calibrated(&self, batch: &mut dyn FnMut(u64) -> Duration) -> Rate {
        let first = match self.size {
            0..=0x4000 => 128,
            0x4001..=0x10_0000 => 8,
            _ => 1,
        };
        measure::calibrated(self.target, first, batch)
    }

    /// A batch of `n` is this many messages in all: every producer has an equal share, and every
    /// consumer too.
    fn total(&self, (n, time): Rate) -> Rate {
        (n * self.producers as u64 * self.consumers as u64, time)
    }
}

/// A message as a producer writes it.
fn written(size: usize, count: u64) -> Vec<u8> {
    vec![black_box(count as u8); size]
}

/// A message as a consumer reads it: every byte.
fn read(message: &[u8]) -> u64 {
    let (words, rest) = message.as_chunks::<8>();
    let words = words
        .iter()
        .fold(0, |sum, word| sum ^ u64::from_ne_bytes(*word));
    rest.iter().fold(words, |sum, &byte| sum ^ u64::from(byte))
}
