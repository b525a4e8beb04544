//! What only a copy of this process can do, and where it is refused.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use multiproc_process::{Process, StartError, StartMethod, Stdio, current_process};
use multiproc_shm::{Kind, Object, family};

use crate::tools::{eventually, is_reaped, sleep_for_ever, start};

crate::behaviours! { &[StartMethod::Fork];
    a_closure_has_what_it_captured,
    a_captured_closure_can_start_by_no_other_method,
    captured_handles_are_the_copys_own,
    a_copy_is_a_member_whose_death_is_noticed,
    other_threads_are_a_reason_to_refuse,
    a_thread_that_has_ended_is_none,
    output_that_waits_is_not_written_twice,
    what_the_original_registered_for_its_exit_does_not_run,
    handles_of_siblings_can_be_joined_in_a_copy,
    a_copy_of_a_child_is_a_child_of_that,
    all_methods_go_together,
    what_was_drawn_before_is_the_same_in_a_copy,
    copies_are_made_while_the_library_is_busy,
}

fn a_closure_has_what_it_captured(_: StartMethod) {
    let words = ["a".to_owned(), "b".to_owned()];
    let process = Process::fork(move || words.join("+")).name("copy");
    let process = process.start().unwrap();
    assert_eq!(process.join().unwrap(), "a+b");
    assert_eq!(process.name(), "copy");
    assert_eq!(process.start_method(), StartMethod::Fork);
    let panics = Process::fork(|| -> u8 { panic!("in the copy") }).stderr(Stdio::null());
    assert!(panics.start().unwrap().join().unwrap_err().is_panicked());
}

fn a_captured_closure_can_start_by_no_other_method(_: StartMethod) {
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let error = Process::fork(|| ())
            .start_method(method)
            .start()
            .unwrap_err();
        assert!(error.is_invalid(), "{error}");
        assert!(error.to_string().contains("Process::new"), "{error}");
    }
}

fn captured_handles_are_the_copys_own(_: StartMethod) {
    let object = Object::create(Kind::Plain, 7, 64, |_| ()).unwrap();
    let before = family::usage().unwrap().used;
    let theirs = object.clone();
    let process = Process::fork(move || {
        theirs.words()[0].store(5, Ordering::SeqCst);
        drop(theirs);
        current_process().pid()
    });
    let process = process.start().unwrap();
    assert_eq!(process.join(), Ok(process.pid()));
    // The copy dropped its own reference, not ours.
    assert_eq!(object.words()[0].load(Ordering::SeqCst), 5);
    let back = Process::new(
        |object: Object| object.words()[0].load(Ordering::SeqCst),
        object,
    );
    assert_eq!(
        back.start_method(StartMethod::Fork).start().unwrap().join(),
        Ok(5)
    );
    drop(process);
    eventually("all is given back", || {
        family::usage().unwrap().used < before
    });
}

fn a_copy_is_a_member_whose_death_is_noticed(_: StartMethod) {
    let object = Object::create(Kind::Locked, 7, 64, |_| ()).unwrap();
    let theirs = object.clone();
    let process = Process::fork(move || {
        let _held = theirs.lock().lock(multiproc_sys::clock::Deadline::NEVER);
        println!("held");
        sleep_for_ever();
    });
    let process = process.stdout(Stdio::piped()).start().unwrap();
    let mut line = String::new();
    let out = process.take_stdout().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    assert_eq!(line, "held\n");
    process.kill().unwrap();
    process.join().unwrap_err();
    let acquired = object.lock().lock(multiproc_sys::clock::Deadline::NEVER);
    assert!(acquired.unwrap().taken().is_after_death());
}

fn other_threads_are_a_reason_to_refuse(_: StartMethod) {
    // Threads of the library do not count.
    start(StartMethod::ForkServer, || ()).join().unwrap();
    let (stop, wait) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("somebody".into());
    let thread = thread.spawn(move || wait.recv().is_err()).unwrap();
    for _ in 0..2 {
        let error = Process::fork(|| ()).start().unwrap_err();
        assert!(error.is_threads_running());
        let StartError::ThreadsRunning { names } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(names, &["somebody"]);
        let text = error.to_string();
        assert!(
            text.contains("somebody") && text.contains("StartMethod::ForkServer"),
            "{text}"
        );
    }
    drop(stop);
    thread.join().unwrap();
    Process::fork(|| ()).start().unwrap().join().unwrap();
}

fn a_thread_that_has_ended_is_none(method: StartMethod) {
    for _ in 0..20 {
        std::thread::spawn(|| ()).join().unwrap();
        assert_eq!(start(method, || 5).join(), Ok(5));
    }
}

fn output_that_waits_is_not_written_twice(_: StartMethod) {
    let outer = Process::fork(|| {
        print!("once ");
        let inner = Process::fork(|| print!("inner ")).start().unwrap();
        inner.join().unwrap();
        print!("outer");
    });
    let outer = outer.stdout(Stdio::captured()).start().unwrap();
    outer.join().unwrap();
    assert_eq!(outer.captured_stdout().unwrap(), b"once inner outer");
}

fn what_the_original_registered_for_its_exit_does_not_run(method: StartMethod) {
    static EXITS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn say() {
        EXITS.fetch_add(1, Ordering::SeqCst);
        println!("the original ends");
    }
    multiproc_sys::child::lifetime::at_exit(say).unwrap();
    let process = Process::call(|| println!("the copy ends")).stdout(Stdio::captured());
    let process = process.start_method(method).start().unwrap();
    process.join().unwrap();
    assert_eq!(process.captured_stdout().unwrap(), b"the copy ends\n");
}

fn handles_of_siblings_can_be_joined_in_a_copy(_: StartMethod) {
    let quick = start(StartMethod::ForkServer, || 5);
    let slow = start(StartMethod::Spawn, sleep_for_ever);
    let siblings = (quick.clone(), slow.clone());
    let copy = Process::fork(move || {
        let (quick, slow) = siblings;
        let five = quick.join().unwrap();
        assert!(slow.is_alive());
        slow.kill().unwrap();
        (five, slow.join().is_err(), slow.is_alive())
    });
    let copy = copy.start().unwrap();
    assert_eq!(copy.join(), Ok((5, true, false)));
    // Here they are children still.
    assert_eq!(quick.join(), Ok(5));
    assert_eq!(
        slow.join().unwrap_err().to_string(),
        "the process was killed by signal 9 (SIGKILL)"
    );
    let later = start(StartMethod::ForkServer, sleep_for_ever);
    later.kill().unwrap();
    assert!(later.join().unwrap_err().is_signaled());
}

fn a_copy_of_a_child_is_a_child_of_that(_: StartMethod) {
    let outer = Process::call(|| {
        let inner = Process::fork(|| {
            let parent = multiproc_process::parent_process().unwrap();
            (
                parent.pid(),
                parent.name().to_owned(),
                current_process().name().to_owned(),
            )
        });
        inner.start().unwrap().join().unwrap()
    });
    let outer = outer.name("outer").start().unwrap();
    let expected = (outer.pid(), "outer".to_owned(), "outer:1".to_owned());
    assert_eq!(outer.join(), Ok(expected));
}

fn all_methods_go_together(_: StartMethod) {
    for round in 0..5 {
        let all = crate::EVERY.iter().map(|&method| {
            let process = Process::new(|n: u32| n + 1, round);
            process.start_method(method).start().unwrap()
        });
        for process in all.collect::<Vec<_>>() {
            assert_eq!(process.join(), Ok(round + 1));
        }
    }
}

thread_local! {
    static DRAWN: RefCell<u64> = const { RefCell::new(0) };
}

fn what_was_drawn_before_is_the_same_in_a_copy(method: StartMethod) {
    let drawn = multiproc_sys::random::u64() | 1;
    DRAWN.set(drawn);
    assert_eq!(
        start(method, || DRAWN.with_borrow(|drawn| *drawn)).join(),
        Ok(drawn)
    );
    let fresh = start(StartMethod::Spawn, || DRAWN.with_borrow(|drawn| *drawn));
    assert_eq!(fresh.join(), Ok(0));
}

fn copies_are_made_while_the_library_is_busy(method: StartMethod) {
    // Whose ends keep the library's own threads at work.
    let mut pids = Vec::new();
    for _ in 0..100 {
        let other = start(StartMethod::ForkServer, || ());
        pids.push(other.pid());
        drop(other);
        let copy = start(method, || vec![0_u8; 10_000].len());
        assert_eq!(copy.join(), Ok(10_000));
    }
    eventually("all are reaped", || pids.iter().all(|&pid| is_reaped(pid)));
}
