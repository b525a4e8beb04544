//! Prints how a queue of capacity 3 fills up, refuses a fourth item at once and after a time, and is
//! emptied without waiting.

use std::error::Error;
use std::time::{Duration, Instant};

use multiproc::Queue;

fn main() -> Result<(), Box<dyn Error>> {
    let queue = Queue::bounded(3)?;
    for name in ["one", "two"] {
        queue.put(name.to_owned())?;
    }
    println!(
        "full with {} of {}: {}",
        queue.len(),
        queue.capacity(),
        queue.is_full()
    );
    queue.put("three".to_owned())?;
    println!(
        "full with {} of {}: {}",
        queue.len(),
        queue.capacity(),
        queue.is_full()
    );

    let begin = Instant::now();
    match queue.put_timeout("four".to_owned(), Duration::from_millis(50)) {
        Err(error) if error.is_timed_out() => {
            println!(
                "put for {} ms: {error}",
                begin.elapsed().as_millis() / 10 * 10
            );
        }
        other => panic!("there was no room: {other:?}"),
    }
    match queue.try_put("four".to_owned()) {
        // The item comes back with the refusal.
        Err(error) if error.is_full() => {
            println!("put at once: {error}");
            println!("back: {}", error.into_inner());
        }
        other => panic!("there was no room: {other:?}"),
    }

    println!("{} items:", queue.len());
    loop {
        match queue.try_get() {
            Ok(item) => println!("  {item}"),
            Err(error) if error.is_empty() => break println!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
