//! Without /proc the program cannot be run again, and `start` says so.
//!
//! A mount namespace of its own takes rights: where they are missing, the run prints why.

use std::process::Command;

use multiproc_process::Process;

/// Runs in a process that has no /proc; nothing when run by itself.
#[test]
fn case() {
    if std::env::var_os("WITHOUT_PROC").is_none() {
        return;
    }
    for _ in 0..2 {
        let error = Process::new(|n: u32| n + 1, 1)
            .start()
            .expect_err("no program to run");
        assert!(error.is_no_program(), "{error:?}");
        println!("start said: {error}");
    }
}

#[test]
fn fault_20_without_proc_a_start_says_what_to_do() {
    let program = std::env::current_exe().expect("this program");
    let script =
        "mount --make-rprivate / && umount -l /proc && exec \"$0\" --exact case --nocapture";
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(program)
        .env("WITHOUT_PROC", "1")
        .output();
    let output = match run {
        // 101 is a test that failed, and so one that was tried.
        Ok(output) if matches!(output.status.code(), Some(0 | 101)) => output,
        refused => return println!("not tried, no mount namespace to be had: {refused:?}"),
    };
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("start said: ").count(), 2, "{text}");
    assert!(text.contains("/proc"), "{text}");
}
