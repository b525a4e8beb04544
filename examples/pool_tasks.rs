//! Prints when each of ten tasks begins and ends, in which process, and how long it took: three
//! workers, so never more than three at once. Lines say "start" and "end" around them.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiproc::Pool;

fn task(n: u64) {
    let pid = std::process::id();
    println!("task {n} begins in process {pid}");
    let started = Instant::now();
    // Longer and shorter ones, the same in each run.
    sleep(Duration::from_millis(20 + n * 37 % 50));
    println!(
        "task {n} ends in process {pid} after {:?}",
        started.elapsed()
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("---- start ----");
    let pool = Pool::new(3)?;
    let tasks: Vec<_> = (0..10).map(|n| pool.apply_async(task, n)).collect();
    pool.close();
    pool.join()?;
    for task in tasks {
        task.get()?;
    }
    println!("---- end ----");
    Ok(())
}
