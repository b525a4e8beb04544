//! What a user is told when something goes wrong.

mod common;

use common::{after, helper, is_helper, limited, run};
use multiproc_process::{JoinError, Process, StartMethod, testing};

const BOTH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

#[test]
fn fault_20_another_build_is_refused() {
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
fn errors_can_be_passed_on() {
    fn passes<E: std::error::Error + Clone + Send + Sync + 'static>() {}
    passes::<multiproc_process::StartError>();
    passes::<JoinError>();
    passes::<multiproc_process::SignalError>();
    assert!(multiproc_process::init().is_ok());
}
