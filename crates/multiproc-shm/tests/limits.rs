//! Limits are errors that say what to do, and leave nothing behind.
//!
//! A limit belongs to a process, so each test runs this program again with one.

use std::process::Command;

use multiproc_shm::{Kind, Object, family};

/// Runs `case` in a process of its own, started by the shell after `limit`.
fn in_a_limited_process(limit: &str, arena_max: Option<&str>) -> String {
    let program = std::env::current_exe().expect("this program");
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{limit} exec \"$0\" --exact case --nocapture"));
    shell
        .arg(program)
        .env("LIMITED", "1")
        .env_remove("MULTIPROC_ARENA_MAX");
    if let Some(bytes) = arena_max {
        shell.env("MULTIPROC_ARENA_MAX", bytes);
    }
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What happens in such a process; nothing when run by itself.
#[test]
fn case() {
    if std::env::var_os("LIMITED").is_none() {
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

#[test]
fn an_arena_at_its_limit_says_which_and_goes_on_after_a_drop() {
    let text = in_a_limited_process("", Some("33554432"));
    assert!(
        text.contains("MULTIPROC_ARENA_MAX") && text.contains("32 MiB"),
        "{text}"
    );
    assert!(!text.contains("after 0 objects"), "{text}");
}

#[test]
fn a_file_size_limit_too_small_for_an_arena_is_named() {
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
