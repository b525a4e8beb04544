//! Prints A, B and C as one process puts them into a queue, and, when that has ended, as another
//! takes them out until the queue is empty.

use std::error::Error;
use std::thread;
use std::time::Duration;

use multiproc::{Process, SimpleQueue, TaskFailure};

fn write(queue: SimpleQueue<char>) -> Result<(), TaskFailure> {
    for letter in ['A', 'B', 'C'] {
        println!("put {letter}");
        queue.put(letter)?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn read(queue: SimpleQueue<char>) -> Result<String, TaskFailure> {
    let mut text = String::new();
    loop {
        match queue.try_get() {
            Ok(letter) => {
                println!("get {letter}");
                text.push(letter);
            }
            Err(error) if error.is_empty() => return Ok(text),
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let queue = SimpleQueue::new()?;
    Process::new(write, queue.clone()).start()?.join()??;
    // The writer is gone; what it put is not.
    let text = Process::new(read, queue).start()?.join()??;
    println!("all of {text:?} arrived");
    assert_eq!(text, "ABC");
    Ok(())
}
