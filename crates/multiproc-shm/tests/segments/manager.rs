//! Managers take the names away, however they end.

use multiproc_shm::testing::{self, alone};
use multiproc_shm::{ListItem, SharedMemory, SharedMemoryManager};
use multiproc_sys::testing as raw;

use crate::{descriptors, exists, wait_until};

/// Names from a child that manages them: written by it into memory that both have.
fn tell(memory: &SharedMemory, index: usize, name: &str) {
    memory
        .write_at(index * 64, name.as_bytes())
        .expect("room for a name");
}

fn told(memory: &SharedMemory, index: usize) -> String {
    let mut bytes = [0; 64];
    memory.read_at(index * 64, &mut bytes).expect("in bounds");
    let name = bytes.iter().copied().take_while(|&byte| byte != 0);
    String::from_utf8(name.collect()).expect("a text")
}

/// Manages a segment and a list, says their names, and then nothing for ever.
fn manage_and_wait(names: &SharedMemory) -> ! {
    let manager = SharedMemoryManager::new();
    let memory = manager.shared_memory(100).expect("memory");
    let list = manager.shareable_list([1, 2]).expect("a list");
    tell(names, 1, list.name().expect("it has one"));
    tell(names, 0, memory.name().expect("it has one"));
    loop {
        std::thread::park();
    }
}

#[test]
fn a_manager_takes_its_names_away_when_dropped_and_leaves_the_memory() {
    alone(|| {
        let before = descriptors();
        let manager = SharedMemoryManager::new();
        let memory = manager.shared_memory(100).expect("memory");
        let list = manager
            .shareable_list([ListItem::from("a"), ListItem::None])
            .expect("a list");
        let names = [memory.name(), list.name()].map(|name| name.expect("it has one").to_owned());
        assert!(names.iter().all(|name| exists(name)));
        // Another manager has nothing to do with them.
        drop(SharedMemoryManager::new());
        assert!(names.iter().all(|name| exists(name)));
        manager.free();
        assert!(!names.iter().any(|name| exists(name)));
        list.set(1, 5).expect("the memory is there");
        assert_eq!(list.get_as::<i64>(1), Ok(5));
        drop((memory, list));
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn a_panic_takes_the_names_away() {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let manager = SharedMemoryManager::new();
        let memory = manager.shared_memory(100).expect("memory");
        tell.send(memory.name().expect("it has one").to_owned())
            .expect("a listener");
        panic!("as the test wants it");
    });
    assert!(thread.join().is_err());
    assert!(!exists(&told.recv().expect("a name")));
}

#[test]
fn a_name_unlinked_and_given_to_another_is_left_alone() {
    let manager = SharedMemoryManager::new();
    let memory = manager.shared_memory(100).expect("memory");
    let name = memory.name().expect("it has one").to_owned();
    SharedMemory::unlink(&name).expect("it is there");
    let _other = SharedMemory::create_named(&name, 5).expect("free again");
    drop(manager);
    assert!(exists(&name));
    // Not managed, though it has such a name.
    drop(SharedMemoryManager::new());
    assert!(exists(&name));
    SharedMemory::unlink(&name).expect("it is there");
}

#[test]
fn the_family_takes_away_what_a_killed_member_managed() {
    alone(|| {
        let names = SharedMemory::create(128).expect("memory");
        let theirs = names.clone();
        let child = testing::fork(move || manage_and_wait(&theirs));
        wait_until("the child's names", || !told(&names, 0).is_empty());
        let list = multiproc_shm::ShareableList::open(&told(&names, 1)).expect("it is there");
        child.kill();
        assert!(!exists(&told(&names, 0)) && !exists(&told(&names, 1)));
        assert_eq!(list.get_as::<i64>(1), Ok(2));
    });
}

#[test]
fn the_next_manager_takes_away_what_a_killed_stranger_managed() {
    alone(|| {
        let names = SharedMemory::create(128).expect("memory");
        let pid = match raw::fork().expect("a child") {
            0 => manage_and_wait(&names),
            pid => pid,
        };
        wait_until("the child's names", || !told(&names, 0).is_empty());
        drop(SharedMemoryManager::new());
        assert!(
            exists(&told(&names, 0)) && exists(&told(&names, 1)),
            "it lives"
        );
        raw::kill(pid).expect("our child");
        let _killed = raw::wait(pid).expect("our child");
        assert!(exists(&told(&names, 0)), "nobody has looked yet");
        drop(SharedMemoryManager::new());
        assert!(!exists(&told(&names, 0)) && !exists(&told(&names, 1)));
    });
}

#[test]
fn a_forked_child_does_not_take_the_names_away() {
    alone(|| {
        let manager = SharedMemoryManager::new();
        let memory = manager.shared_memory(100).expect("memory");
        let inherited = &manager;
        let child = testing::fork(|| {
            // SAFETY: a bitwise copy is what a fork makes; the original is never used in this process.
            drop(unsafe { std::ptr::read(inherited) });
        });
        assert!(child.join());
        assert!(exists(memory.name().expect("it has one")));
    });
}
