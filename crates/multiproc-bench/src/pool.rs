//! `pool-trivial`: n -> n + 1, as many times as asked, on a pool that is already there.

use std::time::Instant;

use multiproc::Pool;

use crate::Outcome;
use crate::args::Args;

pub(crate) fn run(args: &Args) -> Outcome {
    if args.imp != "ours" {
        args.unsupported("ours");
    }
    let tasks = args.number("tasks", 100_000);
    let pool = Pool::new(args.size("workers", multiproc::cpu_count()))?;
    // The first map is the warm-up: the workers start, the rings are touched.
    pool.map(next, 0..tasks / 10)?;
    let started = Instant::now();
    let results = pool.map(next, 0..tasks)?;
    let time = started.elapsed().as_secs_f64();
    assert!(results.into_iter().eq(1..=tasks), "a wrong result");
    args.emit("seconds", time, "s");
    args.emit("us_per_task", time * 1e6 / tasks as f64, "us");
    pool.close();
    pool.join()?;
    Ok(())
}

fn next(n: u64) -> u64 {
    n + 1
}
