//! Prints that five tasks were handed in at once, then their results: `apply_async` does not wait,
//! `close` and `join` do.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiproc::Pool;

fn work(n: u64) -> String {
    sleep(Duration::from_millis(50));
    format!("task {n} ran in process {}", std::process::id())
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(5)?;
    let started = Instant::now();
    let results: Vec<_> = (0..5).map(|n| pool.apply_async(work, n)).collect();
    println!("all handed in after {:?}", started.elapsed());
    pool.close();
    pool.join()?;
    println!("all done after {:?}", started.elapsed());
    for result in results {
        println!("{}", result.get()?);
    }
    Ok(())
}
