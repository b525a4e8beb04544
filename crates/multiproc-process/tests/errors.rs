//! What a user is told when something goes wrong.

mod common;

use common::{after, helper, helper_after, is_helper, limited, run};
use multiproc_process::{ExitStatus, JoinError, Process, StartMethod, testing};

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

#[test]
fn a_core_dump_is_told_of() {
    limited(|| {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        let pattern = pattern.trim();
        if pattern.is_empty() || pattern.starts_with('|') || pattern.contains('/') {
            return println!("not tried: dumps do not go where the process is, but to '{pattern}'");
        }
        let limit = ["-c", "ulimit -c unlimited"];
        if !std::process::Command::new("sh")
            .args(limit)
            .status()
            .is_ok_and(|s| s.success())
        {
            return println!("not tried: the limit of dumps may not be raised");
        }
        let place = std::env::temp_dir().join(format!("mp-cores-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        for (setup, dumps) in [("ulimit -c unlimited", "true"), ("ulimit -c 0", "false")] {
            let binary = std::env::current_exe().unwrap();
            let mut helper = helper_after(setup, binary, "aborts_in_children");
            run(helper.env("PLACE", &place).env("DUMPS", dumps));
        }
        // One for each start method; and what the family shares, 64 GiB of it, is not in them.
        let dumps = std::fs::read_dir(&place).unwrap();
        let sizes: Vec<_> = dumps
            .map(|dump| dump.unwrap().metadata().unwrap().len())
            .collect();
        std::fs::remove_dir_all(&place).unwrap();
        assert!(
            !sizes.is_empty() && sizes.iter().all(|&size| size < 1 << 30),
            "{sizes:?}"
        );
    });
}

#[test]
fn aborts_in_children() {
    if !is_helper("aborts_in_children") {
        return;
    }
    let place = std::env::var_os("PLACE").unwrap();
    let dumps = std::env::var("DUMPS").unwrap() == "true";
    for method in BOTH {
        let process = Process::call(|| -> () { std::process::abort() });
        let process = process.start_method(method).current_dir(&place);
        let process = process.start().unwrap();
        let error = process.join().unwrap_err();
        let expected = JoinError::Signaled {
            signal: 6,
            core: dumps,
        };
        assert_eq!(error, expected);
        assert_eq!(error.to_string().contains("core dumped"), dumps, "{error}");
        let status = ExitStatus::Signal {
            signal: 6,
            core_dumped: dumps,
        };
        assert_eq!(process.exit_status(), Some(status));
    }
}
