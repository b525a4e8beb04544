//! Waiting for a process.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use multiproc_process::{JoinError, Process, StartMethod, Stdio, active_children};
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;

use crate::tools::{eventually, sleep_for_ever, start};

crate::behaviours! { crate::EVERY;
    eight_threads_join_at_once_and_again,
    a_timed_join_gives_up_and_a_later_one_does_not,
    a_deadline_that_has_passed_is_a_try,
    a_process_is_alive_until_it_has_a_status,
    the_descriptor_is_readable_once_it_has_ended,
    clones_are_the_same_process,
    whoever_reaps_calls_back_once,
    joins_may_come_in_any_order,
    fifty_are_alive_at_once,
    children_not_reaped_are_listed,
    a_stopped_process_is_neither_ended_nor_waited_for,
    a_running_process_cannot_be_closed_and_an_ended_one_can,
}

fn eight_threads_join_at_once_and_again(method: StartMethod) {
    let process = start(method, || {
        std::thread::sleep(Duration::from_millis(20));
        5
    });
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let joins = [(); 8].map(|()| scope.spawn(|| process.join()));
            for join in joins {
                assert_eq!(join.join().unwrap(), Ok(5));
            }
        });
    }
    assert!(process.exit_status().unwrap().success());
}

fn a_timed_join_gives_up_and_a_later_one_does_not(method: StartMethod) {
    let process = start(method, sleep_for_ever);
    assert!(process.try_join().unwrap_err().is_timed_out());
    let began = Instant::now();
    let error = process.join_timeout(Duration::from_millis(30)).unwrap_err();
    assert_eq!(error, JoinError::TimedOut);
    assert!(began.elapsed() >= Duration::from_millis(30));
    process.kill().unwrap();
    let far = Instant::now() + Duration::from_secs(50);
    assert!(process.join_deadline(far).unwrap_err().is_signaled());
}

fn a_deadline_that_has_passed_is_a_try(method: StartMethod) {
    let process = start(method, || 5);
    assert_eq!(process.join(), Ok(5));
    assert_eq!(process.join_deadline(Instant::now()), Ok(5));
    assert_eq!(process.join_timeout(Duration::ZERO), Ok(5));
    assert_eq!(process.try_join(), Ok(5));
}

fn a_process_is_alive_until_it_has_a_status(method: StartMethod) {
    let process = start(method, sleep_for_ever);
    assert!(process.is_alive());
    assert_eq!(process.exit_status(), None);
    process.terminate().unwrap();
    process.join().unwrap_err();
    assert!(!process.is_alive());
    assert_eq!(process.exit_status().unwrap().signal(), Some(15));
}

fn the_descriptor_is_readable_once_it_has_ended(method: StartMethod) {
    let process = start(method, sleep_for_ever);
    let readable = |deadline| poll::readable(process.sentinel(), deadline);
    assert_eq!(readable(Deadline::NOW), Ok(false));
    process.kill().unwrap();
    assert_eq!(readable(Deadline::after(Duration::from_secs(50))), Ok(true));
    process.join().unwrap_err();
    assert_eq!(poll::readable(process.as_fd(), Deadline::NOW), Ok(true));
}

fn clones_are_the_same_process(method: StartMethod) {
    let process = start(method, || 5);
    let other = process.clone();
    drop(process);
    let third = std::thread::spawn(move || (other.join(), other)).join();
    let (joined, other) = third.unwrap();
    assert_eq!(joined, Ok(5));
    assert_eq!(other.clone().join(), Ok(5));
}

fn whoever_reaps_calls_back_once(method: StartMethod) {
    let process = start::<()>(method, || std::process::exit(4));
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let tell = tell.clone();
        process.on_exit(Box::new(move |status| tell.send(status).unwrap()));
    }
    process.join().unwrap_err();
    let last = tell.clone();
    process.on_exit(Box::new(move |status| last.send(status).unwrap()));
    drop(tell);
    let codes: Vec<_> = told.iter().map(|status| status.code()).collect();
    assert_eq!(codes, [Some(4); 3]);
}

fn joins_may_come_in_any_order(method: StartMethod) {
    let start = |millis: u64| {
        let process = Process::new(
            |millis| {
                std::thread::sleep(Duration::from_millis(millis));
                millis
            },
            millis,
        );
        process.start_method(method).start().unwrap()
    };
    let processes = [30, 1, 20, 5].map(start);
    let joined = processes.each_ref().map(|process| process.join().unwrap());
    assert_eq!(joined, [30, 1, 20, 5]);
}

fn fifty_are_alive_at_once(method: StartMethod) {
    let processes: Vec<_> = (0..50).map(|_| start(method, sleep_for_ever)).collect();
    assert!(processes.iter().all(Process::is_alive));
    assert_eq!(active_children().len(), 50);
    for process in &processes {
        process.kill().unwrap();
    }
    for process in &processes {
        assert!(process.join().unwrap_err().is_signaled());
    }
    assert!(active_children().is_empty());
}

fn children_not_reaped_are_listed(method: StartMethod) {
    assert!(active_children().is_empty());
    let named = |name| {
        let process = Process::call(sleep_for_ever).name(name).daemon(name == "b");
        process.start_method(method).start().unwrap()
    };
    let _handles = [named("a"), named("b")];
    let children = active_children();
    let names: Vec<_> = children.iter().map(|c| (c.name(), c.is_daemon())).collect();
    assert_eq!(names, [("a", false), ("b", true)]);
    for child in &children {
        assert!(child.is_alive() && child.exit_status().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().signal(), Some(9));
    }
    assert!(active_children().is_empty());
}

fn a_stopped_process_is_neither_ended_nor_waited_for(method: StartMethod) {
    let process = start(method, || 5);
    let stopped = Process::call(|| {
        println!("at work");
        sleep_for_ever();
    });
    let stopped = stopped.stdout(Stdio::captured()).start_method(method);
    let stopped = stopped.start().unwrap();
    // One that is stopped while it changes what is shared would hold up everybody.
    eventually("it works", || {
        stopped.captured_stdout().unwrap() == b"at work\n"
    });
    multiproc_sys::testing::stop(stopped.pid(), true).unwrap();
    let error = stopped.join_timeout(Duration::from_millis(30)).unwrap_err();
    assert!(error.is_timed_out() && stopped.is_alive());
    assert_eq!(process.join(), Ok(5));
    assert_eq!(start(method, || 6).join(), Ok(6));
    multiproc_sys::testing::stop(stopped.pid(), false).unwrap();
    assert!(stopped.is_alive());
    stopped.kill().unwrap();
    assert!(stopped.join().unwrap_err().is_signaled());
}

fn a_running_process_cannot_be_closed_and_an_ended_one_can(method: StartMethod) {
    let process = start(method, sleep_for_ever);
    let text = process.close().unwrap_err().to_string();
    assert!(text.contains("still runs"), "{text}");
    process.kill().unwrap();
    process.join().unwrap_err();
    process.close().unwrap();
    assert_eq!(process.join(), Err(JoinError::Closed));
    assert_eq!(process.exit_status().unwrap().signal(), Some(9));
    process.close().unwrap();
}
