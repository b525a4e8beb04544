//! `pool-growth`, `pool-queued`, `pool-idle`: a pool of many workers, one with many tasks waiting, and one
//! with none.

use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Event, Pool};

use crate::args::Args;
use crate::{Outcome, usage};

/// Start of a pool of `--workers`, trivial tasks through it, and what a worker keeps in memory.
pub(crate) fn workers(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    let (workers, tasks) = (args.size("workers", 2), args.number("tasks", 20_000));
    let started = Instant::now();
    let pool = Pool::new(workers)?;
    let pids = multiproc::active_children();
    args.emit("start_seconds", started.elapsed().as_secs_f64(), "s");
    pool.map(next, 0..tasks)?;
    let started = Instant::now();
    pool.map(next, 0..tasks)?;
    let time = started.elapsed().as_secs_f64();
    args.emit("us_per_task", time * 1e6 / tasks as f64, "us");
    let memory = pids.iter().map(|child| {
        let pid = child.pid().to_string();
        usage::resident(&pid, "RssAnon:").unwrap_or(0) >> 10
    });
    let each = memory.sum::<u64>() as f64 / pids.len().max(1) as f64;
    args.emit("kib_per_worker", each, "KiB");
    args.emit("fds", usage::here()?.fds as f64, "");
    Ok(())
}

/// `--tasks` tasks submitted while every worker is busy, then all of them done.
pub(crate) fn queued(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    let tasks = args.number("tasks", 10_000);
    let pool = Pool::new(2)?;
    pool.map(next, 0..2000)?;
    let gate = Event::new()?;
    let before = usage::here()?;
    let busy = [gate.clone(), gate.clone()].map(|gate| pool.apply_async(pass, gate));
    let started = Instant::now();
    let waiting = pool.map_async(next, 0..tasks);
    let there = usage::here()?;
    gate.set();
    for result in busy {
        result.get()?;
    }
    assert_eq!(waiting.get()?.len() as u64, tasks);
    args.emit("seconds", started.elapsed().as_secs_f64(), "s");
    let bytes = there.bytes.saturating_sub(before.bytes);
    args.emit("bytes_each", bytes as f64 / tasks as f64, "B");
    args.emit("fds", there.fds as f64, "");
    Ok(())
}

/// How often those are woken who belong to a pool that has nothing to do: the one that is woken most.
pub(crate) fn idle(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    let pool = Pool::new(2)?;
    pool.map(next, 0..100)?;
    // Whoever has just had something to do looks a few times before the long sleep.
    thread::sleep(Duration::from_secs(3));
    let before = usage::wakes()?;
    let time = Duration::from_secs(args.number("seconds", 4));
    thread::sleep(time);
    let most = usage::wakes()?
        .into_iter()
        .map(|(pid, wakes)| wakes - before.get(&pid).copied().unwrap_or(wakes));
    let most = most.max().unwrap_or(0) as f64;
    args.emit("wakes_per_s", most / time.as_secs_f64(), "1/s");
    Ok(())
}

fn next(n: u64) -> u64 {
    n + 1
}

fn pass(gate: Event) {
    gate.wait();
}
