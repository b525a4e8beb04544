//! What becomes of the others when a starter dies, its thread ends, or it is copied by somebody else;
//! and whether later children follow what it has given up.

mod common;

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Child;
use std::time::{Duration, Instant};

use common::{
    ControlGroup, after, begin, command_of, eventually, helper, is_gone, is_helper, limited, run,
};
use multiproc_process::{Process, StartMethod};
use multiproc_shm::testing::{Chance, kills};
use multiproc_sys::child::PidFd;
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;

const BOTH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

/// What a process does while its parent is killed.
fn busy(how: u32) {
    println!("\ntower {}", std::process::id());
    match how {
        0 => sleep_for_ever(),
        1 => loop {
            std::hint::black_box(how);
        },
        // In a system call that no signal but the last interrupts.
        _ => {
            let (reader, _writer) = std::io::pipe().unwrap();
            let _ = std::io::read_to_string(reader);
        }
    }
}

/// Prints its pid and starts another like itself, `depth` deep, by either method in turn.
fn tower((depth, how): (u32, u32)) {
    if depth == 0 {
        return busy(how);
    }
    println!("\ntower {}", std::process::id());
    let method = BOTH[depth as usize % 2];
    let next = Process::new(tower, (depth - 1, how)).daemon(depth.is_multiple_of(3));
    let _ = next.start_method(method).start().unwrap().join();
    sleep_for_ever();
}

#[test]
fn fault_22_a_killed_parent_leaves_no_descendant() {
    limited(|| {
        for round in 0..kills(20) {
            let mut command = helper("builds_a_tower");
            let mut parent = begin(command.env("HOW", (round % 3).to_string()));
            let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
            let pids = lines.map_while(Result::ok);
            let pids = pids.filter_map(|line| line.strip_prefix("tower ")?.parse().ok());
            let pids: Vec<u32> = pids.take(4).collect();
            assert_eq!(pids.len(), 4);
            let pidfds: Vec<_> = pids.iter().map(|&pid| PidFd::open(pid).unwrap()).collect();
            parent.kill().unwrap();
            let until = Deadline::at(Instant::now() + Duration::from_secs(20));
            for pidfd in &pidfds {
                let ended = poll::readable(pidfd.as_fd(), until);
                assert_eq!(ended, Ok(true), "a descendant lives on");
            }
            parent.wait().unwrap();
        }
    });
}

#[test]
fn builds_a_tower() {
    if is_helper("builds_a_tower") {
        let how = std::env::var("HOW").unwrap().parse().unwrap();
        tower((3, how));
    }
}

#[test]
fn fault_23_the_end_of_the_starting_thread_ends_no_process() {
    limited(|| {
        for method in BOTH {
            let start = move || {
                let process = Process::call(sleep_for_ever).daemon(true);
                process.start_method(method).start().unwrap()
            };
            let process = std::thread::spawn(start).join().unwrap();
            let soon = process.join_timeout(Duration::from_millis(50));
            assert!(soon.unwrap_err().is_timed_out());
            process.kill().unwrap();
            assert!(process.join().unwrap_err().is_signaled());
        }
    });
}

/// The names in a folder that other tests do not change.
fn names(folder: &str) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// Processes that carry the mark of one run in their environment.
fn marked(mark: &str) -> Vec<u32> {
    let mark = format!("MP_MARK={mark}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if let Some(pid) = pid
            && environment
                .split(|&b| b == 0)
                .any(|pair| pair == mark.as_bytes())
            && !is_gone(pid)
        {
            found.push(pid);
        }
    }
    found
}

#[test]
fn fault_24_a_starter_killed_while_it_starts_leaves_nothing() {
    limited(|| {
        let mut chance = Chance::new();
        let before = names("/dev/shm");
        for _ in 0..kills(60) {
            let mark = format!("{}-{}", std::process::id(), chance.below(1 << 40));
            let mut command = helper("starts_and_starts");
            let mut parent: Child = begin(command.env("MP_MARK", &mark));
            std::thread::sleep(Duration::from_micros(chance.below(30_000)));
            parent.kill().unwrap();
            parent.wait().unwrap();
            eventually("no descendant lives", || marked(&mark).is_empty());
        }
        assert_eq!(names("/dev/shm"), before);
    });
}

#[test]
fn starts_and_starts() {
    if !is_helper("starts_and_starts") {
        return;
    }
    for number in 0_usize.. {
        let process = Process::new(|bytes: Vec<u8>| bytes.len(), vec![1; 100_000]);
        let process = process.start_method(BOTH[number % 2]).start().unwrap();
        if !number.is_multiple_of(3) {
            assert_eq!(process.join(), Ok(100_000));
        }
    }
}

#[test]
fn fault_38_a_fork_by_others_can_ask_and_breaks_nothing() {
    limited(|| drop(run(&mut helper("forks_by_itself"))));
}

#[test]
fn forks_by_itself() {
    if !is_helper("forks_by_itself") {
        return;
    }
    let quick = Process::call(|| 5).start().unwrap();
    let slow = Process::call(sleep_for_ever).start().unwrap();
    quick.join().unwrap();
    let copy = multiproc_sys::testing::fork().unwrap();
    if copy == 0 {
        // Neither a member of the family nor the parent of those.
        let asked = slow.is_alive() && quick.exit_status().is_some();
        let patient = slow.join_timeout(Duration::from_millis(5));
        let refused = Process::call(|| ()).start().is_err();
        let well = asked && patient.is_err_and(|error| error.is_timed_out()) && refused;
        drop((quick, slow));
        multiproc_sys::testing::exit_now(i32::from(!well));
    }
    assert_eq!(multiproc_sys::testing::wait(copy), Ok(true));
    assert_eq!(quick.join(), Ok(5));
    assert!(slow.is_alive());
    slow.kill().unwrap();
    assert!(slow.join().unwrap_err().is_signaled());
    assert_eq!(Process::call(|| 6).start().unwrap().join(), Ok(6));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

#[test]
fn children_follow_when_the_user_changes() {
    limited(|| {
        if !is_root() {
            return println!("not tried: needs root to become somebody else");
        }
        run(&mut helper("becomes_somebody_else"));
    });
}

#[test]
fn becomes_somebody_else() {
    if !is_helper("becomes_somebody_else") {
        return;
    }
    let ids = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        ["Uid:", "Gid:", "CapEff:"].map(|key| after(&text, key).unwrap().to_owned())
    };
    let theirs = |method| {
        let process = Process::call(ids).start_method(method).start().unwrap();
        process.join().unwrap()
    };
    std::env::set_current_dir("/").unwrap();
    for method in BOTH {
        assert_eq!(theirs(method), ids());
    }
    multiproc_sys::testing::become_user(54_321).unwrap();
    let [user, group, capabilities] = ids();
    assert!(user.starts_with("54321") && group.starts_with("54321"));
    assert!(capabilities.bytes().all(|digit| digit == b'0'));
    for method in BOTH {
        assert_eq!(theirs(method), ids(), "{method:?}");
    }
}

#[test]
fn children_follow_into_another_control_group() {
    limited(|| {
        // The second hierarchy at its place, or the first.
        let Some(group) = ControlGroup::make(&[
            ("/sys/fs/cgroup", &[]),
            ("/sys/fs/cgroup/unified", &[]),
            ("/sys/fs/cgroup/pids", &[]),
        ]) else {
            return println!("not tried: no control group can be made here");
        };
        let output = helper("moves_to_another_group")
            .env("MEMBERS", group.members())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{text}");
    });
}

#[test]
fn moves_to_another_group() {
    if !is_helper("moves_to_another_group") {
        return;
    }
    let group = || std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let theirs = |method| {
        let process = Process::call(group).start_method(method).start().unwrap();
        process.join().unwrap()
    };
    let before = group();
    assert_eq!(BOTH.map(theirs), [before.clone(), before.clone()]);
    let members = std::env::var_os("MEMBERS").unwrap();
    if let Err(error) = std::fs::write(members, std::process::id().to_string()) {
        return println!("not tried: cannot move to another control group: {error}");
    }
    assert_ne!(group(), before);
    assert_eq!(BOTH.map(theirs), [group(), group()]);
}

#[test]
fn a_privileged_program_ignores_a_forged_variable() {
    limited(|| {
        if !is_root() {
            return println!("not tried: needs root to make a set-user-id program");
        }
        let path = std::env::temp_dir().join(format!("mp-elevated-{}", std::process::id()));
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        std::os::unix::fs::chown(&path, Some(54_321), Some(54_321)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
        // All that a real one has: a sealed record, at the number the variable names.
        let record = multiproc_sys::memory::sealed_bytes("forged", b"mp-boot1").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&record);
        let mut command = command_of(path.clone(), "says_how_it_runs");
        command.env("MULTIPROC_BOOT", format!("{number}:{:016x}", 1));
        let output = command.current_dir("/").output().unwrap();
        std::fs::remove_file(path).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        if after(&text, "elevated: ") == Some("false") {
            return println!("not tried: the folder for temporary files takes no set-user-id");
        }
        assert_eq!(after(&text, "elevated: "), Some("true"), "{text}");
        assert_eq!(after(&text, "variable: "), Some("none"), "{text}");
        assert!(!errors.contains("MULTIPROC_BOOT"), "{errors}");
    });
}

#[test]
fn says_how_it_runs() {
    if !is_helper("says_how_it_runs") {
        return;
    }
    let variable = std::env::var("MULTIPROC_BOOT");
    println!("\nvariable: {}", variable.as_deref().unwrap_or("none"));
    println!(
        "elevated: {}",
        multiproc_sys::child::lifetime::is_elevated()
    );
}

#[test]
fn fault_20_a_program_whose_file_is_gone_starts_all_the_same() {
    limited(|| {
        let path = std::env::temp_dir().join(format!("mp-gone-{}", std::process::id()));
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        let mut command = command_of(path.clone(), "loses_its_file");
        let output = run(command.env("MP_FILE", &path));
        assert!(!path.exists(), "{output:?}");
    });
}

#[test]
fn loses_its_file() {
    if !is_helper("loses_its_file") {
        return;
    }
    std::fs::remove_file(std::env::var_os("MP_FILE").unwrap()).unwrap();
    for method in BOTH {
        let process = Process::call(|| 5).start_method(method).start().unwrap();
        assert_eq!(process.join(), Ok(5));
    }
}
