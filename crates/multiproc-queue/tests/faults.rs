//! Rows of the fault matrix that no death is part of: no descriptor free, a stopped reader, signals all
//! the time.

use std::io::{PipeWriter, Write, pipe};
use std::process::Command;
use std::time::{Duration, Instant};

use multiproc_queue::{GetError, Queue};
use multiproc_shm::testing;
use multiproc_sys::testing as raw;
use multiproc_wire::Fd;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn fault_43_an_item_stays_where_no_descriptor_is_free_for_it() {
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "ulimit -n 64; exec \"$0\" --exact few_descriptors --nocapture",
        ])
        .arg(std::env::current_exe().expect("this program"))
        .env("FEW_DESCRIPTORS", "1");
    let output = shell.output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.contains("raise RLIMIT_NOFILE") && text.contains("all is well"),
        "{text}"
    );
}

/// In a process of its own; by itself, nothing.
#[test]
fn few_descriptors() {
    if std::env::var_os("FEW_DESCRIPTORS").is_none() {
        return;
    }
    let queue = Queue::<(u8, Vec<Fd<PipeWriter>>)>::bounded(4).expect("a queue");
    let (reader, writer) = pipe().expect("a pipe");
    let copies = |many: usize| {
        let copies = (0..many).map(|_| writer.try_clone().map(Fd));
        copies.collect::<Result<Vec<_>, _>>().expect("room")
    };
    queue.put((1, copies(10))).expect("room");
    queue.put((2, Vec::new())).expect("room");
    let mut taken = vec![reader.try_clone().expect("room")];
    while let Ok(copy) = reader.try_clone() {
        taken.push(copy);
    }
    for _ in 0..9 {
        let error = queue.try_get().expect_err("no room");
        assert!(error.is_too_many_files() && queue.len() == 2, "{error:?}");
        println!("{error}");
        taken.pop();
    }
    // A put has nothing to give up either.
    let file = taken.pop().expect("one of many");
    let full = Queue::<Fd<_>>::bounded(1).expect("a queue");
    while let Ok(copy) = reader.try_clone() {
        taken.push(copy);
    }
    let error = full.put(Fd(file)).expect_err("no room");
    assert!(error.is_encode(), "{error}");
    drop((error.into_inner(), taken));
    let (number, mut files) = queue.get().expect("room");
    assert_eq!(
        (number, files.len(), queue.get().map(|(number, _)| number)),
        (1, 10, Ok(2))
    );
    files
        .iter_mut()
        .for_each(|file| file.write_all(b".").expect("written"));
    drop((files, writer));
    assert_eq!(
        std::io::read_to_string(reader).expect("the end"),
        ".........."
    );
    println!("all is well");
}

/// A stopped process would outlive a test that fails.
struct KilledAtPanic(u32);

impl Drop for KilledAtPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = raw::kill(self.0);
        }
    }
}

#[test]
fn fault_44_a_stopped_reader_is_waited_for_no_longer_than_asked_and_fills_no_memory() {
    let queue = Queue::<(u64, Vec<u64>)>::bounded(64).expect("a queue");
    let theirs = queue.clone();
    let reader = testing::fork(move || {
        let mut next = 0;
        for item in &theirs {
            assert_eq!(item, Ok((next, vec![next; 20])));
            next += 1;
        }
        assert!(next > 64);
    });
    let mut next = 0;
    let mut put = |deadline: Option<Duration>| {
        let item = (next, vec![next; 20]);
        let answer = match deadline {
            Some(timeout) => queue.put_timeout(item, timeout),
            None => queue.try_put(item),
        };
        next += u64::from(answer.is_ok());
        answer
    };
    let _killed = KilledAtPanic(reader.pid);
    for _ in 0..5 {
        raw::stop(reader.pid, true).expect("it runs");
        while put(None).is_ok() {}
        for _ in 0..100 {
            assert!(put(None).is_err_and(|error| error.is_full()));
        }
        let begin = Instant::now();
        let error = put(Some(Duration::from_millis(20))).expect_err("nobody reads");
        assert!(error.is_timed_out() && begin.elapsed() >= Duration::from_millis(20));
        assert_eq!((queue.len(), queue.is_full()), (64, true));
        raw::stop(reader.pid, false).expect("it is there");
        put(Some(LIMIT)).expect("it reads again");
    }
    for _ in 0..100 {
        put(Some(LIMIT)).expect("it reads");
    }
    queue.close();
    assert!(reader.join());
}

/// How long signals rain: ten minutes with `CHAOS=n`.
fn storm() -> Duration {
    match std::env::var_os("CHAOS") {
        Some(_) => Duration::from_secs(600),
        None => Duration::from_secs(2),
    }
}

#[test]
fn fault_45_signals_all_the_time_lose_no_wake_and_no_item() {
    let (there, back) = (Queue::<u64>::bounded(2), Queue::<u64>::unbounded());
    let (there, back) = (there.expect("a queue"), back.expect("a queue"));
    let (theirs, answers) = (there.clone(), back.clone());
    let child = testing::fork(move || {
        let rain = raw::rain_signals(Duration::from_micros(100)).expect("a timer");
        for number in &theirs {
            answers.put(number.expect("a number") + 1).expect("open");
        }
        assert!(rain.fallen() > 100, "{}", rain.fallen());
    });
    let until = Instant::now() + storm();
    let mut number = 0;
    while Instant::now() < until {
        // Each waits for the other, asleep or awake.
        there
            .put_timeout(number, LIMIT)
            .expect("the other takes it");
        assert_eq!(back.get_timeout(LIMIT), Ok(number + 1));
        let pause = number.is_multiple_of(50);
        if pause {
            let late = back.get_timeout(Duration::from_millis(3));
            assert_eq!(late, Err(GetError::TimedOut));
        }
        number += 1;
    }
    there.close();
    assert!(child.join());
    println!("{number} rounds");
}
