//! Runs the table: each case in a fresh process, several at once, none longer than a limit.

use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use multiproc_process::StartMethod;
use multiproc_sys::child::{PidFd, Signal, lifetime};
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;

use crate::{AREAS, Behaviour, tools};

/// Names the case that a fresh run of this program is.
const CASE: &str = "MP_CONTRACT_CASE";

/// Far more than any case needs on a busy machine. A hang is a failure.
const LIMIT: Duration = Duration::from_secs(60);

struct Case {
    name: String,
    behaviour: &'static Behaviour,
    method: StartMethod,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (area, behaviours) in AREAS {
        for behaviour in *behaviours {
            for &method in behaviour.methods {
                let name = format!("{method:?}::{area}::{}", behaviour.name);
                cases.push(Case {
                    name,
                    behaviour,
                    method,
                });
            }
        }
    }
    cases
}

pub(crate) fn main() -> ExitCode {
    if let Ok(wanted) = std::env::var(CASE) {
        // A runner that is ended must not leave its cases behind.
        let parent = std::os::unix::process::parent_id();
        lifetime::die_with_parent(parent).expect("no filter is in place");
        let cases = cases();
        let case = cases.iter().find(|case| case.name == wanted);
        let case = case.expect("the runner knows the names");
        (case.behaviour.show)(case.method);
        nothing_is_left();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let matches = |case: &Case| match exact {
        _ if filters.is_empty() => true,
        true => filters.iter().any(|filter| **filter == case.name),
        false => filters.iter().any(|filter| case.name.contains(*filter)),
    };
    let (wanted, others): (Vec<_>, Vec<_>) = cases().into_iter().partition(matches);
    if arguments.iter().any(|argument| argument == "--list") {
        wanted
            .iter()
            .for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    run_all(&wanted, others.len())
}

/// After every case: no zombie, no child but the fork server and its spare.
fn nothing_is_left() {
    let me = std::process::id().to_string();
    tools::eventually("only the fork server is left", || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = entries.filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok());
        let mut children = stats.filter_map(|stat| {
            let (head, tail) = stat.rsplit_once(") ")?;
            let mut fields = tail.split(' ');
            let state = fields.next()?.to_owned();
            (fields.next()? == me).then(|| (head.to_owned(), state))
        });
        children.all(|(head, state)| {
            let waits = head.ends_with("mp-forkserver") || head.ends_with("mp-spare");
            waits && state != "Z"
        })
    });
}

fn run_all(cases: &[Case], filtered: usize) -> ExitCode {
    println!("\nrunning {} tests", cases.len());
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match run_one(case) {
                        Ok(()) => println!("test {} ... ok", case.name),
                        Err(text) => {
                            println!("test {} ... FAILED", case.name);
                            failures.lock().unwrap().push((&case.name, text));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for (name, text) in &failures {
        println!("\n---- {name} ----\n{text}");
    }
    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {filtered} filtered \
         out; finished in {:.2}s\n",
        cases.len() - failures.len(),
        failures.len(),
        started.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// Runs one case in a fresh process; what it said, if it failed.
fn run_one(case: &Case) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(CASE, &case.name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let pidfd = PidFd::open(child.id()).map_err(|errno| errno.to_string())?;
    // Read at once, so that a case that says much is not held up.
    let readers = [
        Box::new(child.stdout.take().expect("piped")) as Box<dyn std::io::Read + Send>,
        Box::new(child.stderr.take().expect("piped")),
    ]
    .map(|stream| std::thread::spawn(move || std::io::read_to_string(stream)));
    let in_time = poll::readable(pidfd.as_fd(), Deadline::after(LIMIT)) == Ok(true);
    if !in_time {
        let _ = pidfd.signal(Signal::Kill);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() && in_time {
        return Ok(());
    }
    let said = readers.map(|reader| match reader.join() {
        Ok(Ok(text)) => text,
        other => format!("{other:?}"),
    });
    let how = if in_time { "ended with" } else { "hung;" };
    Err(format!("{how} {status}\n{}", said.concat()))
}
