//! Figures of multiproc beside its rivals.
//!
//! ```text
//! bench <bench> <impl> [--key value ..]
//! bench report [--rounds N] [--growth 0] [--out FOLDER]
//! ```
//!
//! The first form measures one thing once and prints a JSON object per metric:
//! `{bench, impl, metric, value, unit, ..}`, with the parameters repeated as further keys. Exit
//! status 0 means measured, 3 that this implementation does not do this, 2 a wrong call.
//!
//! | bench | impls | parameters | metrics |
//! |---|---|---|---|
//! | `start` | `ours`, `ours-plain` (no ballast, no argument), `ours-spawn`, `ours-fork`, `raw-fork`, `raw-fork-pages`, `procspawn` | `reps`, `ballast` (MiB touched in the parent), `thp`, `argument` (bytes), `batch` (so many at a time) | `start_join_p50`, `_p99` (ns), `page_faults`, `starts_per_s`, `cpu_us_per_start` |
//! | `lock` | `ours`, `parking_lot` | | `ns_per_op` |
//! | `oneway` | `ours`, `ours-batch`, `ours-thread`, `ours-alone`, `ours-pipe`, `ours-view`; `crossbeam`, `crossbeam-alone` (threads), `ipc-channel`, `socketpair`, `ring`, `memcpy`, `clone` | `size`, `producers`, `consumers`, `ms`, `pin` (`free`, `same`, `split`) | `msgs_per_s`, `mib_per_s` |
//! | `peak` | `ours` | `size` | `over_payload` |
//! | `pingpong` | `ours`, `ours-view`, `ours-queue`, `ours-thread`; `spin-futex`, `futex`, `ipc-channel`, `socketpair` | `reps`, `pin`, `pause` (µs before each, so that the other side sleeps) | `rtt_p50`, `_p99` (ns) |
//! | `semaphore`, `value` | `ours`, `lock` (ours) | | `ns_per_op` |
//! | `create` | `ours`, `memfd` | | `ns_per_op` |
//! | `contended` | `ours`, `ours-thread`, `futex` | `procs`, `ms` | `ops_per_s`, `min_over_max`, `lost_updates` |
//! | `readers` | `ours`, `alone` (ours, one process) | `procs`, `ms` | `ops_per_s`, `min_over_max` |
//! | `barrier` | `ours`, `cpython` | `parties`, `rounds` | `ns_per_round` |
//! | `wake` | `ours`, `futex` | `reps`, `by` (0 `Event::wait`, 1 `wait` for memory, 2 `wait` beside a descriptor) | `round_trip_p50`, `_p99` (ns) |
//! | `told` | `ours` | `of` (`lock`, `pool`, `manager`), `reps` | `told_p50`, `_p99` (ns) |
//! | `pool-trivial` | `ours` (`map`), `rayon` (threads, one spawn each), `procspawn` | `tasks`, `workers`, `one-by-one` (1: `imap_unordered`) | `seconds`, `us_per_task` |
//! | `pool-apply` | `ours`, `rayon`, `procspawn`, `futex` | `reps`, `workers`, `pause` (µs before each) | `apply_p50` (ns) |
//! | `pool-cpu` | `ours`, `rayon` | `tasks` (of 50 ms), `workers` | `over_ideal`, `seconds`, `us_per_task` |
//! | `pool-mib` | `ours`, `rayon` | `tasks`, `workers` | `seconds`, `us_per_task` |
//! | `pool-seed` | `ours` (a pool of 5), `processes` (one each) | `tasks` | `seconds` |
//! | `map-ops` | `ours` (members of a family), `ours-socket`, either with `-plain` (no idle ones), `ours-set`, `redis`, `echo` | `clients`, `ms`, `op` (`get`, `set`, `update`), `depth` (under way), `idle` (clients) | `ops_per_s` |
//! | `map-proxy` | `ours`, `get` | | `ns_per_op` |
//! | `map-memory` | `ours`, `hashmap` | `count` | `bytes_each` |
//! | `many` | `ours` | `kind` (`lock`, `queue`, `pipe`, `process`), `count` | `ns_per_op`, `bytes_each`, `fds` |
//! | `pool-growth`, `pool-queued`, `pool-idle` | `ours` | `tasks`, `workers` | see the report |
//!
//! Some have `cpython` rivals, measured where `python3` is there.
//!
//! The second form runs ours and the rivals in turn (A B C, C B A, ..), each in a fresh process, and
//! prints medians, their ratio and the ratio we hold ourselves to; then how cost grows with number and
//! size. With `--out docs` it also writes `docs/BENCHMARKS.md` and its plots.

mod args;
mod barrier;
mod lock;
mod many;
mod map;
mod measure;
mod oneway;
mod peak;
mod pingpong;
mod pool;
mod pool_growth;
mod python;
mod race;
mod raw;
mod report;
mod start;
mod told;
mod usage;
mod wake;

use args::Args;

/// A measurement that cannot be made ends the program with its reason.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    // What a rival needs before anything else; returns at once in the process that a user started.
    procspawn::init();
    let args = Args::from_env();
    if args.imp.starts_with("cpython") {
        return python::run(&args);
    }
    match args.bench.as_str() {
        "report" => report::run(&args),
        "start" => start::run(&args),
        "lock" | "semaphore" | "value" | "create" => lock::run(&args),
        "contended" | "readers" => race::run(&args),
        "barrier" => barrier::run(&args),
        "oneway" => oneway::run(&args),
        "pingpong" => pingpong::run(&args),
        "wake" => wake::run(&args),
        "peak" => peak::run(&args),
        "told" => told::run(&args),
        "many" => many::run(&args),
        "pool-trivial" | "pool-apply" | "pool-cpu" | "pool-mib" | "pool-seed" => pool::run(&args),
        "map-ops" | "map" => map::run(&args),
        "map-proxy" => map::proxy(&args),
        "map-memory" => map::memory(&args),
        "pool-growth" => pool_growth::workers(&args),
        "pool-idle" => pool_growth::idle(&args),
        "pool-queued" => pool_growth::queued(&args),
        _ => args.unsupported("no such bench"),
    }
}
