//! `lock`, `semaphore`, `value`, `create`: short things that one thread does alone.
//!
//! `lock`: acquire and release. `semaphore`: the same with a permit. `value`: add one. `create`: make a
//! lock and drop it; the rival makes, maps and drops a memory file, as locks of their own would need.

use std::hint::black_box;

use multiproc::{Lock, Semaphore, Value};

use crate::args::Args;
use crate::{Outcome, measure, raw};

pub(crate) fn run(args: &Args) -> Outcome {
    match (args.bench.as_str(), args.imp.as_str()) {
        ("lock", "ours") | ("semaphore" | "value", "lock") => {
            let lock = Lock::new()?;
            measure::tight(args, || drop(lock.acquire().expect("nobody else has it")));
        }
        ("lock", "parking_lot") => {
            let lock = parking_lot::Mutex::new(());
            measure::tight(args, || drop(black_box(&lock).lock()));
        }
        ("semaphore", "ours") => {
            let seats = Semaphore::new(1)?;
            measure::tight(args, || drop(seats.acquire().expect("nobody else has it")));
        }
        ("value", "ours") => {
            let value = Value::new(0u64)?;
            measure::tight(args, || value.update(|number| *number += 1));
        }
        ("create", "ours") => {
            // The arena stays as long as there is somebody in it.
            let _first = Lock::new()?;
            measure::tight(args, || {
                drop(black_box(Lock::new().expect("there is room")))
            });
        }
        ("create", "memfd") => measure::tight(args, || raw::memory_file().expect("there is room")),
        ("lock", _) => args.unsupported("ours, parking_lot"),
        ("create", _) => args.unsupported("ours, memfd"),
        _ => args.unsupported("ours, lock"),
    }
    Ok(())
}
