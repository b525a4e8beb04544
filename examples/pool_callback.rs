//! Prints the results of ten tasks as they come, by a callback in this process, and at the end how
//! many there were. `join` waits for the callbacks, too.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use multiproc::Pool;

fn add_hundred(i: u64) -> u64 {
    sleep(Duration::from_millis(10 * (i % 3)));
    assert!(i != 7, "I do not like 7");
    i + 100
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(3)?;
    let count = Arc::new(AtomicU32::new(0));
    for i in 0..10 {
        let count = Arc::clone(&count);
        pool.apply_async(add_hundred, i)
            .callback(move |result| {
                println!("callback in process {}: {result}", std::process::id());
                count.fetch_add(1, Ordering::Relaxed);
            })
            .error_callback(move |error| println!("no result for {i}: {error}"));
    }
    pool.close();
    pool.join()?;
    println!("{} results", count.load(Ordering::Relaxed));
    Ok(())
}
