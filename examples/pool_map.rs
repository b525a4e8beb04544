//! Prints how long 100 small tasks take on a pool of 5 workers, and as 100 processes of their
//! own, and how many times faster the pool was.

use std::error::Error;
use std::time::Instant;

use multiproc::{Pool, Process};

const TASKS: u64 = 100;
const WORKERS: usize = 5;

/// The sum of the numbers below `n`, the slow way.
fn sum_below(n: u64) -> u64 {
    (0..n).fold(0, |sum, k| std::hint::black_box(sum + k))
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u64> = (1..=TASKS).collect();

    let started = Instant::now();
    let pool = Pool::new(WORKERS)?;
    let by_pool = pool.map(sum_below, numbers.clone())?;
    pool.close();
    pool.join()?;
    let pool_time = started.elapsed();

    let started = Instant::now();
    let mut processes = Vec::new();
    for n in numbers {
        processes.push(Process::new(sum_below, n).start()?);
    }
    let by_processes = processes
        .iter()
        .map(Process::join)
        .collect::<Result<Vec<u64>, _>>()?;
    let process_time = started.elapsed();

    assert_eq!(by_pool, by_processes);
    println!("{TASKS} tasks on a pool of {WORKERS} workers: {pool_time:?}, start and end included");
    println!("{TASKS} tasks as {TASKS} processes: {process_time:?}");
    println!(
        "the pool was {:.1} times faster",
        process_time.as_secs_f64() / pool_time.as_secs_f64()
    );
    Ok(())
}
