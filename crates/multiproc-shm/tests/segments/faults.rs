//! Rows of the fault matrix that are about memory with a name, and about sizes that change.

use std::fs::File;
use std::os::unix::fs::{FileExt, chown, symlink};

use multiproc_shm::{ListItem, ShareableList, SharedMemory, family};

use crate::Name;

fn path(name: &Name) -> String {
    format!("/dev/shm/{}", name.0)
}

fn file(name: &Name) -> File {
    File::options()
        .read(true)
        .write(true)
        .open(path(name))
        .expect("our file")
}

#[test]
fn fault_34_nobody_changes_the_size_of_the_arena() {
    let _memory = SharedMemory::create(100).expect("memory");
    let arena = family::arena_fd().expect("an arena");
    let file = File::from(arena.try_clone_to_owned().expect("a descriptor"));
    let len = file.metadata().expect("a file").len();
    for other in [0, len - 4096, len + 4096] {
        let error = file.set_len(other).expect_err("sealed");
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::PermissionDenied,
            "{error}"
        );
    }
    assert_eq!(file.metadata().expect("a file").len(), len);
}

#[test]
fn fault_34_a_segment_that_was_cut_is_an_error_to_all_that_is_safe() {
    let (bytes, values) = (Name::new("cut"), Name::new("cut-list"));
    let memory = SharedMemory::create_named(&bytes.0, 10_000).expect("memory");
    let list = ShareableList::create_named(&values.0, ["text"]).expect("a list");
    file(&bytes).set_len(4096 + 5_000).expect("not sealed");
    file(&values).set_len(4096).expect("not sealed");
    let mut some = [0; 100];
    memory.read_at(4_900, &mut some).expect("there still");
    for offset in [4_901, 9_000] {
        let error = memory.read_at(offset, &mut some).expect_err("cut");
        assert!(
            error.is_corrupt() && error.to_string().contains("cut"),
            "{error}"
        );
        let error = memory.write_at(offset, &some).expect_err("cut");
        assert!(error.is_corrupt(), "{error}");
    }
    assert!(list.get(0).expect_err("cut").is_corrupt());
    assert!(list.set(0, 1).expect_err("cut").is_corrupt());
    drop((memory, list));
    let error = SharedMemory::open(&bytes.0).expect_err("cut");
    assert!(error.is_corrupt(), "{error}");
    let error = ShareableList::open(&values.0).expect_err("cut");
    assert!(error.is_corrupt(), "{error}");
}

#[test]
fn fault_37_what_is_no_segment_of_this_version_is_not_opened() {
    let name = Name::new("version");
    drop(SharedMemory::create_named(&name.0, 100).expect("memory"));
    let refused = |what: &str| {
        let error = SharedMemory::open(&name.0).expect_err(what);
        assert!(error.is_incompatible(), "{what}: {error:?}");
        assert!(error.to_string().contains(what), "{what}: {error}");
        assert!(
            error.to_string().contains("a segment of layout 1"),
            "{error}"
        );
    };
    // Its eighth byte is the version.
    for version in [0, 2, 255] {
        file(&name).write_all_at(&[version], 7).expect("our file");
        refused(&format!("one of layout {version}"));
    }
    std::fs::write(path(&name), vec![0xAB; 5000]).expect("our file");
    refused("[ab, ab, ");
    std::fs::write(path(&name), b"short").expect("our file");
    refused("a file of 5 bytes");
    SharedMemory::unlink(&name.0).expect("our file");
    symlink("/proc/self/exe", path(&name)).expect("a free name");
    refused("a symbolic link");
    SharedMemory::unlink(&name.0).expect("our link");
    std::fs::create_dir(path(&name)).expect("a free name");
    refused("no file");
    assert!(SharedMemory::unlink(&name.0).is_err());
    std::fs::remove_dir(path(&name)).expect("ours");
}

#[test]
fn fault_37_a_file_of_another_user_is_not_opened() {
    let name = Name::new("user");
    drop(SharedMemory::create_named(&name.0, 100).expect("memory"));
    if let Err(error) = chown(path(&name), Some(65_534), None) {
        return println!("left out: giving a file to another user: {error}");
    }
    let error = SharedMemory::open(&name.0).expect_err("another user's");
    assert!(error.to_string().contains("another user"), "{error}");
}

#[test]
fn fault_37_a_list_of_another_layout_is_not_opened() {
    let name = Name::new("layout");
    drop(ShareableList::create_named(&name.0, [ListItem::from(1)]).expect("a list"));
    // The list's own version is the seventh byte of its content.
    file(&name).write_all_at(&[2], 4096 + 6).expect("our file");
    let error = ShareableList::open(&name.0).expect_err("another version");
    assert!(error.is_incompatible(), "{error}");
}
