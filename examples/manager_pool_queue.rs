//! A writer task and a reader task of a pool, with a queue between them: one that a manager's server
//! holds, then one in shared memory, which needs no manager.
//!
//! Prints the letters of hello as they are put and got, twice.

use std::error::Error;

use multiproc::{Manager, Pool, Queue, QueueProxy};

fn write(queue: QueueProxy<char>) {
    for letter in "hello".chars() {
        println!("put {letter}");
        queue.put(letter).unwrap();
    }
    queue.close().unwrap();
}

fn read(queue: QueueProxy<char>) -> String {
    std::iter::from_fn(|| queue.get().ok())
        .inspect(|letter| println!("got {letter}"))
        .collect()
}

fn write_direct(queue: Queue<char>) {
    for letter in "hello".chars() {
        println!("put {letter}");
        queue.put(letter).unwrap();
    }
    queue.close();
}

fn read_direct(queue: Queue<char>) -> String {
    std::iter::from_fn(|| queue.get().ok())
        .inspect(|letter| println!("got {letter}"))
        .collect()
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = Pool::new(2)?;
    let manager = Manager::start()?;

    println!("a manager's queue:");
    let queue = manager.queue(2)?;
    let writer = pool.apply_async(write, queue.clone());
    let reader = pool.apply_async(read, queue);
    writer.get()?;
    assert_eq!(reader.get()?, "hello");

    println!("a queue in shared memory:");
    let queue = Queue::bounded(2)?;
    let writer = pool.apply_async(write_direct, queue.clone());
    let reader = pool.apply_async(read_direct, queue);
    writer.get()?;
    assert_eq!(reader.get()?, "hello");
    Ok(())
}
