//! Prints the process id of the parent and of two children, each made from a value of one type with
//! its own two fields, and what their work came to.

use std::error::Error;
use std::thread;

use multiproc::{Process, Run, current_process};
use multiproc_examples::pause;
use serde::{Deserialize, Serialize};

/// Work that knows what it needs.
#[derive(Serialize, Deserialize)]
struct Greeting {
    whom: String,
    times: usize,
}

impl Run for Greeting {
    type Output = usize;

    fn run(self) -> usize {
        let me = current_process();
        for _ in 0..self.times {
            println!("{} (process {}): hello, {}", me.name(), me.pid(), self.whom);
            thread::sleep(pause(1.0));
        }
        self.whom.len() * self.times
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("parent: process {}", std::process::id());
    let greet = |whom: &str, times| {
        let whom = whom.to_owned();
        Process::from_task(Greeting { whom, times }).start()
    };
    let (first, second) = (greet("world", 2)?, greet("moon", 3)?);
    println!("letters said: {} and {}", first.join()?, second.join()?);
    Ok(())
}
