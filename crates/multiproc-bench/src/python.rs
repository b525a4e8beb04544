//! The rival CPython: its rows are a script, run where `python3` is there.

use std::io::Write;
use std::process::{Command, Stdio, exit};

use crate::Outcome;
use crate::args::Args;

const SCRIPT: &str = include_str!("rivals.py");

/// Runs the same bench in Python, which prints the same lines, and ends with its status.
pub(crate) fn run(args: &Args) -> Outcome {
    let python = Command::new("python3")
        .arg("-")
        .args(std::env::args().skip(1))
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        args.unsupported("there is no python3");
    };
    if let Some(mut stdin) = python.stdin.take() {
        stdin.write_all(SCRIPT.as_bytes())?;
    }
    exit(python.wait()?.code().unwrap_or(1))
}
