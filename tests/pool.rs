//! A program with a pool as its user sees it: signals, its end, and memory that runs out.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use multiproc_tests::processes::{self, Seen};
use multiproc_tests::watchdog;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The program, ready, in a process group of its own as a shell would have it.
struct Program {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    family: Vec<Seen>,
}

/// How it ended.
struct End {
    code: Option<i32>,
    signal: Option<i32>,
    output: String,
    errors: String,
}

impl Program {
    fn start(words: &[&str]) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pool"))
            .args(words)
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it speaks");
        assert_eq!(line, "ready\n");
        let family = processes::descendants(child.id());
        Program {
            child,
            output,
            family,
        }
    }

    /// As the terminal does it: to everybody in the group.
    fn send(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().try_into().expect("a pid fits"));
        killpg(group, signal).expect("the group is there");
    }

    /// Waits for its end, and for that of all it started.
    fn end(mut self) -> End {
        let (mut output, mut errors) = (String::new(), String::new());
        let mut stderr = self.child.stderr.take().expect("it was asked for");
        let reader = thread::spawn(move || {
            stderr.read_to_string(&mut errors).expect("it is text");
            errors
        });
        self.output.read_to_string(&mut output).expect("it is text");
        let status = self.child.wait().expect("it is ours");
        let until = Instant::now() + Duration::from_secs(10);
        while self.family.iter().any(Seen::is_alive) {
            assert!(Instant::now() < until, "still there: {:?}", self.family);
            thread::sleep(Duration::from_millis(5));
        }
        End {
            code: status.code(),
            signal: status.signal(),
            output,
            errors: reader.join().expect("it was read"),
        }
    }
}

fn within<T>(body: impl FnOnce() -> T) -> T {
    watchdog::within(Duration::from_secs(60), body)
}

#[test]
fn fault_25_ctrl_c_ends_a_careless_program_in_silence() {
    within(|| {
        for times in [1, 2, 10] {
            let program = Program::start(&["careless"]);
            for _ in 0..times {
                program.send(Signal::SIGINT);
            }
            let end = program.end();
            // Which a shell shows as 130.
            assert_eq!((end.code, end.signal), (None, Some(2)));
            assert_eq!(end.errors, "", "a storm");
        }
    });
}

#[test]
fn fault_25_ctrl_c_once_is_an_orderly_end_where_the_program_says_so() {
    within(|| {
        // The workers got the signal, too: what runs is finished all the same.
        let program = Program::start(&["careful", "60000", "50"]);
        program.send(Signal::SIGINT);
        let end = program.end();
        assert_eq!(end.code, Some(130), "{}", end.errors);
        assert!(end.output.starts_with("finished "), "{}", end.output);
        assert!(end.output.ends_with(" cancelled 0\n"), "{}", end.output);
        assert_eq!(end.errors, "");
        // Without a grace, what runs is cancelled.
        let program = Program::start(&["careful", "0", "600000"]);
        program.send(Signal::SIGINT);
        let end = program.end();
        assert_eq!(end.code, Some(130), "{}", end.errors);
        assert_eq!(end.output, "finished 0 cancelled 20\n");
    });
}

#[test]
fn fault_25_ctrl_c_twice_ends_it_at_once() {
    within(|| {
        let program = Program::start(&["careful", "600000", "600000"]);
        program.send(Signal::SIGINT);
        // One that is pending already is the same one.
        thread::sleep(Duration::from_millis(200));
        program.send(Signal::SIGINT);
        let end = program.end();
        assert_eq!((end.code, end.errors.as_str()), (Some(130), ""));
    });
}

#[test]
fn fault_26_sigterm_lets_it_finish_until_the_grace_and_counts() {
    within(|| {
        for _ in 0..5 {
            let program = Program::start(&["careful", "60000", "20"]);
            program.send(Signal::SIGTERM);
            let end = program.end();
            // The signal went to the workers, too, which have it blocked as the program has.
            assert_eq!(end.code, Some(0), "{}", end.errors);
            assert!(end.output.ends_with(" cancelled 0\n"), "{}", end.output);
            let program = Program::start(&["careful", "300", "600000"]);
            let begun = Instant::now();
            program.send(Signal::SIGTERM);
            let end = program.end();
            assert!(begun.elapsed() >= Duration::from_millis(300));
            assert_eq!(
                (end.code, end.output.as_str()),
                (Some(0), "finished 0 cancelled 20\n")
            );
        }
    });
}

#[test]
fn a_live_pool_in_a_static_ends_with_its_program() {
    within(|| {
        for _ in 0..5 {
            let end = Program::start(&["static"]).end();
            assert_eq!((end.code, end.errors.as_str()), (Some(0), ""));
        }
    });
}

#[test]
fn fault_09_a_task_without_memory_left_is_lost_and_says_why() {
    within(|| {
        let Some(group) = Group::make() else {
            return;
        };
        for _ in 0..3 {
            let end = Program::start(&["oom", &group.path]).end();
            assert_eq!(end.code, Some(0), "{}", end.errors);
            assert_eq!(end.output, "task 2 lost, oom true\n");
        }
    });
}

/// A memory control group of 128 MiB.
struct Group {
    path: String,
}

impl Group {
    /// `None`: that is not permitted here, and the reason is printed.
    fn make() -> Option<Group> {
        let name = format!("multiproc-test-{}", std::process::id());
        let roots = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        for (root, limit) in roots {
            let path = format!("{root}/{name}");
            let made = std::fs::create_dir(&path)
                .and_then(|()| std::fs::write(format!("{path}/{limit}"), (128 << 20).to_string()));
            match made {
                Ok(()) => return Some(Group { path }),
                Err(error) => {
                    let _ = std::fs::remove_dir(&path);
                    println!("left out: no memory control group at {path}: {error}");
                }
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.path).is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
