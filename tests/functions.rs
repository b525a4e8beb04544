//! Functions travel to other processes: from a test, from a plain program, and back as errors.

use std::process::Command;
use std::time::Duration;

use multiproc::Process;
use multiproc_tests::{travel, watchdog};
use serde::{Deserialize, Serialize, Serializer};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn generic_functions_travel() {
    watchdog::within(LIMIT, travel::generic_functions);
}

#[test]
fn closures_travel() {
    watchdog::within(LIMIT, travel::closures);
}

#[test]
fn rich_and_recursive_types_travel() {
    watchdog::within(LIMIT, travel::rich_types);
}

#[test]
fn a_mebibyte_travels_both_ways() {
    watchdog::within(LIMIT, travel::large_values);
}

#[test]
fn functions_travel_from_a_plain_main() {
    let output = watchdog::within(LIMIT, || {
        Command::new(env!("CARGO_BIN_EXE_functions-from-main"))
            .output()
            .expect("it runs")
    });
    assert!(output.status.success(), "{}: {output:?}", output.status);
    assert_eq!(output.stdout, b"travelled\n");
}

#[test]
fn a_program_may_close_its_standard_streams() {
    let output = watchdog::within(LIMIT, || {
        Command::new(env!("CARGO_BIN_EXE_without-streams"))
            .output()
            .expect("it runs")
    });
    assert!(output.status.success(), "{}: {output:?}", output.status);
}

#[test]
fn a_manager_finds_a_place_without_a_directory_for_temporary_files() {
    let output = watchdog::within(LIMIT, || {
        Command::new(env!("CARGO_BIN_EXE_without-streams"))
            .env("TMPDIR", "/nonexistent")
            .env("XDG_RUNTIME_DIR", "/nonexistent")
            .output()
            .expect("it runs")
    });
    assert!(output.status.success(), "{}: {output:?}", output.status);
}

#[test]
fn a_function_without_argument_is_called() {
    watchdog::within(LIMIT, || {
        let process = Process::call(std::process::id).start().expect("it starts");
        let (pid, there) = (process.pid(), process.join().expect("it ends well"));
        assert_eq!(pid, there);
        assert_ne!(there, std::process::id());
    });
}

#[test]
fn a_panic_comes_back_with_its_text_and_place() {
    let failure = watchdog::within(LIMIT, || {
        let process = Process::new(|n: u32| panic!("no {n} today"), 7_u32);
        let process: Process<()> = process.start().expect("it starts");
        process.join().expect_err("it panicked")
    });
    assert!(failure.is_panicked(), "{failure:?}");
    let text = failure.to_string();
    assert!(text.contains("no 7 today"), "{text}");
    assert!(text.contains("functions.rs"), "{text}");
}

/// A value that refuses to be written.
#[derive(Deserialize)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("i stay here"))
    }
}

#[test]
fn an_argument_that_cannot_be_written_fails_at_the_start() {
    let started = watchdog::within(LIMIT, || Process::new(|_: Stubborn| (), Stubborn).start());
    let failure = started.expect_err("it cannot travel");
    assert!(failure.is_encode(), "{failure:?}");
    assert!(failure.to_string().contains("Stubborn"), "{failure}");
}

#[test]
fn a_result_that_cannot_be_written_fails_at_the_join() {
    let failure = watchdog::within(LIMIT, || {
        let process = Process::new(|()| Stubborn, ()).start().expect("it starts");
        process.join().map(|_| ()).expect_err("it cannot travel")
    });
    assert!(failure.to_string().contains("Stubborn"), "{failure}");
}
