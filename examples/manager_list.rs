//! A list that grows line by line: 10 processes in turn append a random number.
//!
//! Prints the list after each process, one item longer than the line before.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};

use multiproc::{ListProxy, Manager, Process};

fn append(list: ListProxy<u64>) {
    let number = RandomState::new().hash_one(std::process::id()) % 100;
    list.push(number).unwrap();
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let manager = Manager::start()?;
    let list = manager.list::<u64>()?;
    for turn in 1..=10 {
        Process::new(append, list.clone()).start()?.join()?;
        println!("{:?}", list.to_vec()?);
        assert_eq!(list.len()?, turn);
    }
    Ok(())
}
