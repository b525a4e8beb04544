//! `start`: a process for a function that does nothing, from start to joined; or many at a time.

use std::error::Error;
use std::time::Instant;

use multiproc::{Bytes, Process, StartMethod};

use crate::args::Args;
use crate::{Outcome, measure, raw};

pub(crate) fn run(args: &Args) -> Outcome {
    raw::ballast(args.size("ballast", 0))?;
    let reps = args.number("reps", 200);
    match args.size("batch", 0) {
        0 => one_at_a_time(args, reps),
        batch => in_batches(args, reps, batch),
    }
}

fn one_at_a_time(args: &Args, reps: u64) -> Outcome {
    let argument = Bytes::from(vec![1; args.size("argument", 0)]);
    match args.imp.as_str() {
        "ours" if !argument.is_empty() => {
            measure::each(args, "start_join", reps, || with_argument(&argument))
        }
        "ours" => measure::each(args, "start_join", reps, || ours(StartMethod::ForkServer)),
        "ours-spawn" => measure::each(args, "start_join", reps, || ours(StartMethod::Spawn)),
        "procspawn" => measure::each(args, "start_join", reps, procspawn),
        "raw-fork" => measure::each(args, "start_join", reps, || Ok(raw::fork_and_wait()?)),
        _ => args.unsupported("ours, ours-spawn, raw-fork, procspawn"),
    }
}

fn procspawn() -> Outcome {
    procspawn::spawn((), nothing).join()?;
    Ok(())
}

fn ours(method: StartMethod) -> Outcome {
    start(method)?.join()?;
    Ok(())
}

fn start(method: StartMethod) -> Result<Process<()>, Box<dyn Error>> {
    Ok(Process::new(nothing, ()).start_method(method).start()?)
}

fn nothing((): ()) {}

fn with_argument(argument: &Bytes) -> Outcome {
    Process::new(|_: Bytes| (), argument.clone())
        .start()?
        .join()?;
    Ok(())
}

fn in_batches(args: &Args, reps: u64, batch: usize) -> Outcome {
    match args.imp.as_str() {
        "ours" => starts_per_second(
            args,
            (reps, batch),
            || start(StartMethod::ForkServer),
            |process| Ok(process.join()?),
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
    let began = Instant::now();
    for _ in 0..reps {
        round()?;
    }
    let count = reps as f64 * batch as f64;
    args.emit("starts_per_s", count / began.elapsed().as_secs_f64(), "1/s");
    Ok(())
}
