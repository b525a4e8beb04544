//! Figures of multiproc beside its rivals.
//!
//! ```text
//! bench <bench> <impl> [--key value ..]
//! bench report [--rounds N]
//! ```
//!
//! The first form measures one thing once and prints a JSON object per metric:
//! `{bench, impl, metric, value, unit, ..}`, with the parameters repeated as further keys. Exit
//! status 0 means measured, 3 that this implementation does not do this, 2 a wrong call.
//!
//! | bench | impls | parameters | metrics |
//! |---|---|---|---|
//! | `start` | `ours`, `raw-fork` | `reps`, `ballast` (MiB touched in the parent) | `start_join_p50`, `_p99` (ns) |
//! | `lock` | `ours`, `parking_lot` | | `ns_per_op` |
//! | `oneway` | `ours`, `crossbeam` (threads) | `size`, `producers`, `consumers`, `ms`, `split` (1: each side its CPU) | `msgs_per_s`, `mib_per_s` |
//! | `wake` | `ours`, `futex` | `reps`, `by` (0 `Event::wait`, 1 `wait` for memory, 2 `wait` beside a descriptor) | `round_trip_p50`, `_p99` (ns) |
//! | `pool-trivial` | `ours` | `tasks`, `workers` | `seconds`, `us_per_task` |
//!
//! The second form runs ours and the rival in turn (A B, B A, ..), each in a fresh process, and
//! prints medians, their ratio and the ratio we hold ourselves to.

mod args;
mod lock;
mod measure;
mod oneway;
mod pool;
mod raw;
mod report;
mod start;
mod wake;

use args::Args;

/// A measurement that cannot be made ends the program with its reason.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args = Args::from_env();
    match args.bench.as_str() {
        "report" => report::run(&args),
        "start" => start::run(&args),
        "lock" => lock::run(&args),
        "oneway" => oneway::run(&args),
        "wake" => wake::run(&args),
        "pool-trivial" => pool::run(&args),
        _ => args.unsupported("no such bench"),
    }
}
