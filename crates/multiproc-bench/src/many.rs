//! `many`: objects of one kind, all there at once: what each costs to make and drop, in memory, and in
//! descriptors.

use std::time::Instant;

use multiproc::{CreateError, Event, Lock, Process, Queue, pipe};

use crate::args::Args;
use crate::{Outcome, usage};

pub(crate) fn run(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    match args.text("kind", "lock") {
        "lock" => measure(args, Lock::new),
        "queue" => measure(args, || Queue::<u64>::bounded(16)),
        "pipe" => measure(args, pipe::<u64, u64>),
        "process" => processes(args),
        _ => args.unsupported("--kind lock, queue, pipe, process"),
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

/// Processes that are all there before the first may end.
fn processes(args: &Args) -> Outcome {
    let count = args.size("count", 100);
    let gate = Event::new()?;
    let start = || Process::new(|gate: Event| gate.wait(), gate.clone()).start();
    // The fork server is not theirs.
    let first = start()?;
    let before = usage::here()?;
    let started = Instant::now();
    let all = (0..count).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    let there = usage::here()?;
    assert!(all.iter().all(Process::is_alive), "somebody has ended");
    let paused = Instant::now();
    let memory = |process: &Process<()>| {
        usage::resident(&process.pid().to_string(), "RssAnon:").unwrap_or(0)
    };
    let bytes: u64 = all.iter().map(memory).sum();
    let paused = paused.elapsed();
    gate.set();
    for process in all.into_iter().chain([first]) {
        process.join()?;
    }
    let time = started.elapsed() - paused;
    args.emit("ns_per_op", time.as_nanos() as f64 / count as f64, "ns");
    args.emit("bytes_each", bytes as f64 / count as f64, "B");
    args.emit("fds", (there.fds - before.fds) as f64, "");
    Ok(())
}
