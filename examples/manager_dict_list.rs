//! A dict and a list shared by 10 processes.
//!
//! Prints what stands in both in the end: each process has written its number and process id into the
//! dict and appended the id to a list that began as 0, 1, 2. Fails if one of them is missing.

use std::error::Error;

use multiproc::{DictProxy, ListProxy, Manager, Process};

fn enter((number, dict, list): (u32, DictProxy<u32, u32>, ListProxy<u32>)) {
    let pid = std::process::id();
    dict.insert(number, pid).unwrap();
    list.push(pid).unwrap();
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let manager = Manager::start()?;
    let (dict, list) = (manager.dict()?, manager.list()?);
    list.extend([0, 1, 2])?;
    let processes =
        (0..10).map(|number| Process::new(enter, (number, dict.clone(), list.clone())).start());
    let processes = processes.collect::<Result<Vec<_>, _>>()?;
    processes.iter().try_for_each(Process::join)?;

    for entry in dict.iter() {
        let (number, pid) = entry?;
        println!("process {number} is {pid}");
    }
    let list = list.to_vec()?;
    println!("the list: {list:?}");
    let all_there = processes
        .iter()
        .all(|process| list.contains(&process.pid()));
    assert!(
        all_there && list.len() == 13 && dict.len()? == 10,
        "somebody is missing"
    );
    Ok(())
}
