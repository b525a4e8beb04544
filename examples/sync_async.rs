//! Prints how long 10,000 small tasks take when each result is waited for before the next task is
//! handed in, and when all are handed in at once.

use std::error::Error;
use std::time::Instant;

use multiproc::Pool;

const TASKS: u64 = 10_000;

fn double(n: u64) -> u64 {
    n * 2
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(0)?;
    pool.map(double, 0..100)?;

    let started = Instant::now();
    let mut in_turn = 0;
    for n in 0..TASKS {
        in_turn += pool.apply(double, n)?;
    }
    let waited = started.elapsed();

    let started = Instant::now();
    let results: Vec<_> = (0..TASKS).map(|n| pool.apply_async(double, n)).collect();
    let mut at_once = 0;
    for result in results {
        at_once += result.get()?;
    }
    let handed_in = started.elapsed();

    assert_eq!(in_turn, at_once);
    println!("{TASKS} tasks by apply, one after the other: {waited:?}");
    println!("{TASKS} tasks by apply_async, all at once: {handed_in:?}");
    let ratio = waited.as_secs_f64() / handed_in.as_secs_f64();
    println!("handing in all at once was {ratio:.1} times faster");
    Ok(())
}
