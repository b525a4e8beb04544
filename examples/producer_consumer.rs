//! Prints what a producer puts into a queue each 0.3 s and what a consumer takes out, each 0.2 s, until
//! Ctrl-C ends all three processes.
//!
//! `--items N` ends by itself after N items.

use std::error::Error;
use std::time::Duration;
use std::{env, thread};

use multiproc::{Process, Queue, TaskFailure};

fn produce((queue, items): (Queue<u64>, u64)) -> Result<(), TaskFailure> {
    for item in 0..items {
        queue.put(item)?;
        println!("produced {item}");
        thread::sleep(Duration::from_millis(300));
    }
    queue.close();
    Ok(())
}

fn consume(queue: Queue<u64>) -> Result<(), TaskFailure> {
    for item in &queue {
        println!("consumed {}", item?);
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let items = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => u64::MAX,
        (Some("--items"), Some(count)) => count.parse()?,
        _ => return Err("usage: producer_consumer [--items N]".into()),
    };
    // A bound keeps a producer that is faster than its consumer from filling the memory.
    let queue = Queue::bounded(10)?;
    let producer = Process::new(produce, (queue.clone(), items)).name("producer");
    let (producer, consumer) = (
        producer.start()?,
        Process::new(consume, queue).name("consumer").start()?,
    );
    // Ctrl-C ends this process here, and its children with it.
    producer.join()??;
    consumer.join()??;
    Ok(())
}
