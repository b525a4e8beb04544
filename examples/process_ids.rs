//! Prints ten lines, one of each of ten children started in turn: the time since the first start, the
//! parent's process id and the child's own.

use std::error::Error;
use std::time::{Duration, SystemTime};

use multiproc::{Process, current_process, parent_process};

fn introduce(began: SystemTime) {
    let parent = parent_process().expect("a child has one");
    let now: Duration = began.elapsed().unwrap_or_default();
    println!(
        "{:>9.3?}: child of process {}, myself process {}",
        now,
        parent.pid(),
        current_process().pid()
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let began = SystemTime::now();
    for _ in 0..10 {
        Process::new(introduce, began).start()?.join()?;
    }
    Ok(())
}
