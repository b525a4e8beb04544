//! Prints what 3 processes put into a queue that holds 5 items, and what 2 processes take out of it.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use std::{process, thread};

use multiproc::{Process, Queue, TaskFailure};

const ITEMS: u64 = 4;
const PUTTERS: u64 = 3;

/// The standard library's keys are random; that is enough for a number.
fn random(below: u64) -> u64 {
    RandomState::new().hash_one(process::id()) % below
}

fn put((queue, putter): (Queue<u64>, u64)) -> Result<(), TaskFailure> {
    for _ in 0..ITEMS {
        let number = random(100);
        queue.put(number)?;
        println!("putter {putter} puts {number}; {} wait", queue.len());
        thread::sleep(Duration::from_millis(random(20)));
    }
    Ok(())
}

fn get((queue, getter): (Queue<u64>, u64)) -> Result<u64, TaskFailure> {
    let mut count = 0;
    for number in &queue {
        println!("getter {getter} gets {}", number?);
        count += 1;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(count)
}

fn main() -> Result<(), Box<dyn Error>> {
    let queue = Queue::bounded(5)?;
    let start_getter = |n| Process::new(get, (queue.clone(), n)).start();
    let getters: Vec<_> = (1..=2).map(start_getter).collect::<Result<_, _>>()?;
    let start_putter = |n| Process::new(put, (queue.clone(), n)).start();
    let putters: Vec<_> = (1..=PUTTERS).map(start_putter).collect::<Result<_, _>>()?;
    for putter in putters {
        putter.join()??;
    }
    // Nothing more will come: the getters take what is there and are told so.
    queue.close();
    let mut count = 0;
    for getter in getters {
        count += getter.join()??;
    }
    println!("{count} numbers put, {count} got");
    assert_eq!(count, PUTTERS * ITEMS);
    Ok(())
}
