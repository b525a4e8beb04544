//! Prints what 10 processes leave of the number 10 in a file, when each reads it, waits and writes one
//! less: without a lock near 9, as they read what others are about to change, and with it 0.
//!
//! `--slow` waits as long as the tutorial does.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

use multiproc::{Lock, Process, TaskFailure};

type Customer = (PathBuf, Option<Lock>, Duration);

/// Takes a ticket, if there is one left.
fn buy((tickets, lock, wait): Customer) -> Result<(), TaskFailure> {
    let _guard = lock.as_ref().map(Lock::acquire).transpose()?;
    let left: u32 = fs::read_to_string(&tickets)?.trim().parse()?;
    thread::sleep(wait);
    if left > 0 {
        fs::write(&tickets, (left - 1).to_string())?;
    }
    Ok(())
}

fn sell(tickets: &Path, lock: Option<Lock>, wait: Duration) -> Result<u32, Box<dyn Error>> {
    fs::write(tickets, "10")?;
    let customers: Vec<_> = (0..10)
        .map(|_| Process::new(buy, (tickets.to_path_buf(), lock.clone(), wait)).start())
        .collect::<Result<_, _>>()?;
    for customer in customers {
        customer.join()??;
    }
    Ok(fs::read_to_string(tickets)?.parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let slow = env::args().any(|argument| argument == "--slow");
    let wait = Duration::from_millis(if slow { 500 } else { 50 });
    let tickets = env::temp_dir().join(format!("multiproc-tickets-{}", std::process::id()));
    let without = sell(&tickets, None, wait)?;
    println!("without the lock {without} of 10 tickets are left");
    let with = sell(&tickets, Some(Lock::new()?), wait)?;
    println!("with the lock {with} of 10 tickets are left");
    fs::remove_file(&tickets)?;
    assert!(without > 0 && with == 0);
    Ok(())
}
