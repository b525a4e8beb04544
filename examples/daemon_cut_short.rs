//! Prints the first line of a daemon that has three seconds of work, and not its last: the parent is
//! done after one.

use std::error::Error;
use std::thread;

use multiproc::Process;
use multiproc_examples::pause;

fn work() {
    println!("daemon: begins three seconds of work");
    thread::sleep(pause(3.0));
    println!("daemon: done (nobody will read this)");
}

fn main() -> Result<(), Box<dyn Error>> {
    Process::call(work).daemon(true).start()?;
    thread::sleep(pause(1.0));
    println!("parent: done");
    Ok(())
}
