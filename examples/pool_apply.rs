//! Prints ten lines, one after the other: `apply` waits for each task, so with three workers at hand
//! only one works at a time. The process ids repeat.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use multiproc::Pool;

fn work(n: u32) -> (u32, u32) {
    sleep(Duration::from_millis(20));
    (n * n, std::process::id())
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(3)?;
    for n in 0..10 {
        let (square, pid) = pool.apply(work, n)?;
        println!("task {n}: {square}, by process {pid}");
    }
    Ok(())
}
