//! Limits are errors that say what to do, and leave nothing behind.
//!
//! A limit belongs to a process, so each test runs this program again with one.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Command;

use multiproc_shm::{Kind, Object, OpenError, SharedMemory, family};
use multiproc_sys::Errno;
use multiproc_sys::memory::SharedFile;

/// Runs the test `case` in a process of its own, started by the shell's `script`, which ends in `RUN`.
fn run(case: &str, script: &str, variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("this program");
    let run = format!("exec \"$0\" --exact {case} --nocapture");
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(script.replace("RUN", &run))
        .arg(program);
    shell.env("LIMITED", "1").env_remove("MULTIPROC_ARENA_MAX");
    shell.envs(variables.iter().copied());
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn is_limited() -> bool {
    std::env::var_os("LIMITED").is_some()
}

fn in_a_limited_process(limit: &str, arena_max: Option<&str>) -> String {
    let arena_max = arena_max.map(|bytes| ("MULTIPROC_ARENA_MAX", bytes));
    run("case", &format!("{limit} RUN"), arena_max.as_slice())
}

/// What happens in such a process; nothing when run by itself.
#[test]
fn case() {
    if !is_limited() {
        return;
    }
    let mut objects = Vec::new();
    let error = loop {
        match Object::create(Kind::Plain, 1, 100_000, |_| {}) {
            Ok(object) => objects.push(object),
            Err(error) => break error,
        }
    };
    println!("after {} objects: {error}", objects.len());
    assert!(error.is_no_space() || error.is_invalid(), "{error:?}");
    if objects.is_empty() {
        assert_eq!(family::usage(), None, "no arena is left behind");
        return;
    }
    let full = family::usage().expect("an arena").used;
    objects.clear();
    assert!(family::usage().expect("an arena").used < full);
    drop(Object::create(Kind::Plain, 1, 100_000, |_| {}).expect("there is room again"));
}

/// Fills what there is room for with named memory, and touches all of it.
#[test]
fn case_named() {
    if !is_limited() {
        return;
    }
    let name = |index: usize| format!("multiproc-limit-{}-{index}", std::process::id());
    let size = std::env::var("SIZE")
        .expect("a size")
        .parse()
        .expect("a number");
    let mut made = Vec::new();
    let error = loop {
        match SharedMemory::create_named(&name(made.len()), size) {
            Ok(memory) => made.push(memory),
            Err(error) => break error,
        }
        assert!(made.len() < 100, "there is no limit");
    };
    println!("after {} segments: {error}", made.len());
    assert!(error.is_no_space(), "{error:?}");
    let left = SharedMemory::open(&name(made.len())).expect_err("it was not made");
    assert!(left.is_not_found(), "{left}");
    for memory in &made {
        // SAFETY: nobody else knows these names, and the slice is the only one.
        unsafe { memory.as_mut_slice() }.fill(1);
    }
    // Room again, once one is gone.
    if made.pop().is_some() {
        SharedMemory::unlink(&name(made.len())).expect("it was there");
        made.push(SharedMemory::create_named(&name(made.len()), size).expect("room again"));
    }
    (0..made.len()).for_each(|index| SharedMemory::unlink(&name(index)).expect("it is there"));
}

/// Opens what another process has made without a limit.
#[test]
fn case_open() {
    if !is_limited() {
        return;
    }
    let name = std::env::var("NAME").expect("a name");
    let memory = SharedMemory::open(&name).expect("a limit is not for reading");
    memory.read_at(2 << 20, &mut [0; 10]).expect("in bounds");
    memory.write_at(1000, &[1; 10]).expect("below the limit");
    let error = memory
        .write_at(2 << 20, &[1; 10])
        .expect_err("beyond the limit");
    assert!(error.is_no_space(), "{error:?}");
    println!("{error}");
}

/// Takes `file` for an arena. The exchange beside it is never come to.
fn adopt(file: File) -> Result<(), OpenError> {
    let exchange = File::open("/dev/null").expect("there");
    family::adopt(file.into(), exchange.into())
}

/// Attaches to what is no arena.
#[test]
fn case_foreign() {
    if !is_limited() {
        return;
    }
    let long = 16 << 20;
    let name = format!("multiproc-foreign-{}", std::process::id());
    let _made = SharedMemory::create_named(&name, long).expect("room");
    let unsealed = File::options()
        .read(true)
        .write(true)
        .open(format!("/dev/shm/{name}"));
    SharedMemory::unlink(&name).expect("it was there");
    let error = adopt(unsealed.expect("our file")).expect_err("its size may change");
    assert!(
        matches!(
            error,
            OpenError::Os {
                errno: Errno::EPERM,
                ..
            }
        ),
        "{error:?}"
    );
    let plain = File::open("/proc/self/exe").expect("this program");
    let error = adopt(plain).expect_err("no memory file");
    assert!(
        matches!(
            error,
            OpenError::Os {
                errno: Errno::EINVAL,
                ..
            }
        ),
        "{error:?}"
    );

    let sealed = |magic: &[u8; 8], len: u64| {
        let file = SharedFile::create("foreign", len).expect("a memory file");
        let file = File::from(file.as_fd().try_clone_to_owned().expect("a descriptor"));
        file.write_all_at(magic, 0).expect("room");
        adopt(file).expect_err("no arena")
    };
    for (magic, len) in [
        (b"mpArena\x01", 4096),
        // It says that it is 0 bytes long.
        (b"mpArena\x01", long as u64),
        (b"mpArena\x02", long as u64),
        (b"another\0", long as u64),
    ] {
        let error = sealed(magic, len);
        let ours = magic == b"mpArena\x01";
        assert_eq!(
            (error.is_corrupt(), error.is_incompatible()),
            (ours, !ours),
            "{error}"
        );
        println!("{error}");
    }
    assert_eq!(family::usage(), None, "none of them was taken");
}

#[test]
fn fault_34_37_a_foreign_file_is_not_taken_for_an_arena() {
    let text = run("case_foreign", "RUN", &[]);
    assert!(text.contains("expected arena layout"), "{text}");
}

#[test]
fn fault_36_named_memory_beyond_a_file_size_limit() {
    // The shell counts blocks of 512 bytes: 1 MiB.
    let text = run("case_named", "ulimit -f 2048; RUN", &[("SIZE", "2000000")]);
    assert!(
        text.contains("after 0 segments") && text.contains("ulimit -f"),
        "{text}"
    );
    let name = format!("multiproc-limits-{}", std::process::id());
    let _memory = SharedMemory::create_named(&name, 3 << 20).expect("no limit here");
    let text = run("case_open", "ulimit -f 2048; RUN", &[("NAME", &name)]);
    SharedMemory::unlink(&name).expect("it is there");
    assert!(text.contains("ulimit -f"), "{text}");
}

#[test]
fn fault_36_named_memory_on_a_full_filesystem() {
    let script = "for new in 'unshare -m' 'unshare -rm'; do
            $new sh -c 'mount -t tmpfs -o size=1m none /dev/shm' 2>/dev/null &&
                exec $new sh -c 'mount -t tmpfs -o size=1m none /dev/shm && RUN' \"$0\"
        done
        echo left out: a small filesystem, as mounting is not permitted here";
    let text = run("case_named", script, &[("SIZE", "300000")]);
    println!("{text}");
    assert!(
        text.contains("after 3 segments") || text.contains("left out"),
        "{text}"
    );
    assert!(
        text.contains("/dev/shm is full") || text.contains("left out"),
        "{text}"
    );
}

#[test]
fn fault_36_an_arena_at_its_limit_says_which_and_goes_on_after_a_drop() {
    let text = in_a_limited_process("", Some("33554432"));
    assert!(
        text.contains("MULTIPROC_ARENA_MAX") && text.contains("32 MiB"),
        "{text}"
    );
    assert!(!text.contains("after 0 objects"), "{text}");
}

#[test]
fn fault_36_a_file_size_limit_too_small_for_an_arena_is_named() {
    // The shell counts blocks of 512 bytes: 1 MiB.
    let text = in_a_limited_process("ulimit -f 2048;", None);
    assert!(
        text.contains("after 0 objects") && text.contains("ulimit -f"),
        "{text}"
    );
}

#[test]
fn a_larger_file_size_limit_is_kept_to() {
    let text = in_a_limited_process("ulimit -f 65536;", None);
    assert!(
        text.contains("RLIMIT_FSIZE") && !text.contains("after 0 objects"),
        "{text}"
    );
}

#[test]
fn an_address_space_limit_is_kept_to() {
    let text = in_a_limited_process("ulimit -v 262144;", None);
    assert!(
        text.contains("RLIMIT_AS") && !text.contains("after 0 objects"),
        "{text}"
    );
}

#[test]
fn a_limit_that_is_no_number_is_refused() {
    let text = in_a_limited_process("", Some("lots"));
    assert!(text.contains("MULTIPROC_ARENA_MAX is lots"), "{text}");
}
