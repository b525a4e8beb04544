//! How a process ends, and what its starter is told.

use multiproc_process::{
    ExitStatus, JoinError, LogLevel, Process, StartMethod, Stdio, log_to_stderr,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tools::{sleep_for_ever, start};

crate::behaviours! { crate::EVERY;
    a_code_is_told_as_its_lowest_eight_bits,
    an_exit_in_a_task_is_told_with_its_code,
    a_panic_comes_back_with_text_and_place,
    a_panic_with_a_value_that_is_no_text_comes_back,
    a_panic_is_printed_once_with_the_name_of_the_process,
    a_backtrace_comes_along_where_it_is_asked_for,
    a_panic_of_another_thread_ends_nothing,
    a_hook_of_the_tasks_own_is_used,
    an_abort_is_a_signal,
    a_stack_overflow_is_hinted_at,
    signals_are_named,
    a_signal_to_what_has_ended_does_nothing,
    an_argument_that_cannot_be_encoded_is_an_error_at_the_start,
    an_argument_that_cannot_be_decoded_says_so_at_the_join,
    a_result_that_cannot_be_encoded_says_so_at_the_join,
    a_result_that_cannot_be_decoded_says_so_at_the_join,
    a_status_that_nobody_gets_loses_no_result,
    captured_last_words_are_part_of_the_error,
    last_words_in_a_pipe_nobody_took_are_part_of_the_error,
    the_events_of_a_child_are_logged_under_its_name,
}

fn failure<R>(method: StartMethod, f: fn() -> R) -> (JoinError, ExitStatus)
where
    R: Serialize + DeserializeOwned + 'static + std::fmt::Debug,
{
    let process = start(method, f);
    let error = process.join().expect_err("it fails");
    (error, process.exit_status().expect("it has ended"))
}

fn a_code_is_told_as_its_lowest_eight_bits(method: StartMethod) {
    for (code, seen) in [(0, 0), (3, 3), (300, 44), (-1, 255)] {
        let process = Process::<()>::new(|code: i32| std::process::exit(code), code);
        let process = process.start_method(method).start().unwrap();
        assert_eq!(process.join(), Err(JoinError::Exited(seen)));
        assert_eq!(process.exit_status(), Some(ExitStatus::Code(seen)));
    }
}

fn an_exit_in_a_task_is_told_with_its_code(method: StartMethod) {
    let (error, status) = failure::<()>(method, || std::process::exit(3));
    assert_eq!(
        (&error, status),
        (&JoinError::Exited(3), ExitStatus::Code(3))
    );
    assert!(error.is_exited());
    assert_eq!(
        error.to_string(),
        "the process exited with code 3 before its function returned"
    );
}

fn a_panic_comes_back_with_text_and_place(method: StartMethod) {
    let (error, status) = failure::<()>(method, || panic!("number {}", 7));
    let JoinError::Panicked {
        message, location, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(message, "number 7");
    let location = location.as_deref().unwrap();
    assert!(location.contains("ends.rs"), "{location}");
    assert_eq!(status, ExitStatus::Code(101));
    let text = error.to_string();
    assert!(
        text.contains("number 7") && text.contains("ends.rs"),
        "{text}"
    );
}

fn a_panic_with_a_value_that_is_no_text_comes_back(method: StartMethod) {
    let (error, _) = failure::<()>(method, || std::panic::panic_any(5));
    assert!(error.is_panicked());
    assert!(
        error.to_string().contains("a value that is no text"),
        "{error}"
    );
}

fn a_panic_is_printed_once_with_the_name_of_the_process(method: StartMethod) {
    let process = Process::<()>::call(|| panic!("oops")).name("clumsy");
    let process = process
        .env("RUST_BACKTRACE", "0")
        .stderr(Stdio::captured())
        .start_method(method);
    let process = process.start().unwrap();
    let error = process.join().unwrap_err();
    assert!(error.is_panicked(), "{error}");
    let text = error.stderr().unwrap();
    let lines: Vec<_> = text.lines().filter(|l| l.contains("panicked at")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    let begin = format!("process 'clumsy' (pid {}) panicked at", process.pid());
    assert!(lines[0].starts_with(&begin), "{text}");
}

fn a_backtrace_comes_along_where_it_is_asked_for(method: StartMethod) {
    for (wish, comes) in [("1", true), ("0", false)] {
        let process = Process::<()>::call(|| panic!("oops")).env("RUST_BACKTRACE", wish);
        let process = process.stderr(Stdio::null()).start_method(method);
        let error = process.start().unwrap().join().unwrap_err();
        let JoinError::Panicked { backtrace, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(backtrace.is_some(), comes);
    }
}

fn a_panic_of_another_thread_ends_nothing(method: StartMethod) {
    let process = Process::call(|| {
        let thread = std::thread::spawn(|| panic!("in a thread"));
        thread.join().is_err()
    });
    let process = process.stderr(Stdio::null()).start_method(method);
    assert_eq!(process.start().unwrap().join(), Ok(true));
}

fn a_hook_of_the_tasks_own_is_used(method: StartMethod) {
    let process = Process::<()>::call(|| {
        std::panic::set_hook(Box::new(|_| eprintln!("my own hook")));
        panic!("a custom panic");
    });
    let process = process.stderr(Stdio::captured()).start_method(method);
    let error = process.start().unwrap().join().unwrap_err();
    assert_eq!(error.stderr(), Some("my own hook\n"));
    let JoinError::Panicked {
        message, location, ..
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert_eq!((message.as_str(), location), ("a custom panic", &None));
}

fn an_abort_is_a_signal(method: StartMethod) {
    let (error, _) = failure::<()>(method, || std::process::abort());
    assert!(
        matches!(error, JoinError::Signaled { signal: 6, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("SIGABRT"), "{error}");
}

fn deep(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    if n == u64::MAX {
        0
    } else {
        deep(n + 1) + block[5]
    }
}

fn a_stack_overflow_is_hinted_at(method: StartMethod) {
    let process = Process::new(deep, 0)
        .stderr(Stdio::null())
        .start_method(method);
    let error = process
        .start()
        .unwrap()
        .join()
        .expect_err("no stack is that deep");
    let text = error.to_string();
    // A copy of a program's main thread has the standard library's handler, which aborts.
    if method == StartMethod::Fork {
        assert!(error.is_signaled(), "{text}");
    } else {
        assert!(text.contains("killed by signal 11 (SIGSEGV)"), "{text}");
        assert!(text.contains("possibly a stack overflow"), "{text}");
    }
}

fn signals_are_named(method: StartMethod) {
    multiproc_sys::testing::heed_interrupts();
    type Send = fn(&Process<()>);
    let ways: [(Send, &str); 3] = [
        (|p| p.interrupt().unwrap(), "killed by signal 2 (SIGINT)"),
        (|p| p.terminate().unwrap(), "killed by signal 15 (SIGTERM)"),
        (|p| p.kill().unwrap(), "killed by signal 9 (SIGKILL)"),
    ];
    for (send, text) in ways {
        let process = start(method, sleep_for_ever);
        send(&process);
        let error = process.join().unwrap_err();
        assert_eq!(error.to_string(), format!("the process was {text}"));
        assert!(matches!(error, JoinError::Signaled { core: false, .. }));
    }
}

fn a_signal_to_what_has_ended_does_nothing(method: StartMethod) {
    let process = start(method, || 5);
    process.join().unwrap();
    process.terminate().unwrap();
    process.kill().unwrap();
    process.interrupt().unwrap();
    assert_eq!(process.join(), Ok(5));
    assert!(process.exit_status().unwrap().success());
}

/// Cannot be encoded, or decoded, as it says.
#[derive(Debug)]
struct Stubborn {
    encodes: bool,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.encodes {
            true => serializer.serialize_bool(true),
            false => Err(serde::ser::Error::custom("I stay here")),
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Stubborn, D::Error> {
        Err(serde::de::Error::custom("I do not arrive"))
    }
}

fn an_argument_that_cannot_be_encoded_is_an_error_at_the_start(method: StartMethod) {
    let process = Process::new(|_: Stubborn| (), Stubborn { encodes: false });
    let error = process
        .start_method(method)
        .start()
        .expect_err("it cannot travel");
    assert!(error.is_encode());
    let text = error.to_string();
    assert!(
        text.contains("Stubborn") && text.contains("I stay here"),
        "{text}"
    );
    assert!(std::error::Error::source(&error).is_some());
}

fn an_argument_that_cannot_be_decoded_says_so_at_the_join(method: StartMethod) {
    let process = Process::new(|_: Stubborn| (), Stubborn { encodes: true });
    let process = process.start_method(method).start().unwrap();
    let error = process.join().expect_err("it cannot arrive");
    assert!(error.is_decode() && matches!(error, JoinError::Argument(_)));
    let text = error.to_string();
    assert!(
        text.contains("Stubborn") && text.contains("I do not arrive"),
        "{text}"
    );
}

fn a_result_that_cannot_be_encoded_says_so_at_the_join(method: StartMethod) {
    let (error, _) = failure(method, || Stubborn { encodes: false });
    assert!(error.is_encode(), "{error:?}");
    assert!(error.to_string().contains("I stay here"), "{error}");
}

fn a_result_that_cannot_be_decoded_says_so_at_the_join(method: StartMethod) {
    let (error, _) = failure(method, || Stubborn { encodes: true });
    assert!(error.is_decode() || error.is_encode(), "{error:?}");
    assert!(error.to_string().contains("I do not arrive"), "{error}");
}

fn a_status_that_nobody_gets_loses_no_result(method: StartMethod) {
    multiproc_sys::testing::ignore_ended_children();
    let process = start(method, || 5);
    assert_eq!(process.join(), Ok(5));
    assert_eq!(process.exit_status(), Some(ExitStatus::Code(0)));
    let (_, status) = failure::<()>(method, || std::process::exit(9));
    // Kernels from 6.15 on keep it.
    let known = [ExitStatus::Code(9), ExitStatus::Unknown];
    assert!(known.contains(&status), "{status}");
    let process = start(method, sleep_for_ever);
    assert!(process.is_alive());
    process.kill().unwrap();
    assert!(process.join().is_err() && !process.is_alive());
}

fn captured_last_words_are_part_of_the_error(method: StartMethod) {
    let process = Process::<()>::call(|| {
        eprintln!("{}", "x".repeat(10_000));
        eprintln!("that was it");
        std::process::abort();
    });
    let process = process.stderr(Stdio::captured()).start_method(method);
    let process = process.start().unwrap();
    let error = process.join().unwrap_err();
    let words = error.stderr().unwrap();
    assert_eq!(words.len(), 4096);
    assert!(words.ends_with("x\nthat was it\n"));
    assert!(error.is_signaled() && matches!(error.kind(), JoinError::Signaled { signal: 6, .. }));
    let text = error.to_string();
    assert!(
        text.contains("SIGABRT") && text.contains("that was it"),
        "{text}"
    );
    assert_eq!(process.captured_stderr().unwrap(), words.as_bytes());
}

fn last_words_in_a_pipe_nobody_took_are_part_of_the_error(method: StartMethod) {
    let process = Process::<()>::call(|| {
        eprintln!("alas");
        std::process::exit(7);
    });
    let process = process.stderr(Stdio::piped()).start_method(method);
    let error = process.start().unwrap().join().unwrap_err();
    assert_eq!(error.kind(), &JoinError::Exited(7));
    assert_eq!(error.stderr(), Some("alas\n"));
}

fn the_events_of_a_child_are_logged_under_its_name(method: StartMethod) {
    log_to_stderr(LogLevel::Info);
    let process = Process::call(|| ())
        .name("chatty")
        .stderr(Stdio::captured());
    let process = process.start_method(method).start().unwrap();
    process.join().unwrap();
    let said = String::from_utf8(process.captured_stderr().unwrap()).unwrap();
    assert_eq!(
        said,
        "[INFO/chatty] begins\n[INFO/chatty] returns with code 0\n"
    );
    log_to_stderr(None);
    let process = Process::call(|| ()).stderr(Stdio::captured());
    let process = process.start_method(method).start().unwrap();
    process.join().unwrap();
    assert_eq!(process.captured_stderr().unwrap(), b"");
}
