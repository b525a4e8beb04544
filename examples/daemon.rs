//! Prints a line per second of a daemon and of another child, and stops the daemon with the parent
//! after five: the other child's last line comes after the parent's.

use std::error::Error;
use std::thread;

use multiproc::Process;
use multiproc_examples::pause;

fn tick() {
    for second in 1.. {
        println!("daemon: second {second}");
        thread::sleep(pause(1.0));
    }
}

fn work() {
    println!("worker: ten seconds of work");
    thread::sleep(pause(10.0));
    println!("worker: done, though the parent had nothing more to do");
}

fn main() -> Result<(), Box<dyn Error>> {
    Process::call(tick).daemon(true).start()?;
    Process::call(work).start()?;
    thread::sleep(pause(5.0));
    // Now the daemon ends, and the worker is waited for.
    println!("parent: done");
    Ok(())
}
