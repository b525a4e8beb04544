//! What a user is told when something goes wrong.

mod common;

use common::{after, helper, is_helper, limited, run};
use multiproc_process::{ExitStatus, JoinError, Process, StartMethod, testing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const BOTH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn join_of<R>(f: fn() -> R, method: StartMethod) -> (JoinError, ExitStatus)
where
    R: Serialize + serde::de::DeserializeOwned + 'static + std::fmt::Debug,
{
    let process = Process::call(f).start_method(method).start().unwrap();
    let error = process.join().expect_err("it fails");
    (error, process.exit_status().expect("it has ended"))
}

#[test]
fn a_panic_comes_back_with_text_and_place() {
    limited(|| {
        for method in BOTH {
            let (error, status) = join_of::<()>(|| panic!("number {}", 7), method);
            let JoinError::Panicked {
                message, location, ..
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!(message, "number 7");
            let location = location.as_deref().unwrap();
            assert!(location.contains("errors.rs"), "{location}");
            assert_eq!(status, ExitStatus::Code(101));
            let text = error.to_string();
            assert!(
                text.contains("number 7") && text.contains("errors.rs"),
                "{text}"
            );
        }
    });
}

#[test]
fn a_panic_is_printed_once_with_the_name_of_the_process() {
    limited(|| {
        let output = run(&mut helper("panics_in_a_child"));
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = text.lines().filter(|l| l.contains("panicked at")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("process 'clumsy' (pid "), "{text}");
        assert!(text.contains("my own hook: a custom panic"), "{text}");
    });
}

#[test]
fn panics_in_a_child() {
    if !is_helper("panics_in_a_child") {
        return;
    }
    let clumsy = || Process::<()>::call(|| panic!("oops")).name("clumsy");
    assert!(clumsy().start().unwrap().join().unwrap_err().is_panicked());
    let threads = Process::call(|| {
        let thread = std::thread::Builder::new().name("inner".into());
        let thread = thread.spawn(|| panic!("in a thread")).unwrap();
        thread.join().is_err()
    });
    assert_eq!(threads.start().unwrap().join(), Ok(true));
    let custom = Process::<()>::call(|| {
        std::panic::set_hook(Box::new(|info| {
            eprintln!(
                "my own hook: {}",
                info.payload().downcast_ref::<&str>().unwrap()
            );
        }));
        panic!("a custom panic");
    });
    let error = custom.start().unwrap().join().unwrap_err();
    assert!(matches!(error, JoinError::Panicked { message, .. } if message == "a custom panic"));
}

/// Cannot be encoded, or decoded, as it says.
#[derive(Debug)]
struct Stubborn {
    encodes: bool,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.encodes {
            serializer.serialize_bool(true)
        } else {
            Err(serde::ser::Error::custom("I stay here"))
        }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Stubborn, D::Error> {
        Err(serde::de::Error::custom("I do not arrive"))
    }
}

#[test]
fn an_argument_that_cannot_be_encoded_is_an_error_at_the_start() {
    limited(|| {
        let error = Process::new(|_: Stubborn| (), Stubborn { encodes: false });
        let error = error.start().expect_err("it cannot travel");
        assert!(error.is_encode());
        let text = error.to_string();
        assert!(
            text.contains("Stubborn") && text.contains("I stay here"),
            "{text}"
        );
        assert!(std::error::Error::source(&error).is_some());
    });
}

#[test]
fn an_argument_that_cannot_be_decoded_says_so_at_the_join() {
    limited(|| {
        let process = Process::new(|_: Stubborn| (), Stubborn { encodes: true });
        let error = process
            .start()
            .unwrap()
            .join()
            .expect_err("it cannot arrive");
        assert!(error.is_decode() && matches!(error, JoinError::Argument(_)));
        let text = error.to_string();
        assert!(
            text.contains("Stubborn") && text.contains("I do not arrive"),
            "{text}"
        );
    });
}

#[test]
fn a_result_that_cannot_travel_says_so_at_the_join() {
    limited(|| {
        for method in BOTH {
            let (error, _) = join_of(|| Stubborn { encodes: false }, method);
            assert!(error.is_encode(), "{error:?}");
            assert!(error.to_string().contains("I stay here"), "{error}");
            let (error, _) = join_of(|| Stubborn { encodes: true }, method);
            assert!(error.is_decode() || error.is_encode(), "{error:?}");
            assert!(error.to_string().contains("I do not arrive"), "{error}");
        }
    });
}

#[test]
fn an_exit_before_the_return_is_told_with_its_code() {
    limited(|| {
        for method in BOTH {
            let (error, status) = join_of::<()>(|| std::process::exit(3), method);
            assert_eq!((error, status), (JoinError::Exited(3), ExitStatus::Code(3)));
            let (error, _) = join_of::<()>(|| std::process::exit(0), method);
            assert_eq!(error, JoinError::Exited(0));
        }
    });
}

#[test]
fn a_signal_is_named() {
    limited(|| {
        for method in BOTH {
            let (error, _) = join_of::<()>(|| std::process::abort(), method);
            assert!(
                matches!(error, JoinError::Signaled { signal: 6, .. }),
                "{error:?}"
            );
            let process = Process::<()>::call(|| {
                loop {
                    std::thread::park()
                }
            })
            .start_method(method);
            let process = process.start().unwrap();
            process.interrupt().unwrap();
            let error = process.join().unwrap_err();
            assert_eq!(
                error.to_string(),
                "the process was killed by signal 2 (SIGINT)"
            );
        }
    });
}

fn deep(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    if n == u64::MAX {
        0
    } else {
        deep(n + 1) + block[5]
    }
}

#[test]
fn a_stack_overflow_is_hinted_at() {
    limited(|| {
        let process = Process::new(deep, 0).start().unwrap();
        let text = process
            .join()
            .expect_err("no stack is that deep")
            .to_string();
        assert!(text.contains("SIGSEGV"), "{text}");
        assert!(text.contains("possibly a stack overflow"), "{text}");
    });
}

#[test]
fn another_build_is_refused() {
    limited(|| drop(run(&mut helper("starts_another_build"))));
}

#[test]
fn starts_another_build() {
    if !is_helper("starts_another_build") {
        return;
    }
    testing::forge_identity(true);
    for method in BOTH {
        let error = Process::call(|| ())
            .start_method(method)
            .start()
            .unwrap_err();
        assert!(error.is_build(), "{error}");
        assert!(error.to_string().contains("another build"), "{error}");
    }
    testing::forge_identity(false);
    for method in BOTH {
        let process = Process::call(|| 5).start_method(method).start().unwrap();
        assert_eq!(process.join(), Ok(5));
    }
}

#[test]
fn a_variable_left_in_the_environment_is_ignored_with_a_message() {
    limited(|| {
        let sealed = multiproc_sys::memory::sealed_bytes("other", b"some bytes").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&sealed);
        for value in [
            "",
            "nonsense",
            "3:zz",
            "999:1234",
            "0:1",
            &format!("{number}:5"),
        ] {
            let output = run(helper("says_hello").env("MULTIPROC_BOOT", value));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                errors.contains("MULTIPROC_BOOT is ignored"),
                "{value}: {errors}"
            );
            assert!(!errors.contains("panicked"), "{value}: {errors}");
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(after(&text, "variable: "), Some("none"), "{value}: {text}");
            assert_eq!(after(&text, "result: "), Some("Ok(42)"), "{value}: {text}");
        }
    });
}

#[test]
fn says_hello() {
    if !is_helper("says_hello") {
        return;
    }
    let variable = std::env::var("MULTIPROC_BOOT");
    println!("\nvariable: {}", variable.as_deref().unwrap_or("none"));
    let process = Process::call(|| {
        assert!(std::env::var("MULTIPROC_BOOT").is_err());
        42
    });
    println!("\nresult: {:?}", process.start().unwrap().join());
}

#[test]
fn a_name_no_list_could_show_is_refused() {
    limited(|| {
        let error = Process::call(|| ()).name("x".repeat(5000)).start();
        assert!(error.unwrap_err().is_encode());
        let process = Process::call(|| ()).name("ünïcödé ".repeat(50)).start();
        process.unwrap().join().unwrap();
    });
}

#[test]
fn errors_can_be_passed_on() {
    fn passes<E: std::error::Error + Clone + Send + Sync + 'static>() {}
    passes::<multiproc_process::StartError>();
    passes::<JoinError>();
    passes::<multiproc_process::SignalError>();
    assert!(multiproc_process::init().is_ok());
}
