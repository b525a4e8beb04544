//! Prints both branches of a fork with their process ids, and a random number drawn before the start:
//! the same in a copy of this process, another one where the program is run anew.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use multiproc::{Process, StartMethod, current_process, parent_process};

/// Drawn at the first use in each process.
fn number() -> u64 {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    *NUMBER.get_or_init(|| RandomState::new().hash_one(()) % 1_000_000)
}

fn report() -> u64 {
    let (me, parent) = (current_process(), parent_process().expect("a child"));
    println!(
        "{}: process {}, child of {}",
        me.name(),
        me.pid(),
        parent.pid()
    );
    number()
}

fn main() -> Result<(), Box<dyn Error>> {
    let drawn = number();
    println!("parent: process {}, has drawn {drawn}", std::process::id());

    // Before other threads are there. A copy has what this process has, captures included.
    let copy = Process::fork(move || {
        println!("copy: process {} sees {drawn}", std::process::id());
        number()
    });
    let copy = copy.start()?;
    println!("parent: goes on; its copy is process {}", copy.pid());
    let same = copy.join()?;

    let anew = |method| Process::call(report).start_method(method).start();
    let spawned = anew(StartMethod::Spawn)?.join()?;
    let served = anew(StartMethod::ForkServer)?.join()?;
    println!("drawn: here {drawn}, copy {same}, spawned {spawned}, fork server {served}");
    assert_eq!(same, drawn);
    Ok(())
}
