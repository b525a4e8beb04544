//! Prints how two processes take two locks crosswise: where they would wait for each other for ever,
//! one of them is told who waits for what, and lets go; the other one goes on.

use std::error::Error;

use multiproc::{Barrier, Lock, Process, TaskFailure};

/// Takes `mine`, and then `other`; true if it got both at once.
fn cross((mine, other, both_hold): (Lock, Lock, Barrier)) -> Result<bool, TaskFailure> {
    let me = multiproc::current_process().name().to_owned();
    let guard = mine.acquire()?;
    both_hold.wait()?;
    println!("{me} holds its lock and wants the other one");
    match other.acquire() {
        Ok(_both) => {
            println!("{me} holds both");
            Ok(true)
        }
        Err(error) if error.is_deadlock() => {
            println!("{me} is told: {error}");
            drop(guard);
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (left, right, both_hold) = (Lock::new()?, Lock::new()?, Barrier::new(2)?);
    let ways = [
        ("Ann", (left.clone(), right.clone(), both_hold.clone())),
        ("Bob", (right, left, both_hold)),
    ];
    let processes: Vec<_> = ways
        .into_iter()
        .map(|(name, way)| Process::new(cross, way).name(name).start())
        .collect::<Result<_, _>>()?;
    let mut told = 0;
    for process in processes {
        told += u32::from(!process.join()??);
    }
    println!("{told} of 2 was told, and both came to an end");
    assert!((1..=2).contains(&told));
    Ok(())
}
