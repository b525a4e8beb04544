//! `start`: a process for a function that does nothing, from start to joined.

use multiproc::Process;

use crate::args::Args;
use crate::{Outcome, measure, raw};

pub(crate) fn run(args: &Args) -> Outcome {
    raw::ballast(args.size("ballast", 0))?;
    let reps = args.number("reps", 200);
    match args.imp.as_str() {
        "ours" => measure::each(args, "start_join", reps, ours),
        "raw-fork" => measure::each(args, "start_join", reps, || Ok(raw::fork_and_wait()?)),
        _ => args.unsupported("ours, raw-fork"),
    }
}

fn ours() -> Outcome {
    Process::new(nothing, ()).start()?.join()?;
    Ok(())
}

fn nothing((): ()) {}
