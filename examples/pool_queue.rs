//! Prints the letters of "hello", put into a queue by one task of a pool and taken out by another. A
//! queue travels as an argument like any value, also one made after the pool was started.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use multiproc::{Pool, Queue};

fn write(queue: Queue<char>) {
    for letter in "hello".chars() {
        println!("writer {}: {letter}", std::process::id());
        queue.put(letter).expect("somebody reads");
        sleep(Duration::from_millis(10));
    }
    queue.close();
}

fn read(queue: Queue<char>) -> String {
    let mut text = String::new();
    while let Ok(letter) = queue.get() {
        println!("reader {}: {letter}", std::process::id());
        text.push(letter);
    }
    text
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(2)?;
    let queue = Queue::bounded(2)?;
    let writer = pool.apply_async(write, queue.clone());
    let text = pool.apply(read, queue)?;
    writer.get()?;
    assert_eq!(text, "hello");
    println!("read: {text}");
    Ok(())
}
