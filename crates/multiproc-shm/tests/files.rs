//! Parcels own open files: they can be loaded anywhere and again, they end with the parcel, and
//! nobody's death leaves one open.
//!
//! Each test looks at the descriptors of the whole process, so each has it to itself.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Forked, alone, kills};
use multiproc_shm::{Kind, Object, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_sys::{poll, testing as raw};
use multiproc_wire::{Fd, OpenFile, Parcel, codec};
use serde::de::DeserializeOwned;

const LIMIT: Duration = Duration::from_secs(30);

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Runs `test` and waits until as many descriptors are open as before: the exchange lets go in its
/// own time.
fn leaves_no_descriptor(test: impl FnOnce()) {
    alone(|| {
        // The exchange itself stays open from the first member on.
        assert!(testing::fork(|| ()).join());
        let before = descriptors();
        test();
        let until = Instant::now() + LIMIT;
        while descriptors() > before {
            assert!(Instant::now() < until, "{} of {before}", descriptors());
            std::thread::yield_now();
        }
    });
}

fn store<T: serde::Serialize + 'static>(value: &T) -> Object {
    parcel::store(&codec::encode(value).expect("encodes")).expect("stored")
}

fn load<T: DeserializeOwned + 'static>(stored: &Object) -> T {
    parcel::with_bytes(stored, codec::decode)
        .expect("loads")
        .expect("decodes")
}

fn says(reader: &mut PipeReader, text: &str) {
    let mut bytes = vec![0; text.len()];
    reader.read_exact(&mut bytes).expect("it was written");
    assert_eq!(bytes, text.as_bytes());
}

/// That nobody has the other end any more.
fn is_at_its_end(reader: &PipeReader) {
    let ended = poll::readable(reader.as_fd(), Deadline::after(LIMIT));
    assert_eq!(ended, Ok(true));
    assert_eq!(std::io::read_to_string(reader).expect("read"), "");
}

#[test]
fn a_parcel_is_loaded_again_and_ends_with_its_files() {
    leaves_no_descriptor(|| {
        let (mut reader, writer) = pipe().expect("a pipe");
        let stored = store(&("a", Fd(writer), "b"));
        for _ in 0..3 {
            let (a, mut file, b): (String, Fd<PipeWriter>, String) = load(&stored);
            file.write_all((a + &b).as_bytes()).expect("written");
            says(&mut reader, "ab");
        }
        drop(stored);
        is_at_its_end(&reader);
    });
}

#[test]
fn files_and_objects_keep_their_places() {
    leaves_no_descriptor(|| {
        let object = Object::create(Kind::Plain, 7, 64, |_| {}).expect("an object");
        let (mut reader, writer) = pipe().expect("a pipe");
        let fd = || Fd(writer.try_clone().expect("a copy"));
        type All = Vec<(Option<Object>, Option<Fd<PipeWriter>>)>;
        let all: All = vec![
            (None, Some(fd())),
            (Some(object.clone()), None),
            (Some(object.clone()), Some(fd())),
            (None, Some(fd())),
        ];
        let stored = store(&all);
        drop((all, writer));
        let child = testing::fork(|| {
            let mut all: All = load(&stored);
            for (object, file) in &mut all {
                assert!(object.as_ref().is_none_or(|object| object.tag() == 7));
                if let Some(file) = file {
                    file.write_all(b"x").expect("written");
                }
            }
        });
        assert!(child.join());
        says(&mut reader, "xxx");
        drop(stored);
        is_at_its_end(&reader);
    });
}

#[test]
fn a_member_stores_and_another_loads_when_the_first_is_gone() {
    leaves_no_descriptor(|| {
        let (mut reader, writer) = pipe().expect("a pipe");
        let place = multiproc_shm::Outbox::create().expect("an outbox");
        let (theirs, end) = (place.clone(), writer.try_clone().expect("a copy"));
        let maker = testing::fork(move || {
            theirs.fill(&store(&Fd(end))).expect("filled");
        });
        assert!(maker.join());
        drop(writer);
        let theirs = place.clone();
        let user = testing::fork(move || {
            let stored = theirs.content().expect("readable").expect("filled");
            load::<Fd<PipeWriter>>(&stored)
                .write_all(b"hi")
                .expect("written");
        });
        assert!(user.join());
        says(&mut reader, "hi");
        drop(place);
        is_at_its_end(&reader);
    });
}

#[test]
fn a_thousand_files_in_one_parcel() {
    const MANY: usize = 1000;
    leaves_no_descriptor(|| {
        let (mut reader, writer) = pipe().expect("a pipe");
        let file: Arc<OpenFile> = Arc::new(OpenFile::new(OwnedFd::from(writer)));
        let parcel = Parcel {
            bytes: vec![1, 2, 3],
            attachments: (0..MANY).map(|_| Arc::clone(&file) as _).collect(),
        };
        let stored = parcel::store(&parcel).expect("stored");
        drop((parcel, file));
        let child = testing::fork(|| {
            let parcel = parcel::load(&stored).expect("loads");
            assert_eq!(
                (parcel.bytes.as_slice(), parcel.attachments.len()),
                ([1, 2, 3].as_slice(), MANY)
            );
            for file in parcel.attachments {
                let file = file.downcast_ref::<OpenFile>().expect("an open file");
                let copy = file.as_fd().try_clone_to_owned().expect("a copy");
                PipeWriter::from(copy).write_all(b".").expect("written");
            }
        });
        assert!(child.join());
        says(&mut reader, &".".repeat(MANY));
        drop(stored);
        is_at_its_end(&reader);
    });
}

/// Stores or loads for ever, whichever is asked.
fn member(stored: &Object, end: &PipeWriter, loads: bool) -> Forked {
    let (stored, end) = (stored.clone(), end.try_clone().expect("a copy"));
    testing::fork(move || {
        loop {
            if loads {
                drop(load::<(u8, Fd<PipeWriter>)>(&stored));
            } else {
                drop(store(&(2_u8, Fd(end.try_clone().expect("a copy")))));
            }
        }
    })
}

#[test]
fn members_killed_while_they_store_and_load_leave_no_file_open() {
    leaves_no_descriptor(|| {
        let mut random = Chance::new();
        let (mut reader, writer) = pipe().expect("a pipe");
        let stored = store(&(1_u8, Fd(writer.try_clone().expect("a copy"))));
        for kill in 0..kills(300) {
            let child = member(&stored, &writer, kill % 2 == 0);
            random.moment(Duration::from_micros(1500));
            child.kill();
            // The exchange answers whoever is left, and its own process.
            let (one, mut file): (u8, Fd<PipeWriter>) = load(&stored);
            file.write_all(&[one]).expect("written");
            says(&mut reader, "\u{1}");
        }
        drop((stored, writer));
        is_at_its_end(&reader);
    });
}

/// Runs `case` of this program as the root of a family of its own, after the shell's `limit`.
fn as_a_root_of_its_own(case: &str, limit: &str) -> String {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{limit} exec \"$0\" --exact {case} --nocapture"))
        .arg(std::env::current_exe().expect("this program"))
        .env("CASE", case);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn is_case(case: &str) -> bool {
    std::env::var_os("CASE").is_some_and(|asked| asked == case)
}

#[test]
fn a_root_that_is_gone_is_named() {
    let text = as_a_root_of_its_own("case_gone", "");
    assert!(
        text.contains("get: the family's first process has ended"),
        "{text}"
    );
    assert!(
        text.contains("put: the family's first process has ended"),
        "{text}"
    );
    assert!(text.contains("the file is closed"), "{text}");
}

/// A root that ends while a member of its family lives on.
#[test]
fn case_gone() {
    if !is_case("case_gone") {
        return;
    }
    let (reader, writer) = pipe().expect("a pipe");
    let (alive, root) = pipe().expect("a pipe");
    let stored = store(&Fd(writer));
    let _lives_on = testing::fork_unseated(|id| {
        multiproc_shm::family::take_seat(id).expect("our seat");
        // Raw forks have all descriptors: the end of the pipe comes with the root's alone.
        drop(root);
        is_at_its_end(&alive);
        let error = parcel::load(&stored).expect_err("the root is gone");
        println!("get: {error}");
        let file = codec::encode(&Fd(reader.try_clone().expect("a copy"))).expect("encodes");
        let error = parcel::store(&file).expect_err("the root is gone");
        println!("put: {error}");
        is_at_its_end(&reader);
        println!("the file is closed");
    });
    raw::exit_now(0);
}

#[test]
fn fault_43_no_descriptor_free_loses_no_file() {
    let text = as_a_root_of_its_own("case_full", "ulimit -n 64;");
    assert!(text.contains("close some and try again"), "{text}");
    assert!(text.contains("first process"), "{text}");
    assert!(text.contains("all is well"), "{text}");
}

fn take_all_descriptors() -> Vec<OwnedFd> {
    let end = pipe().expect("room for one").0;
    let mut taken = vec![OwnedFd::from(end)];
    while let Ok(copy) = taken[0].try_clone() {
        taken.push(copy);
    }
    taken
}

/// A root, and then a member of it, without a free descriptor.
#[test]
fn case_full() {
    if !is_case("case_full") {
        return;
    }
    let (reader, writer) = pipe().expect("a pipe");
    let (mut told, mut tell) = pipe().expect("a pipe");
    let (mut hear, mut answer) = pipe().expect("a pipe");
    let many: Vec<_> = (0..10)
        .map(|_| Fd(writer.try_clone().expect("a copy")))
        .collect();
    let stored = store(&many);
    drop(many);
    let member = testing::fork(|| {
        says(&mut told, "root is full");
        assert_eq!(
            parcel::load(&stored)
                .expect("by the spare ones")
                .attachments
                .len(),
            10
        );
        let file = codec::encode(&Fd(writer.try_clone().expect("a copy"))).expect("encodes");
        let error = parcel::store(&file).expect_err("the root has no room");
        assert!(error.is_limit(), "{error:?}");
        println!("{error}");
        assert_eq!(
            parcel::load(&stored).expect("as before").attachments.len(),
            10
        );
        answer.write_all(b"done").expect("written");
        says(&mut told, "root has room");
        drop(parcel::store(&file).expect("there is room"));
    });
    let taken = take_all_descriptors();
    tell.write_all(b"root is full").expect("written");
    says(&mut hear, "done");
    drop(taken);
    tell.write_all(b"root has room").expect("written");
    assert!(member.join());

    // Now this process, with fewer than it needs.
    let mut taken = take_all_descriptors();
    for _ in 0..10 {
        let error = parcel::load(&stored).expect_err("no room");
        assert!(error.is_too_many_files(), "{error:?}");
        println!("{error}");
        taken.pop();
    }
    // Each that got some has given them back, so that now there is room for all.
    assert_eq!(parcel::load(&stored).expect("room").attachments.len(), 10);
    drop((taken, writer, stored));
    is_at_its_end(&reader);
    println!("all is well");
}
