//! `start`: a process for a function that takes a number and gives one back, from start to joined; or
//! many at a time.
//!
//! The parent may have `--ballast` MiB of memory in use (`--thp 1`: in huge pages), and the argument be
//! of `--argument` bytes; `ours-plain` has neither. `raw-fork-pages` forks children that write to 40
//! pages each.

use std::error::Error;
use std::fs;
use std::time::Instant;

use multiproc::{Bytes, Process, StartMethod};

use crate::args::Args;
use crate::{Outcome, measure, raw, usage};

/// Children that are asked how many pages they met.
const ASKED: u64 = 9;

/// What the children of `raw-fork-pages` write to.
const PAGES: usize = 40;

/// Memory that has to be left for everybody else.
const SPARE: u64 = 1 << 30;

pub(crate) fn run(args: &Args) -> Outcome {
    if args.imp != "ours-plain" {
        ballast(args)?;
    }
    let reps = args.number("reps", 200);
    match args.size("batch", 0) {
        0 => one_at_a_time(args, reps),
        batch => in_batches(args, reps, batch),
    }
}

fn ballast(args: &Args) -> Outcome {
    let mib = args.size("ballast", 0);
    let free = usage::free_memory()?;
    if ((mib as u64) << 20) + SPARE > free && mib > 0 {
        args.unsupported(&format!("{mib} MiB of {} MiB free", free >> 20));
    }
    Ok(raw::ballast(mib, args.number("thp", 0) == 1)?)
}

fn one_at_a_time(args: &Args, reps: u64) -> Outcome {
    let argument = Bytes::from(vec![1; args.size("argument", 0)]);
    let each = |one: &mut dyn FnMut() -> Outcome| measure::each(args, "start_join", reps, one);
    let ours = |method| {
        each(&mut || is_next(start(method)?.join()?))?;
        child_page_faults(args, method)
    };
    match args.imp.as_str() {
        "ours" if !argument.is_empty() => each(&mut || with_argument(&argument)),
        "ours" | "ours-plain" => ours(StartMethod::ForkServer),
        "ours-spawn" => ours(StartMethod::Spawn),
        "ours-fork" => ours(StartMethod::Fork),
        "procspawn" => each(&mut || is_next(procspawn::spawn(GIVEN, next).join()?)),
        "raw-fork" => touching(args, reps, &mut []),
        "raw-fork-pages" => touching(args, reps, &mut vec![1; PAGES * raw::PAGE]),
        _ => args.unsupported(
            "ours, ours-plain, ours-spawn, ours-fork, raw-fork, raw-fork-pages, procspawn",
        ),
    }
}

/// What a child is given; it gives back the next.
const GIVEN: u64 = 7;

fn next(n: u64) -> u64 {
    n + 1
}

fn is_next(result: u64) -> Outcome {
    assert_eq!(result, GIVEN + 1, "a wrong result");
    Ok(())
}

fn start(method: StartMethod) -> Result<Process<u64>, Box<dyn Error>> {
    Ok(Process::new(next, GIVEN).start_method(method).start()?)
}

fn with_argument(argument: &Bytes) -> Outcome {
    let child = Process::new(|bytes: Bytes| bytes.len(), argument.clone()).start()?;
    assert_eq!(child.join()?, argument.len());
    Ok(())
}

/// What a child has met by the time that the function runs.
fn child_page_faults(args: &Args, method: StartMethod) -> Outcome {
    let mut faults = Vec::new();
    for _ in 0..ASKED {
        let child = Process::new(|()| raw::page_faults(), ()).start_method(method);
        faults.push(child.start()?.join()?);
    }
    faults.sort_unstable();
    args.emit("page_faults", faults[faults.len() / 2] as f64, "");
    Ok(())
}

fn touching(args: &Args, reps: u64, pages: &mut [u8]) -> Outcome {
    let mut faults = 0;
    measure::each(args, "start_join", reps, || {
        faults = raw::fork_and_touch(pages)?;
        Ok(())
    })?;
    args.emit("page_faults", faults as f64, "");
    Ok(())
}

fn in_batches(args: &Args, reps: u64, batch: usize) -> Outcome {
    match args.imp.as_str() {
        "ours" => starts_per_second(
            args,
            (reps, batch),
            || start(StartMethod::ForkServer),
            |process| is_next(process.join()?),
        ),
        "raw-fork" => starts_per_second(
            args,
            (reps, batch),
            || Ok(raw::fork_one()?),
            |pid| Ok(raw::wait(pid)?),
        ),
        _ => args.unsupported("ours, raw-fork"),
    }
}

/// Starts `batch`, then waits for them all, `reps` times; how many that makes in a second.
fn starts_per_second<P>(
    args: &Args,
    (reps, batch): (u64, usize),
    start: impl Fn() -> Result<P, Box<dyn Error>>,
    join: impl Fn(P) -> Outcome,
) -> Outcome {
    let round = || {
        let all = (0..batch).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
        all.into_iter().try_for_each(&join)
    };
    round()?;
    let busy = busy_micros()?;
    let began = Instant::now();
    for _ in 0..reps {
        round()?;
    }
    let time = began.elapsed().as_secs_f64();
    let count = reps as f64 * batch as f64;
    args.emit("starts_per_s", count / time, "1/s");
    args.emit("cpu_us_per_start", (busy_micros()? - busy) / count, "us");
    Ok(())
}

/// Processor time that the whole machine has used: that of a start is spread over several processes.
fn busy_micros() -> Result<f64, Box<dyn Error>> {
    /// The kernel counts in hundredths of a second here, whatever its own clock.
    const TICK: f64 = 10_000.0;
    let all = fs::read_to_string("/proc/stat")?;
    let line = all.lines().next().ok_or("/proc/stat is empty")?;
    let numbers = line.split_whitespace().skip(1);
    let numbers: Vec<f64> = numbers.map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system; idle and iowait are left out; irq, softirq.
    let busy = [0, 1, 2, 5, 6].map(|at| numbers.get(at).copied().unwrap_or(0.0));
    Ok(busy.iter().sum::<f64>() * TICK)
}
