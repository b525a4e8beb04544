//! `start`: a process for a function that does nothing, from start to joined.

use multiproc::{Process, StartMethod};

use crate::args::Args;
use crate::{Outcome, measure, raw};

pub(crate) fn run(args: &Args) -> Outcome {
    raw::ballast(args.size("ballast", 0))?;
    let reps = args.number("reps", 200);
    match args.imp.as_str() {
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
    Process::new(nothing, ())
        .start_method(method)
        .start()?
        .join()?;
    Ok(())
}

fn nothing((): ()) {}
