//! `many`: objects of one kind, all there at once: what each costs to make and drop, in memory, and in
//! descriptors.

use std::time::Instant;

use multiproc::{CreateError, Lock, Queue};

use crate::args::Args;
use crate::{Outcome, usage};

pub(crate) fn run(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    match args.text("kind", "lock") {
        "lock" => measure(args, Lock::new),
        "queue" => measure(args, || Queue::<u64>::bounded(16)),
        _ => args.unsupported("--kind lock, queue"),
    }
}

fn measure<T>(args: &Args, make: impl Fn() -> Result<T, CreateError>) -> Outcome {
    let count = args.size("count", 1000);
    // The arena and its first chunk are not theirs.
    drop(make()?);
    let before = usage::here()?;
    let started = Instant::now();
    let all = (0..count).map(|_| make()).collect::<Result<Vec<_>, _>>()?;
    let there = usage::here()?;
    drop(all);
    let time = started.elapsed();
    let bytes = there.bytes.saturating_sub(before.bytes);
    args.emit("ns_per_op", time.as_nanos() as f64 / count as f64, "ns");
    args.emit("bytes_each", bytes as f64 / count as f64, "B");
    args.emit("fds", (there.fds - before.fds) as f64, "");
    Ok(())
}
