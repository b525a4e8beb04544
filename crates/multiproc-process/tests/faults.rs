//! Things that go wrong around a start: the fork server dies, limits are reached, somebody else takes
//! exit statuses.

mod common;

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{eventually, helper, helper_after, is_gone, is_helper, is_reaped, limited, run};
use multiproc_process::{ExitStatus, Process, Resource, StartMethod, testing};
use multiproc_sys::child::{PidFd, Signal};
use multiproc_sys::clock::Deadline;

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

fn kill(pid: u32) {
    if let Ok(process) = PidFd::open(pid) {
        process.signal(Signal::Kill).unwrap();
    }
}

#[test]
fn fault_22_a_killed_fork_server_is_replaced_and_its_children_live_on() {
    limited(|| drop(run(&mut helper("kills_between_starts"))));
}

#[test]
fn kills_between_starts() {
    if !is_helper("kills_between_starts") {
        return;
    }
    let before = Process::call(sleep_for_ever).daemon(true).start().unwrap();
    for _ in 0..10 {
        let server = testing::fork_servers().pop().expect("there is one");
        kill(server);
        // The first may still get a copy the old one had ready.
        for _ in 0..2 {
            let process = Process::new(|n: u32| n + 1, 1).start().unwrap();
            assert_eq!(process.join(), Ok(2));
        }
        eventually("the old server is reaped", || is_reaped(server));
    }
    assert!(before.is_alive());
    before.kill().unwrap();
    assert_eq!(
        before.join().unwrap_err().to_string(),
        "the process was killed by signal 9 (SIGKILL)"
    );
}

#[test]
fn fault_22_a_fork_server_killed_during_starts_costs_no_start_and_runs_nothing_twice() {
    limited(|| drop(run(&mut helper("kills_during_starts"))));
}

/// Set when dropped, so that a failed assertion ends the other thread, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn kills_during_starts() {
    if !is_helper("kills_during_starts") {
        return;
    }
    let runs = std::env::temp_dir().join(format!("mp-runs-{}", std::process::id()));
    std::fs::create_dir(&runs).unwrap();
    let over = AtomicBool::new(false);
    let mut pids = Vec::new();
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut killed = 0;
            while killed < 20 && !over.load(Ordering::Relaxed) {
                let Some(server) = testing::fork_servers().pop() else {
                    continue;
                };
                if let Ok(server) = PidFd::open(server) {
                    server.signal(Signal::Kill).unwrap();
                    let until = Deadline::after(common::LIMIT);
                    let _ = multiproc_sys::poll::readable(server.as_fd(), until);
                    killed += 1;
                }
                std::thread::sleep(std::time::Duration::from_micros(300 * killed));
            }
            killed
        });
        let _over = Over(&over);
        for number in 0.. {
            let path = runs.join(number.to_string());
            let process = Process::new(
                |path: std::path::PathBuf| std::fs::File::create_new(path).is_ok(),
                path.clone(),
            );
            let process = process.start().unwrap();
            assert_eq!(process.join(), Ok(true), "task {number} ran twice");
            pids.push(process.pid());
            assert!(path.exists());
            if killer.is_finished() {
                break;
            }
        }
        assert_eq!(killer.join().unwrap(), 20);
    });
    std::fs::remove_dir_all(&runs).unwrap();
    assert!(pids.iter().all(|&pid| is_gone(pid)));
    // One more exec, which looks for strays.
    testing::end_fork_servers();
    Process::call(|| ()).start().unwrap().join().unwrap();
    eventually("no zombie is left", || zombies() == 0);
}

/// The children of this process, by their entries in /proc: pid, name, state.
fn children() -> Vec<(u32, String, char)> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((head, tail)) = stat.rsplit_once(") ") else {
            continue;
        };
        let Some((pid, name)) = head.split_once(" (") else {
            continue;
        };
        let mut fields = tail.split(' ');
        let state = fields.next().and_then(|text| text.chars().next());
        let parent: Option<u32> = fields.next().and_then(|text| text.parse().ok());
        if let (Ok(pid), Some(state)) = (pid.parse(), state)
            && parent == Some(std::process::id())
        {
            found.push((pid, name.to_owned(), state));
        }
    }
    found
}

fn zombies() -> usize {
    children()
        .iter()
        .filter(|(.., state)| *state == 'Z')
        .count()
}

#[test]
fn a_fork_server_that_is_interrupted_goes_on() {
    limited(|| drop(run(&mut helper("interrupts_fork_servers"))));
}

#[test]
fn interrupts_fork_servers() {
    if !is_helper("interrupts_fork_servers") {
        return;
    }
    Process::call(|| ()).start().unwrap().join().unwrap();
    let server = testing::fork_servers();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As Ctrl-C does to all processes of a terminal: server, spare and whatever starts.
            while !over.load(Ordering::Relaxed) {
                for (pid, name, _) in children() {
                    if name.starts_with("mp-")
                        && let Ok(process) = PidFd::open(pid)
                    {
                        process.signal(Signal::Interrupt).unwrap();
                    }
                }
            }
        });
        let _over = Over(&over);
        for number in 0..100 {
            let process = Process::new(|n: u32| n + 1, number).start().unwrap();
            // A spare that has just become a child is interrupted as any child may be.
            match process.join() {
                Ok(sum) => assert_eq!(sum, number + 1),
                Err(error) => assert!(error.to_string().contains("SIGINT"), "{error}"),
            }
        }
    });
    assert_eq!(testing::fork_servers(), server, "the same one serves");
}

#[test]
fn fault_22_a_killed_spare_costs_no_start() {
    limited(|| drop(run(&mut helper("kills_spares"))));
}

#[test]
fn kills_spares() {
    if !is_helper("kills_spares") {
        return;
    }
    for _ in 0..10 {
        assert_eq!(Process::call(|| 5).start().unwrap().join(), Ok(5));
        let spare = || {
            children()
                .into_iter()
                .find(|(_, name, _)| name == "mp-spare")
        };
        eventually("the next one waits", || spare().is_some());
        let (pid, ..) = spare().unwrap();
        kill(pid);
        eventually("it is dead", || is_gone(pid));
    }
    assert_eq!(Process::call(|| 5).start().unwrap().join(), Ok(5));
    eventually("no zombie is left", || zombies() == 0);
}

#[test]
fn fault_16_a_stopped_child_does_not_hold_up_others() {
    limited(|| {
        let stopped = Process::call(sleep_for_ever).daemon(true).start().unwrap();
        let pid = stopped.pid().to_string();
        run(std::process::Command::new("kill").args(["-STOP", &pid]));
        assert_eq!(Process::call(|| 5).start().unwrap().join(), Ok(5));
        assert!(stopped.is_alive());
        stopped.kill().unwrap();
        assert!(stopped.join().unwrap_err().is_signaled());
    });
}

/// Starts until it is refused; then everything works again once they are gone.
fn until_refused(method: StartMethod) -> Resource {
    let mut running = Vec::new();
    let error = loop {
        let process = Process::call(sleep_for_ever)
            .daemon(true)
            .start_method(method);
        match process.start() {
            Ok(process) => running.push(process),
            Err(error) => break error,
        }
        assert!(running.len() < 200, "no limit was reached");
    };
    assert!(error.is_limit(), "{error}");
    assert!(running.len() > 1, "{error}");
    let text = error.to_string();
    assert!(text.contains("RLIMIT_"), "{text}");
    for process in running {
        process.kill().unwrap();
        assert!(process.join().unwrap_err().is_signaled());
    }
    let again = Process::call(|| 7).start_method(method).start().unwrap();
    assert_eq!(again.join(), Ok(7));
    error.limit().unwrap()
}

/// A copy of this test binary that every user may run.
fn public_copy() -> std::path::PathBuf {
    let name = format!("mp-faults-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    path
}

#[test]
fn fault_21_the_limit_of_processes_is_named() {
    limited(|| {
        // The limit does not bind root, so this needs to be root to become somebody else.
        if !std::fs::metadata("/proc/self").is_ok_and(|me| {
            use std::os::unix::fs::MetadataExt;
            me.uid() == 0
        }) {
            eprintln!("needs root: not tried");
            return;
        }
        let binary = public_copy();
        for helper in [
            "reaches_the_limit_of_processes",
            "reaches_the_limit_by_spawn",
        ] {
            // Shells differ in the letter.
            let setup = "{ (ulimit -p 16) 2>&- && ulimit -p 16 || ulimit -u 16; }";
            let mut command = helper_after(setup, binary.clone(), helper);
            run(command.uid(54_321).gid(54_321).current_dir("/"));
        }
        std::fs::remove_file(binary).unwrap();
    });
}

#[test]
fn reaches_the_limit_of_processes() {
    if is_helper("reaches_the_limit_of_processes") {
        assert_eq!(until_refused(StartMethod::ForkServer), Resource::Processes);
    }
}

#[test]
fn reaches_the_limit_by_spawn() {
    if is_helper("reaches_the_limit_by_spawn") {
        assert_eq!(until_refused(StartMethod::Spawn), Resource::Processes);
    }
}

#[test]
fn fault_43_the_limit_of_descriptors_is_named() {
    limited(|| {
        let binary = std::env::current_exe().unwrap();
        run(&mut helper_after(
            "ulimit -n 40",
            binary,
            "reaches_the_limit_of_descriptors",
        ));
    });
}

#[test]
fn reaches_the_limit_of_descriptors() {
    if is_helper("reaches_the_limit_of_descriptors") {
        assert_eq!(
            until_refused(StartMethod::ForkServer),
            Resource::Descriptors
        );
        assert_eq!(until_refused(StartMethod::Spawn), Resource::Descriptors);
    }
}

#[test]
fn fault_38b_a_stolen_exit_status_is_found_or_owned_up_to() {
    limited(|| {
        for method in [StartMethod::ForkServer, StartMethod::Spawn] {
            let returns = Process::call(|| 5).start_method(method).start().unwrap();
            let exits = Process::<()>::call(|| std::process::exit(9)).start_method(method);
            let exits = exits.start().unwrap();
            // As a foreign `waitpid` would: by another descriptor of the same process.
            for pid in [returns.pid(), exits.pid()] {
                let thief = PidFd::open(pid);
                let Ok(thief) = thief else { continue };
                let until = Deadline::after(common::LIMIT);
                let _ = multiproc_sys::poll::readable(thief.as_fd(), until);
                let _ = thief.reap();
            }
            assert_eq!(returns.join(), Ok(5));
            assert_eq!(returns.exit_status(), Some(ExitStatus::Code(0)));
            assert!(exits.join().is_err());
            let status = exits.exit_status().unwrap();
            assert!(
                [ExitStatus::Code(9), ExitStatus::Unknown].contains(&status),
                "{status}"
            );
        }
    });
}

#[test]
fn fault_38b_ignored_child_signals_do_not_lose_results() {
    limited(|| {
        let binary = std::env::current_exe().unwrap();
        run(&mut helper_after(
            "trap '' CHLD",
            binary,
            "ignores_child_signals",
        ));
    });
}

#[test]
fn ignores_child_signals() {
    if !is_helper("ignores_child_signals") {
        return;
    }
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let process = Process::call(|| 5).start_method(method).start().unwrap();
        assert_eq!(process.join(), Ok(5));
        let process = Process::<()>::call(|| std::process::exit(9)).start_method(method);
        assert!(process.start().unwrap().join().is_err());
    }
}
