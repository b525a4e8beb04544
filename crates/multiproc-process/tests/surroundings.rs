//! What a process takes over from the one that starts it.

mod common;

use common::{ControlGroup, after, helper, helper_after, is_helper, limited, run};
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
fn what_the_system_has_can_be_asked() {
    assert!(cpu_count() >= 1);
    assert_eq!(start_methods()[..2], BOTH);
    assert_eq!(start_methods()[2], StartMethod::Fork);
}

#[test]
fn the_quota_of_a_control_group_counts() {
    limited(|| {
        if cpu_count() < 2 {
            return println!("not tried: with one processor, a quota of one changes nothing");
        }
        // A tenth of a second in each, for all members together: one processor.
        let first: &[(&str, &str)] = &[
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "100000"),
        ];
        let second: &[(&str, &str)] = &[("cpu.max", "100000 100000")];
        let Some(group) = ControlGroup::make(&[
            ("/sys/fs/cgroup", second),
            ("/sys/fs/cgroup/unified", second),
            ("/sys/fs/cgroup/cpu", first),
            ("/sys/fs/cgroup/cpu,cpuacct", first),
        ]) else {
            return println!("not tried: no control group with a quota can be made here");
        };
        let mut helper = helper("counts_processors");
        let output = run(helper.env("MEMBERS", group.members()));
        println!("{}", String::from_utf8_lossy(&output.stdout));
    });
}

#[test]
fn counts_processors() {
    if !is_helper("counts_processors") {
        return;
    }
    let all = cpu_count();
    assert!(all >= 2);
    assert_eq!(BOTH.map(|method| in_child(cpu_count, method)), [all; 2]);
    let members = std::env::var_os("MEMBERS").unwrap();
    if let Err(error) = std::fs::write(members, std::process::id().to_string()) {
        return println!("not tried: cannot become a member of the group: {error}");
    }
    assert_eq!(cpu_count(), 1);
    assert_eq!(BOTH.map(|method| in_child(cpu_count, method)), [1; 2]);
}
