//! How long processes live, and what is left of them.

mod common;

use std::time::Duration;

use common::{eventually, helper, is_gone, is_helper, limited, run};
use multiproc_process::{Process, StartMethod, active_children};
use multiproc_sys::child::{PidFd, Signal};

const BOTH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

#[test]
fn those_that_run_are_listed() {
    limited(|| drop(run(&mut helper("lists_children"))));
}

#[test]
fn lists_children() {
    if !is_helper("lists_children") {
        return;
    }
    let done = Process::call(|| ()).start().unwrap();
    done.join().unwrap();
    let names = ["one", "two"];
    let running = names.map(|name| Process::call(sleep_for_ever).name(name).start().unwrap());
    let active = active_children();
    assert_eq!(
        active.iter().map(|child| child.name()).collect::<Vec<_>>(),
        names
    );
    assert_eq!(active[1].pid(), running[1].pid());
    for child in active {
        assert!(child.is_alive() && !child.is_daemon());
        child.kill().unwrap();
        assert_eq!(child.wait().signal(), Some(9));
    }
    assert!(active_children().is_empty());
}

#[test]
fn what_a_child_printed_is_written_out_when_it_ends() {
    limited(|| {
        let output = run(&mut helper("prints_without_a_line_end"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("half a line").count(), BOTH.len(), "{text}");
    });
}

#[test]
fn prints_without_a_line_end() {
    if !is_helper("prints_without_a_line_end") {
        return;
    }
    for method in BOTH {
        let process = Process::call(|| print!("half a line")).start_method(method);
        process.start().unwrap().join().unwrap();
    }
}

#[test]
fn a_thread_that_keeps_a_stream_does_not_keep_its_process() {
    limited(|| {
        for method in BOTH {
            let process = Process::call(|| {
                let (say, kept) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    let _stdout = std::io::stdout().lock();
                    say.send(()).unwrap();
                    sleep_for_ever();
                });
                kept.recv().unwrap();
            });
            process
                .start_method(method)
                .start()
                .unwrap()
                .join()
                .unwrap();
        }
    });
}

#[test]
fn a_normal_end_awaits_children_and_ends_daemons() {
    limited(|| {
        let output = run(&mut helper("ends_with_children"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("the other one is done"), "{text}");
        let daemon = common::after(&text, "daemon ").unwrap().parse().unwrap();
        let detached: u32 = common::after(&text, "detached ").unwrap().parse().unwrap();
        assert!(is_gone(daemon));
        assert!(!is_gone(detached), "a detached process lives on");
        PidFd::open(detached).unwrap().signal(Signal::Kill).unwrap();
        eventually("it ends", || is_gone(detached));
    });
}

#[test]
fn ends_with_children() {
    if !is_helper("ends_with_children") {
        return;
    }
    for method in BOTH {
        let daemon = Process::call(sleep_for_ever)
            .daemon(true)
            .start_method(method);
        println!("\ndaemon {}", daemon.start().unwrap().pid());
    }
    let detached = Process::call(|| {
        // Whoever reads the output of the helper must not wait for this one.
        use multiproc_sys::child::stdio;
        stdio::silence().unwrap();
        sleep_for_ever();
    });
    println!("\ndetached {}", detached.detach().start().unwrap().pid());
    let other = Process::call(|| {
        // Its own child is awaited, too, at its end.
        let inner = Process::call(|| {
            std::thread::sleep(Duration::from_millis(50));
            println!("\nthe other one is done");
        });
        drop(inner.start().unwrap());
    });
    drop(other.start().unwrap());
}
