//! The loops: warm-up, calibration of the count, quantiles. No bench times anything by itself.

use std::time::{Duration, Instant};

use crate::args::Args;

/// Calls `one` many times and prints mean and quantiles of its duration.
pub(crate) fn each(
    args: &Args,
    metric: &str,
    reps: u64,
    one: impl FnMut() -> crate::Outcome,
) -> crate::Outcome {
    each_after(args, metric, reps, || (), one)
}

/// The same, with something before each that does not count.
pub(crate) fn each_after(
    args: &Args,
    metric: &str,
    reps: u64,
    mut before: impl FnMut(),
    mut one: impl FnMut() -> crate::Outcome,
) -> crate::Outcome {
    for _ in 0..reps / 10 + 2 {
        before();
        one()?;
    }
    let mut nanos = Vec::new();
    for _ in 0..reps {
        before();
        let started = Instant::now();
        one()?;
        nanos.push(started.elapsed().as_nanos() as f64);
    }
    quantiles(args, metric, nanos);
    Ok(())
}

/// Prints mean and quantiles of times in nanoseconds.
pub(crate) fn quantiles(args: &Args, metric: &str, mut nanos: Vec<f64>) {
    let mean = nanos.iter().sum::<f64>() / nanos.len() as f64;
    args.emit(&format!("{metric}_mean"), mean, "ns");
    nanos.sort_unstable_by(f64::total_cmp);
    for (name, part) in [("p50", 0.50), ("p99", 0.99)] {
        let place = ((nanos.len() - 1) as f64 * part) as usize;
        args.emit(&format!("{metric}_{name}"), nanos[place], "ns");
    }
}

/// Prints the time of one call of `one`, which is too short to be timed alone.
pub(crate) fn tight(args: &Args, mut one: impl FnMut()) {
    let mut run = |count| {
        let started = Instant::now();
        for _ in 0..count {
            one();
        }
        started.elapsed()
    };
    let (count, time) = calibrated(Duration::from_millis(300), 1000, &mut run);
    args.emit("ns_per_op", time.as_nanos() as f64 / count as f64, "ns");
}

/// Raises the count until a run takes about `target`, then makes one run that counts.
/// The first, short runs are the warm-up: page faults, lazy set-up, clock speed.
pub(crate) fn calibrated(
    target: Duration,
    first: u64,
    run: &mut dyn FnMut(u64) -> Duration,
) -> (u64, Duration) {
    const MOST: u64 = 1 << 32;
    let mut count = first;
    run(count);
    loop {
        let time = run(count).as_secs_f64();
        if time > target.as_secs_f64() / 8.0 || count >= MOST {
            count = (count as f64 * target.as_secs_f64() / time).ceil() as u64;
            break;
        }
        count *= if time < target.as_secs_f64() / 100.0 {
            8
        } else {
            2
        };
    }
    let count = count.clamp(1, MOST);
    (count, run(count))
}
