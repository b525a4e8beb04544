//! A manager on TCP for two programs that share an address and a key, but no memory.
//!
//!     manager_remote serve FOLDER    makes the queues, puts in 1 to 5, prints their squares
//!     manager_remote work FOLDER     connects, and squares what comes until the queue is closed
//!     manager_remote                 runs both as two programs, and fails if one does
//!
//! The address and the key stand in files that only this user can read.

use std::error::Error;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use multiproc::{Key, Manager, QueueProxy};

type Done = Result<(), Box<dyn Error + Send + Sync>>;

fn serve(folder: &Path) -> Done {
    let key = Key::random();
    let manager = Manager::builder()
        .address("tcp:127.0.0.1:0")
        .authkey(&key)
        .start()?;
    let (numbers, squares) = (manager.queue::<u64>(5)?, manager.queue::<u64>(5)?);
    manager.names().set("numbers", numbers.clone())?;
    manager.names().set("squares", squares.clone())?;
    fs::write(folder.join("key"), key.expose())?;
    // The other program looks for this file, so it comes last, and whole.
    fs::write(folder.join("address.new"), manager.address().to_string())?;
    fs::rename(folder.join("address.new"), folder.join("address"))?;

    for number in 1..=5 {
        numbers.put(number)?;
    }
    for number in 1..=5 {
        let square = squares.get_timeout(Duration::from_secs(60))?;
        println!("{number} squared is {square}");
        assert_eq!(square, number * number);
    }
    numbers.close()?;
    Ok(())
}

fn work(folder: &Path) -> Done {
    while !folder.join("address").exists() {
        thread::sleep(Duration::from_millis(5));
    }
    let address = fs::read_to_string(folder.join("address"))?;
    let manager = Manager::connect(&address, &fs::read(folder.join("key"))?)?;
    println!("process {} works for {address}", std::process::id());
    let find = |name| manager.names().get::<QueueProxy<u64>>(name);
    let (numbers, squares) = (find("numbers")?, find("squares")?);
    let (numbers, squares) = (numbers.ok_or("no numbers")?, squares.ok_or("no squares")?);
    // The other side may end its server as soon as it has the last square.
    while let Ok(number) = numbers.get() {
        squares.put(number * number)?;
    }
    Ok(())
}

fn both() -> Done {
    let folder = env::temp_dir().join(format!("manager-remote-{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&folder)?;
    let program = env::current_exe()?;
    let run = |role| Command::new(&program).arg(role).arg(&folder).spawn();
    let programs = [run("serve")?, run("work")?];
    let ended = programs.map(|mut program| program.wait());
    fs::remove_dir_all(folder)?;
    for status in ended {
        assert!(status?.success(), "a program failed");
    }
    Ok(())
}

fn main() -> Done {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments
        .iter()
        .map(|text| text.to_str())
        .collect::<Vec<_>>()[..]
    {
        [Some("serve"), Some(folder)] => serve(Path::new(folder)),
        [Some("work"), Some(folder)] => work(Path::new(folder)),
        [] => both(),
        _ => Err("usage: manager_remote [serve FOLDER | work FOLDER]".into()),
    }
}
