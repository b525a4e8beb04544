//! What the user sees: the bar while it runs, what was skipped, the table at the end.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use multiproc::Queue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::copy::Note;

const LOOK: &str = "{bar:30} {percent:>3}%  {prefix} files  {bytes}/{total_bytes}  \
                    {bytes_per_sec}  {wide_msg}";

/// The bar counts bytes; its prefix counts files.
#[derive(Clone)]
pub(crate) struct Bar {
    bar: ProgressBar,
    files: usize,
}

impl Bar {
    pub(crate) fn new(files: usize, bytes: u64) -> Bar {
        let style = ProgressStyle::with_template(LOOK).expect("the template is well formed");
        let bar = ProgressBar::new(bytes).with_style(style);
        Bar { bar, files }
    }

    fn update(&self, files: usize, bytes: u64) {
        self.bar.set_position(bytes);
        self.bar.set_prefix(format!("{files}/{}", self.files));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows what the workers say until the queue is closed and empty, and kills the one that asks
/// for it. An item may report twice, if its worker died between the report and the result:
/// what counts is the last it said.
pub(crate) fn listen(notes: &Queue<Note>, bar: &Bar) {
    let mut written = HashMap::new();
    let mut finished = HashSet::new();
    let mut bytes = 0;
    while let Ok(note) = notes.get() {
        let (item, now) = match note {
            Note::Written { item, bytes } => (item, bytes),
            Note::Finished { item, bytes, name } => {
                finished.insert(item);
                show_name(bar, &name);
                (item, bytes)
            }
            Note::HalfWay { pid } => {
                shoot(pid, bar);
                continue;
            }
        };
        bytes = bytes + now - written.insert(item, now).unwrap_or(0);
        bar.update(finished.len(), bytes);
    }
}

fn show_name(bar: &Bar, name: &OsString) {
    let name = Path::new(name).file_name().unwrap_or(name);
    bar.bar.set_message(name.to_string_lossy().into_owned());
}

fn shoot(pid: u32, bar: &Bar) {
    bar.bar
        .suspend(|| println!("worker {pid} is half-way through a file: killing it"));
    let target = Pid::from_raw(pid.try_into().expect("a pid fits"));
    if let Err(error) = kill(target, Signal::SIGKILL) {
        bar.bar
            .suspend(|| println!("worker {pid} could not be killed: {error}"));
    }
}

/// The entries that were skipped: each is one line on stderr, and counted.
#[derive(Default)]
pub(crate) struct Troubles {
    count: usize,
    above: Option<Bar>,
}

impl Troubles {
    /// From now on lines are written above this bar and not into it.
    pub(crate) fn show_above(&mut self, bar: &Bar) {
        self.above = Some(bar.clone());
    }

    pub(crate) fn add(&mut self, name: &Path, why: &dyn Display) {
        self.count += 1;
        self.line(|| eprintln!("skipped: {}: {why}", name.display()));
    }

    /// News that is no trouble.
    pub(crate) fn say(&self, text: &str) {
        self.line(|| println!("{text}"));
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn line(&self, write: impl FnOnce()) {
        match &self.above {
            Some(bar) => bar.bar.suspend(write),
            None => write(),
        }
    }
}

/// The last thing the user sees.
pub(crate) struct Table {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) workers: usize,
    pub(crate) errors: usize,
    /// Entries compared with their source.
    pub(crate) verified: Option<usize>,
}

pub(crate) fn print(table: &Table) {
    let rate = HumanBytes((table.bytes as f64 / table.seconds) as u64);
    println!("files    {}", HumanCount(table.files as u64));
    println!(
        "bytes    {} ({})",
        HumanCount(table.bytes),
        HumanBytes(table.bytes)
    );
    println!("seconds  {:.2} ({rate}/s)", table.seconds);
    println!("workers  {}", table.workers);
    println!("errors   {}", table.errors);
    if let Some(entries) = table.verified {
        println!(
            "verified {} entries are as in the source",
            HumanCount(entries as u64)
        );
    }
}
