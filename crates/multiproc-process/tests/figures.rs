//! How many there can be, and what one costs.

mod common;

use std::time::Instant;

use common::{after, eventually, helper, helper_after, is_helper, limited, run};
use multiproc_process::{Process, StartMethod, active_children};

const MANY: usize = 1000;

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_thousand_are_alive_at_once() {
    limited(|| {
        let binary = std::env::current_exe().unwrap();
        // One descriptor each; where the hard limit is lower, the start says so.
        let output = run(&mut helper_after(
            "ulimit -n 4096",
            binary,
            "starts_a_thousand",
        ));
        println!("{}", String::from_utf8_lossy(&output.stdout));
    });
}

#[test]
fn starts_a_thousand() {
    if !is_helper("starts_a_thousand") {
        return;
    }
    let began = Instant::now();
    let start = |_| Process::call(sleep_for_ever).start().unwrap();
    let all: Vec<_> = (0..MANY).map(start).collect();
    println!("\n{MANY} started in {:?}", began.elapsed());
    assert_eq!(active_children().len(), MANY);
    for one in &all {
        assert!(one.is_alive());
        one.kill().unwrap();
    }
    for one in &all {
        assert!(one.join().unwrap_err().is_signaled());
    }
    assert!(active_children().is_empty());
    drop(all);
    assert_eq!(Process::call(|| 5).start().unwrap().join(), Ok(5));
}

#[test]
fn an_idle_child_has_little_memory_of_its_own() {
    limited(|| {
        let output = run(&mut helper("measures_a_child"));
        println!("{}", String::from_utf8_lossy(&output.stdout));
    });
}

#[test]
fn measures_a_child() {
    if !is_helper("measures_a_child") {
        return;
    }
    // What a child of a large parent must not have.
    let ballast = vec![1_u8; 64 << 20];
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let process = Process::call(|| {
            println!("\nat work");
            sleep_for_ever();
        });
        let process = process.stdout(multiproc_process::Stdio::captured());
        let process = process.start_method(method).start().unwrap();
        eventually("it works", || {
            !process.captured_stdout().unwrap().is_empty()
        });
        let path = format!("/proc/{}/smaps_rollup", process.pid());
        let text = std::fs::read_to_string(path).unwrap();
        let kib = |key| -> u64 {
            let line = after(&text, key).unwrap();
            line.trim_end_matches(" kB").parse().unwrap()
        };
        let own = kib("Private_Clean:") + kib("Private_Dirty:");
        println!(
            "\n{method:?}: {own} KiB of its own, {} KiB in parts",
            kib("Pss:")
        );
        assert!(own < 4096, "{method:?}: {own} KiB\n{text}");
        process.kill().unwrap();
        process.join().unwrap_err();
    }
    assert_eq!(std::hint::black_box(ballast).len(), 64 << 20);
}
