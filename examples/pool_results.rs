//! Prints squares twice. First all tasks are handed in and the results asked for at the end: the
//! workers share the work. Then each result is asked for at once, which makes it one task at a time.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiproc::Pool;

fn square(n: u32) -> u32 {
    sleep(Duration::from_millis(30));
    n * n
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(4)?;

    let started = Instant::now();
    let handles: Vec<_> = (0..8).map(|n| pool.apply_async(square, n)).collect();
    let squares = handles.iter().map(|handle| handle.get());
    println!("{:?}", squares.collect::<Result<Vec<_>, _>>()?);
    println!("asked for at the end: {:?}", started.elapsed());

    let started = Instant::now();
    let mut squares = Vec::new();
    for n in 0..8 {
        squares.push(pool.apply_async(square, n).get()?);
    }
    println!("{squares:?}");
    println!("asked for at once, and so in turn: {:?}", started.elapsed());
    Ok(())
}
