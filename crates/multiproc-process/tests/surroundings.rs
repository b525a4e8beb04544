//! What a process takes over from the one that starts it.

mod common;

use std::path::PathBuf;

use common::{after, helper, helper_after, is_helper, limited, run};
use multiproc_process::{Process, StartMethod, cpu_count, start_methods};

const BOTH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn in_child<R>(f: fn() -> R, method: StartMethod) -> R
where
    R: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    let process = Process::call(f).start_method(method).start().unwrap();
    process.join().unwrap()
}

/// One line of this process's status.
fn status(key: &str) -> String {
    let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    after(&text, key).unwrap_or_default().to_owned()
}

fn limits() -> String {
    std::fs::read_to_string("/proc/self/limits").unwrap()
}

#[test]
fn directory_and_environment_are_those_of_the_moment() {
    limited(|| drop(run(&mut helper("moves_about"))));
}

#[test]
fn moves_about() {
    if !is_helper("moves_about") {
        return;
    }
    let here = || (std::env::current_dir().unwrap(), std::env::var("MP_X").ok());
    for method in BOTH {
        for (dir, value) in [
            ("/", None),
            ("/proc", Some("1")),
            ("/", Some("2")),
            ("/dev", None),
        ] {
            std::env::set_current_dir(dir).unwrap();
            // SAFETY: no other thread of this helper touches the environment meanwhile.
            unsafe {
                match value {
                    Some(value) => std::env::set_var("MP_X", value),
                    None => std::env::remove_var("MP_X"),
                }
            }
            let expected = (PathBuf::from(dir), value.map(str::to_owned));
            assert_eq!(in_child(here, method), expected);
        }
    }
}

#[test]
fn a_changed_environment_reaches_many_at_once() {
    limited(|| drop(run(&mut helper("changes_the_environment"))));
}

#[test]
fn changes_the_environment() {
    if !is_helper("changes_the_environment") {
        return;
    }
    in_child(|| (), StartMethod::ForkServer);
    let long = "x".repeat(100_000);
    // SAFETY: no other thread of this helper touches the environment meanwhile.
    unsafe { std::env::set_var("MP_LONG", &long) };
    let length = || std::env::var("MP_LONG").map(|value| value.len()).ok();
    let all: Vec<_> = (0..30)
        .map(|_| Process::call(length).start().unwrap())
        .collect();
    for process in all {
        assert_eq!(process.join(), Ok(Some(long.len())));
    }
}

#[test]
fn arguments_are_those_of_the_program() {
    limited(|| {
        for method in BOTH {
            let theirs = in_child(|| std::env::args().collect::<Vec<_>>(), method);
            assert_eq!(theirs, std::env::args().collect::<Vec<_>>());
        }
    });
}

#[test]
fn input_is_empty_and_output_goes_where_the_starter_writes() {
    limited(|| {
        let output = run(&mut helper("prints_in_a_child"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("printed by a child").count(), 2, "{text}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            errors.matches("complained by a child").count(),
            2,
            "{errors}"
        );
    });
}

#[test]
fn prints_in_a_child() {
    if !is_helper("prints_in_a_child") {
        return;
    }
    for method in BOTH {
        let read = in_child(
            || {
                // No line end: whoever exits has to write the rest.
                print!("printed by a child");
                eprint!("complained by a child");
                std::io::read_to_string(std::io::stdin()).unwrap()
            },
            method,
        );
        assert_eq!(read, "");
    }
}

#[test]
fn limits_signals_and_niceness_are_the_same() {
    limited(|| {
        let binary = std::env::current_exe().unwrap();
        let setup = "ulimit -n 123 && ulimit -c 0 && umask 027 && trap '' HUP";
        run(&mut helper_after(setup, binary, "compares_surroundings"));
    });
}

#[test]
fn compares_surroundings() {
    if !is_helper("compares_surroundings") {
        return;
    }
    for method in BOTH {
        assert_eq!(in_child(limits, method), limits());
        for key in [
            "SigBlk:",
            "SigIgn:",
            "Cpus_allowed:",
            "NoNewPrivs:",
            "Uid:",
            "CapEff:",
        ] {
            let process = Process::new(|key: String| status(&key), key.to_owned());
            let process = process.start_method(method).start().unwrap();
            assert_eq!(process.join().unwrap(), status(key), "{key} by {method:?}");
        }
    }
}

#[test]
fn rights_given_up_after_the_first_start_are_given_up_in_later_children() {
    limited(|| {
        for method in BOTH {
            // A thread of its own: rights are a thread's.
            let thread = std::thread::spawn(move || {
                assert_eq!(in_child(|| status("NoNewPrivs:"), method), "0");
                multiproc_sys::child::lifetime::give_up_new_rights().unwrap();
                assert_eq!(status("NoNewPrivs:"), "1");
                assert_eq!(in_child(|| status("NoNewPrivs:"), method), "1");
            });
            thread.join().unwrap();
            assert_eq!(
                in_child(|| status("NoNewPrivs:"), method),
                status("NoNewPrivs:")
            );
        }
    });
}

#[test]
fn the_name_is_shown_in_lists() {
    limited(|| {
        for method in BOTH {
            let process = Process::call(|| std::fs::read_to_string("/proc/self/comm").unwrap());
            let process = process.name("a name too long to show").start_method(method);
            assert_eq!(
                process.start().unwrap().join().unwrap(),
                "a name too long\n"
            );
        }
    });
}

#[test]
fn no_descriptor_leaks_into_a_child() {
    limited(|| {
        for method in BOTH {
            let count = in_child(common::open_descriptors, method);
            // Three streams, the arena, the file exchange, and the directory that is being read.
            assert_eq!(count, 6, "{method:?}");
        }
    });
}

#[test]
fn what_the_system_has_can_be_asked() {
    assert!(cpu_count() >= 1);
    assert_eq!(start_methods(), BOTH);
}
