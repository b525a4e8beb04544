//! Prints what two processes do with the same memory: a buffer that travels, one that is opened by
//! name, and a list of values; and that no name is left in the end.

use std::error::Error;

use multiproc::{ListItem, Process, ShareableList, SharedMemory, SharedMemoryManager};

/// Each byte plus one.
fn count_up(memory: &SharedMemory) -> Result<(), Box<dyn Error>> {
    let mut bytes = vec![0; memory.len()];
    memory.read_at(0, &mut bytes)?;
    bytes.iter_mut().for_each(|byte| *byte += 1);
    Ok(memory.write_at(0, &bytes)?)
}

/// What the other process does.
fn work((buffer, name, list): (SharedMemory, String, ShareableList)) {
    count_up(&buffer).expect("the buffer came along");
    let named = SharedMemory::open(&name).expect("the name is there");
    count_up(&named).expect("the memory behind the name");
    list.set(0, "done by").expect("room for 8 bytes");
    list.set(1, std::process::id()).expect("room for a number");
}

fn main() -> Result<(), Box<dyn Error>> {
    // Frees the names it gave, whatever happens below.
    let manager = SharedMemoryManager::new();
    let named = manager.shared_memory(3)?;
    let name = named.name().expect("it was given one").to_owned();
    named.write_at(0, &[10, 20, 30])?;

    let buffer = SharedMemory::create(5)?;
    buffer.write_at(0, b"HAL!!")?;

    let list = ShareableList::new([ListItem::from("nobody"), ListItem::None])?;

    let arguments = (buffer.clone(), name.clone(), list.clone());
    let process = Process::new(work, arguments).start()?;
    let pid = process.pid();
    process.join()?;

    let mut bytes = [0; 5];
    buffer.read_at(0, &mut bytes)?;
    println!("the buffer: {}", String::from_utf8_lossy(&bytes));
    assert_eq!(&bytes, b"IBM\"\"");

    let mut bytes = [0; 3];
    named.read_at(0, &mut bytes)?;
    println!("the memory with a name: {bytes:?}");
    assert_eq!(bytes, [11, 21, 31]);

    println!("the list: {list:?}");
    assert_eq!(list.get_as::<i64>(1)?, i64::from(pid));

    manager.free();
    assert!(SharedMemory::open(&name).is_err_and(|error| error.is_not_found()));
    println!("the name is gone");
    Ok(())
}
