//! Bytes: bounds, names, travelling.

use multiproc_shm::testing::{self, alone};
use multiproc_shm::{Object, ShareableList, SharedMemory, parcel};
use multiproc_wire::codec;

use crate::{Name, descriptors};

fn first_byte(memory: &SharedMemory) -> u8 {
    let mut byte = [0];
    memory.read_at(0, &mut byte).expect("in bounds");
    byte[0]
}

#[test]
fn bytes_are_zero_then_what_was_written_and_no_further() {
    alone(|| {
        let name = Name::new("bounds");
        for memory in [
            SharedMemory::create(101).expect("memory"),
            SharedMemory::create_named(&name.0, 101).expect("a free name"),
        ] {
            assert_eq!((memory.len(), memory.is_empty()), (101, false));
            let mut all = [9; 101];
            memory.read_at(0, &mut all).expect("in bounds");
            assert_eq!(all, [0; 101]);
            memory.write_at(98, &[1, 2, 3]).expect("in bounds");
            memory.read_at(95, &mut all[..6]).expect("in bounds");
            assert_eq!(all[..6], [0, 0, 0, 1, 2, 3]);
            memory.write_at(101, &[]).expect("nothing is in bounds");
            for offset in [99, 101, 102, usize::MAX] {
                let error = memory.write_at(offset, &[1, 2, 3]).expect_err("beyond");
                assert!(error.is_out_of_bounds(), "{error}");
                assert!(error.to_string().contains("101 bytes"), "{error}");
                let error = memory.read_at(offset, &mut all[..3]).expect_err("beyond");
                assert!(error.is_out_of_bounds(), "{error}");
            }
            // SAFETY: nobody else has this memory, and each slice is gone before the next is made.
            unsafe {
                memory.as_mut_slice()[7] = 70;
                assert_eq!(memory.as_slice()[7], 70);
                assert_eq!(memory.as_slice().len(), 101);
                assert!(memory.as_slice().as_ptr().addr().is_multiple_of(16));
            }
            memory.read_at(7, &mut all[..1]).expect("in bounds");
            assert_eq!(all[0], 70);
        }
    });
}

#[test]
fn anonymous_memory_travels_in_a_parcel() {
    alone(|| {
        let memory = SharedMemory::create(1000).expect("memory");
        memory.write_at(0, &[42]).expect("in bounds");
        let stored =
            parcel::store(&codec::encode(&(1u8, memory)).expect("encodes")).expect("stored");
        let loaded = parcel::load(&stored).expect("loads");
        let (_, memory): (u8, SharedMemory) =
            codec::decode(&loaded.bytes, &loaded.attachments).expect("decodes");
        assert_eq!((memory.len(), memory.name()), (1000, None));
        assert_eq!(first_byte(&memory), 42);
    });
}

#[test]
fn anonymous_memory_does_not_arrive_as_something_else_or_longer_than_it_is() {
    alone(|| {
        let memory = SharedMemory::create(100).expect("memory");
        let parcel = codec::encode(&memory).expect("encodes");
        let list = codec::decode::<ShareableList>(&parcel.bytes, &parcel.attachments);
        let error = list.expect_err("no list").to_string();
        assert!(error.contains("a shareable list"), "{error}");
        // Its length is the last of the bytes.
        let mut bytes = parcel.bytes.clone();
        assert_eq!(bytes.pop(), Some(100));
        bytes.extend([0xff, 0xff, 0x03]);
        let error = codec::decode::<SharedMemory>(&bytes, &parcel.attachments);
        assert!(error.expect_err("too long").to_string().contains("corrupt"));
        let object = codec::encode(
            &Object::create(multiproc_shm::Kind::Plain, 5, 200, |_| {}).expect("one"),
        );
        let error =
            codec::decode::<SharedMemory>(&parcel.bytes, &object.expect("encodes").attachments);
        assert!(
            error
                .expect_err("another object")
                .to_string()
                .contains("expected shared memory")
        );
    });
}

#[test]
fn a_name_is_taken_until_it_is_unlinked_and_never_by_a_drop() {
    let name = Name::new("taken");
    let error = SharedMemory::open(&name.0).expect_err("nobody made it");
    assert!(error.is_not_found(), "{error}");
    let made = SharedMemory::create_named(&name.0, 10).expect("a free name");
    assert_eq!(made.name(), Some(&name.0[..]));
    let error = SharedMemory::create_named(&name.0, 10).expect_err("taken");
    assert!(
        error.is_exists() && error.to_string().contains(&name.0),
        "{error}"
    );
    let opened = SharedMemory::open(&name.0).expect("it is there");
    opened.write_at(0, &[5]).expect("in bounds");
    drop((opened, made));
    assert!(name.exists());
    let opened = SharedMemory::open(&name.0).expect("it is there still");
    assert_eq!(first_byte(&opened), 5);
    SharedMemory::unlink(&name.0).expect("it was there");
    let error = SharedMemory::unlink(&name.0).expect_err("it is not there any more");
    assert!(error.is_not_found(), "{error}");
    assert_eq!(first_byte(&opened), 5);
    // The name is free, and another segment is another.
    let other = SharedMemory::create_named(&name.0, 20).expect("free again");
    assert_eq!((first_byte(&other), other.len(), opened.len()), (0, 20, 10));
    let again = SharedMemory::open(&name.0).expect("the other");
    assert_eq!(again.len(), 20);
}

#[test]
fn a_name_that_cannot_be_one_is_refused_with_the_reason() {
    let long = "x".repeat(256);
    for (name, reason) in [
        ("", "is empty"),
        (".", "a directory"),
        ("..", "a directory"),
        ("/name", "slash"),
        ("a/b", "slash"),
        ("nul\0", "NUL"),
        (&long[..], "255"),
    ] {
        let error = SharedMemory::create_named(name, 10).expect_err(reason);
        assert!(
            error.is_invalid() && error.to_string().contains(reason),
            "{error}"
        );
        let error = SharedMemory::open(name).expect_err(reason);
        assert!(
            error.is_invalid() && error.to_string().contains(reason),
            "{error}"
        );
        let error = SharedMemory::unlink(name).expect_err(reason);
        assert!(error.is_invalid(), "{error}");
    }
    let error = SharedMemory::create(0).expect_err("no bytes");
    assert!(error.is_invalid(), "{error}");
    let name = Name::new("empty");
    let error = SharedMemory::create_named(&name.0, 0).expect_err("no bytes");
    assert!(error.is_invalid() && !name.exists(), "{error}");
    let error = SharedMemory::create_named(&name.0, usize::MAX).expect_err("too many bytes");
    assert!(!name.exists(), "{error}");
}

#[test]
fn named_memory_travels_as_its_name() {
    let name = Name::new("travel");
    let memory = SharedMemory::create_named(&name.0, 50).expect("a free name");
    let parcel = codec::encode(&memory).expect("encodes");
    assert!(parcel.attachments.is_empty());
    let arrive = || codec::decode::<SharedMemory>(&parcel.bytes, &[]);
    // Known here, whatever becomes of the name.
    SharedMemory::unlink(&name.0).expect("it was there");
    memory.write_at(0, &[8]).expect("in bounds");
    assert_eq!(first_byte(&arrive().expect("it is open here")), 8);
    drop(memory);
    let error = arrive().expect_err("gone");
    assert!(error.to_string().contains("is gone"), "{error}");
    let _other = SharedMemory::create_named(&name.0, 50).expect("free again");
    let error = arrive().expect_err("the name belongs to another");
    assert!(error.to_string().contains("is gone"), "{error}");
}

#[test]
fn named_memory_is_one_descriptor_however_often_it_is_opened() {
    alone(|| {
        let name = Name::new("one");
        let before = descriptors();
        let made = SharedMemory::create_named(&name.0, 5000).expect("a free name");
        let opened: Vec<SharedMemory> = (0..100)
            .map(|_| SharedMemory::open(&name.0).expect("it is there"))
            .collect();
        assert_eq!(descriptors(), before + 1);
        drop((made, opened));
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn two_processes_share_what_one_has_by_name_and_the_other_by_inheritance() {
    alone(|| {
        let name = Name::new("two");
        let named = SharedMemory::create_named(&name.0, 10).expect("a free name");
        let anonymous = SharedMemory::create(10).expect("memory");
        let (theirs, theirs_by) = (anonymous.clone(), name.0.clone());
        let child = testing::fork(move || {
            theirs.write_at(0, &[1]).expect("in bounds");
            let named = SharedMemory::open(&theirs_by).expect("it is there");
            named.write_at(0, &[2]).expect("in bounds");
        });
        assert!(child.join());
        assert_eq!((first_byte(&anonymous), first_byte(&named)), (1, 2));
    });
}
