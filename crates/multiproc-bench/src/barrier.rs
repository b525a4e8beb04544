//! `barrier`: how long one round of a barrier takes, for `parties` processes that do nothing else. The
//! rival is CPython's `multiprocessing.Barrier` (`rivals.py`).

use std::time::{Duration, Instant};

use multiproc::{Barrier, Process};

use crate::Outcome;
use crate::args::Args;

/// Rounds before the clock runs.
const WARM_UP: u64 = 50;

pub(crate) fn run(args: &Args) -> Outcome {
    let (parties, rounds) = (args.size("parties", 4), args.number("rounds", 2_000));
    if args.imp != "ours" {
        args.unsupported("ours, cpython");
    }
    let time = ours(parties, rounds)?;
    args.emit("ns_per_round", time.as_nanos() as f64 / rounds as f64, "ns");
    Ok(())
}

/// The time of all rounds, as the slowest of the parties sees it.
fn ours(parties: usize, rounds: u64) -> Result<Duration, Box<dyn std::error::Error>> {
    let barrier = Barrier::new(parties)?;
    let party = |(barrier, rounds): (Barrier, u64)| {
        let meet = |times| {
            for _ in 0..times {
                barrier.wait().expect("nobody dies");
            }
        };
        meet(WARM_UP);
        let started = Instant::now();
        meet(rounds);
        started.elapsed()
    };
    let processes: Vec<_> = (0..parties)
        .map(|_| Process::new(party, (barrier.clone(), rounds)).start())
        .collect::<Result<_, _>>()?;
    let mut longest = Duration::ZERO;
    for process in processes {
        longest = longest.max(process.join()?);
    }
    Ok(longest)
}
