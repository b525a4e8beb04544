//! Prints what comes, in the order in which it comes, until all is over: results from three workers, the
//! end of each worker, one of which is killed, and a stranger who connects to this process over TCP.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::thread;

use multiproc::{Fd, Process, Queue, Waitable, wait};
use multiproc_examples::pause;

fn work((number, results): (u32, Queue<String>)) {
    for round in 1..=3 {
        thread::sleep(pause(1.0 + f64::from(number) / 4.0));
        let result = format!("result {round} of worker {number}");
        results.put(result).expect("the queue is open");
    }
}

fn call(port: u16) {
    thread::sleep(pause(2.0));
    drop(TcpStream::connect(("127.0.0.1", port)));
}

fn main() -> Result<(), Box<dyn Error>> {
    let results = Queue::bounded(8)?;
    let listener = Fd(TcpListener::bind("127.0.0.1:0")?);
    let stranger = Process::new(call, listener.local_addr()?.port()).start()?;
    let mut workers = Vec::new();
    for number in 1..=3 {
        let worker = Process::new(work, (number, results.clone()));
        workers.push(worker.name(format!("worker {number}")).start()?);
    }

    while !workers.is_empty() || !results.is_empty() {
        let mut things: Vec<&dyn Waitable> = vec![&results, &listener];
        things.extend(workers.iter().map(|worker| worker as &dyn Waitable));
        // From the last, as those that have ended are taken out of the list.
        for index in wait(&things, None)?.into_iter().rev() {
            match index {
                0 => println!("{}", results.try_get()?),
                1 => {
                    let (_, address) = listener.accept()?;
                    println!("{} connected", address.ip());
                    if let Some(worker) = workers.first() {
                        worker.kill()?;
                    }
                }
                _ => {
                    let ended = workers.remove(index - 2);
                    match ended.join() {
                        Ok(()) => println!("{} is done", ended.name()),
                        Err(error) => println!("{}: {error}", ended.name()),
                    }
                }
            }
        }
    }
    stranger.join()?;
    Ok(())
}
