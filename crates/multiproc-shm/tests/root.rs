//! The family's first process is killed; those it leaves behind bury it, also if one of them is killed on the
//! way, and give back what it held.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use multiproc_shm::testing::{self, Chance, Counters, kills, until};
use multiproc_shm::{Kind, Object, family};
use multiproc_sys::liveness;
use multiproc_sys::testing as raw;

/// Objects that only the root holds when it dies.
const HELD: usize = 500;

/// Looks after orphans until it is the only member left, then says what is left of the arena's use.
fn orphan(stage: &Counters, index: usize) -> ! {
    family::look_after_orphans();
    stage.set(index, 1);
    // The root's objects come after this.
    let used = || family::usage().expect("an arena").used;
    stage.reached(2, 1);
    let before = stage.get(3);
    until(|| testing::settle(Duration::from_millis(10)), "the burial");
    let sound = testing::audit().is_ok() && used() == before;
    println!("{}", if sound { "sound" } else { "not as before" });
    raw::exit_now(0)
}

/// The root of a family of its own; nothing when run by itself.
#[test]
fn case_root() {
    if std::env::var_os("ROOT").is_none() {
        return;
    }
    let stage = Counters::new(4);
    let orphans = [0, 1].map(|index| testing::fork(|| orphan(&stage, index)));
    (0..2).for_each(|index| stage.reached(index, 1));
    stage.set(3, family::usage().expect("an arena").used);
    let held: Vec<Object> = (0..HELD)
        .map(|_| Object::create(Kind::Plain, 5, 100, |_| {}).expect("an object"))
        .collect();
    stage.set(2, 1);
    println!("orphans {} {}", orphans[0].pid, orphans[1].pid);
    std::io::stdout().flush().expect("a pipe");
    loop {
        std::hint::black_box(&held);
        std::thread::park();
    }
}

fn start_root() -> (Child, [u32; 2], BufReader<std::process::ChildStdout>) {
    let program = std::env::current_exe().expect("this program");
    let mut root = Command::new(program)
        .args(["--exact", "case_root", "--nocapture"])
        .env("ROOT", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let mut output = BufReader::new(root.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with("orphans ") {
        line.clear();
        assert_ne!(
            output.read_line(&mut line).expect("a pipe"),
            0,
            "it says something"
        );
    }
    let mut pids = line
        .split_whitespace()
        .skip(1)
        .map(|pid| pid.parse().expect("a number"));
    let pids = [(); 2].map(|()| pids.next().expect("two of them"));
    (root, pids, output)
}

#[test]
fn a_killed_root_is_buried_by_those_it_leaves_behind() {
    if std::env::var_os("ROOT").is_some() {
        return;
    }
    let mut random = Chance::new();
    for kill in 0..kills(20) {
        let (mut root, orphans, output) = start_root();
        root.kill().expect("our child");
        root.wait().expect("our child");
        // While both sweep, with the arena lock in its hands or without.
        random.moment(Duration::from_millis(12));
        raw::kill(orphans[0]).expect("it waits to be the last");
        let said: Vec<String> = output.lines().map(|line| line.expect("text")).collect();
        assert_eq!(said, ["sound"], "kill {kill}");
        until(|| liveness::has_ended(orphans[1]), "its end");
    }
}
