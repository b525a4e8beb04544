//! `barrier`: how long one round of a barrier takes, for `parties` processes that do nothing else. The
//! rival is CPython's `multiprocessing.Barrier`.

use std::process::Command;
use std::time::{Duration, Instant};

use multiproc::{Barrier, Process};

use crate::Outcome;
use crate::args::Args;

/// Rounds before the clock runs.
const WARM_UP: u64 = 50;

/// The same as [`ours`]: prints the seconds of one round.
const CPYTHON: &str = "
import multiprocessing, sys, time
def run(barrier, rounds, times):
    for _ in range(50):
        barrier.wait()
    started = time.perf_counter()
    for _ in range(rounds):
        barrier.wait()
    times.put(time.perf_counter() - started)
multiprocessing.set_start_method('fork')
parties, rounds = int(sys.argv[1]), int(sys.argv[2])
barrier, times = multiprocessing.Barrier(parties), multiprocessing.SimpleQueue()
all = [multiprocessing.Process(target=run, args=(barrier, rounds, times)) for _ in range(parties)]
for process in all:
    process.start()
longest = max(times.get() for _ in all)
for process in all:
    process.join()
print(longest / rounds)
";

pub(crate) fn run(args: &Args) -> Outcome {
    let (parties, rounds) = (args.size("parties", 4), args.number("rounds", 2_000));
    let seconds = match args.imp.as_str() {
        "ours" => ours(parties, rounds)?.as_secs_f64() / rounds as f64,
        "cpython" => cpython(args, parties, rounds)?,
        _ => args.unsupported("ours, cpython"),
    };
    args.emit("ns_per_round", seconds * 1e9, "ns");
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

fn cpython(args: &Args, parties: usize, rounds: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let output = Command::new("python3")
        .args(["-c", CPYTHON, &parties.to_string(), &rounds.to_string()])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8(output.stdout)?.trim().parse()?)
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into()),
        Err(_) => args.unsupported("there is no python3"),
    }
}
