//! What a process takes over from the thread that starts it, and what a builder changes of that.

use std::path::PathBuf;
use std::time::Duration;

use multiproc_process::{Process, StartMethod, cpu_count};

use crate::tools::{open_descriptors, result_of};

crate::behaviours! { crate::EVERY;
    directory_and_environment_are_those_of_the_moment,
    variables_are_set_and_removed,
    an_environment_can_be_empty,
    a_changed_environment_reaches_many_at_once,
    an_impossible_variable_is_refused,
    a_directory_is_entered,
    a_relative_directory_begins_where_the_starter_is,
    a_directory_that_is_not_there_is_an_error_at_the_start,
    limits_masks_and_rights_are_the_same,
    a_memory_limit_holds,
    a_limit_of_processor_time_holds,
    niceness_is_set,
    processors_are_chosen,
    processors_that_are_not_there_are_an_error,
    no_descriptor_of_the_library_leaks_into_a_child,
}

fn here() -> (PathBuf, Option<String>) {
    (std::env::current_dir().unwrap(), std::env::var("MP_X").ok())
}

fn directory_and_environment_are_those_of_the_moment(method: StartMethod) {
    for (dir, value) in [
        ("/", None),
        ("/proc", Some("1")),
        ("/", Some("2")),
        ("/dev", None),
    ] {
        std::env::set_current_dir(dir).unwrap();
        // SAFETY: no other thread of this process touches the environment meanwhile.
        unsafe {
            match value {
                Some(value) => std::env::set_var("MP_X", value),
                None => std::env::remove_var("MP_X"),
            }
        }
        let expected = (PathBuf::from(dir), value.map(str::to_owned));
        assert_eq!(result_of(method, here), expected);
    }
}

fn variables_are_set_and_removed(method: StartMethod) {
    // SAFETY: this process has one thread that touches the environment.
    unsafe { std::env::set_var("MP_GOES", "1") };
    let process =
        Process::call(|| ["MP_GOES", "MP_X", "MP_Y", "PATH"].map(|name| std::env::var(name).ok()));
    let path = std::env::var("PATH").ok();
    let process = process
        .env("MP_X", "first")
        .envs([("MP_X", "x"), ("MP_Y", "")])
        .env_remove("MP_GOES")
        .start_method(method);
    let theirs = process.start().unwrap().join().unwrap();
    assert_eq!(theirs, [None, Some("x".into()), Some(String::new()), path]);
    // The next one is not affected.
    let next = result_of(method, || std::env::var("MP_GOES").ok());
    assert_eq!(next.as_deref(), Some("1"));
}

fn an_environment_can_be_empty(method: StartMethod) {
    let process = Process::call(|| std::env::vars().collect::<Vec<_>>()).env("LOST", "1");
    let process = process.env_clear().env("ONLY", "this").start_method(method);
    let theirs = process.start().unwrap().join().unwrap();
    assert_eq!(theirs, [("ONLY".into(), "this".into())]);
}

fn a_changed_environment_reaches_many_at_once(method: StartMethod) {
    result_of(method, || ());
    let long = "x".repeat(100_000);
    // SAFETY: this process has one thread that touches the environment.
    unsafe { std::env::set_var("MP_LONG", &long) };
    let length = || std::env::var("MP_LONG").map(|value| value.len()).ok();
    let one = |_| Process::call(length).start_method(method).start().unwrap();
    let all: Vec<_> = (0..20).map(one).collect();
    for process in all {
        assert_eq!(process.join(), Ok(Some(long.len())));
    }
}

fn an_impossible_variable_is_refused(method: StartMethod) {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
        let process = Process::call(|| ()).env(name, value).start_method(method);
        let error = process.start().unwrap_err();
        assert!(error.is_invalid(), "{error}");
        assert!(error.to_string().contains("environment"), "{error}");
    }
}

fn a_directory_is_entered(method: StartMethod) {
    let before = std::env::current_dir().unwrap();
    let process = Process::call(here)
        .current_dir("/proc/sys")
        .start_method(method);
    let (theirs, _) = process.start().unwrap().join().unwrap();
    assert_eq!(theirs, PathBuf::from("/proc/sys"));
    assert_eq!(std::env::current_dir().unwrap(), before);
    assert_eq!(result_of(method, here).0, before);
}

fn a_relative_directory_begins_where_the_starter_is(method: StartMethod) {
    std::env::set_current_dir("/proc").unwrap();
    let process = Process::call(here).current_dir("sys").start_method(method);
    let (theirs, _) = process.start().unwrap().join().unwrap();
    assert_eq!(theirs, PathBuf::from("/proc/sys"));
}

fn a_directory_that_is_not_there_is_an_error_at_the_start(method: StartMethod) {
    for path in ["/nowhere/at/all", "/proc/self/status"] {
        let process = Process::call(|| ()).current_dir(path).start_method(method);
        let error = process.start().unwrap_err();
        assert!(error.is_invalid(), "{error}");
        assert!(error.to_string().contains(path), "{error}");
    }
}

/// Some lines of this thread's status.
fn status() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let keys = [
        "SigBlk:",
        "SigIgn:",
        "Cpus_allowed:",
        "NoNewPrivs:",
        "Uid:",
        "CapEff:",
        "Seccomp:",
    ];
    let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(key));
    text.lines().filter(wanted).map(str::to_owned).collect()
}

fn limits() -> String {
    std::fs::read_to_string("/proc/self/limits").unwrap()
}

fn limits_masks_and_rights_are_the_same(method: StartMethod) {
    assert_eq!(result_of(method, status), status());
    assert_eq!(result_of(method, limits), limits());
}

fn a_memory_limit_holds(method: StartMethod) {
    let fill = |megabytes: usize| std::hint::black_box(vec![1_u8; megabytes << 20]).len();
    let limited = |megabytes| {
        let process = Process::new(fill, megabytes).memory_limit(64 << 20);
        let process = process.stderr(multiproc_process::Stdio::captured());
        let process = process.env("RUST_BACKTRACE", "0");
        process.start_method(method).start().unwrap().join()
    };
    assert_eq!(limited(8), Ok(8 << 20));
    let error = limited(100).unwrap_err();
    assert!(error.is_signaled(), "{error}");
    assert!(error.to_string().contains("memory allocation"), "{error}");
}

fn a_limit_of_processor_time_holds(method: StartMethod) {
    let process = Process::<()>::call(|| {
        loop {
            std::hint::black_box(1);
        }
    });
    let process = process
        .cpu_limit(Duration::from_millis(200))
        .start_method(method);
    let error = process.start().unwrap().join().unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("SIGXCPU") || text.contains("SIGKILL"),
        "{text}"
    );
}

fn niceness_is_set(method: StartMethod) {
    // The 19th field of the line; what comes before the name's end has blanks.
    let nice = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
    };
    let process = Process::call(nice).nice(7).start_method(method);
    assert_eq!(process.start().unwrap().join(), Ok(7));
    assert_eq!(result_of(method, nice), nice());
}

fn processors_are_chosen(method: StartMethod) {
    let allowed = || {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("Cpus_allowed_list:"));
        (line.unwrap().trim().to_owned(), cpu_count())
    };
    let (mine, count) = allowed();
    let first: usize = mine.split([',', '-']).next().unwrap().parse().unwrap();
    let process = Process::call(allowed)
        .affinity([first])
        .start_method(method);
    let theirs = process.start().unwrap().join().unwrap();
    assert_eq!(theirs, (first.to_string(), 1));
    assert_eq!(result_of(method, allowed), (mine, count));
}

fn processors_that_are_not_there_are_an_error(method: StartMethod) {
    let of = |processors: Vec<usize>| {
        let process = Process::call(|| ()).affinity(processors);
        process.start_method(method).start()
    };
    let error = of(vec![5000]).unwrap().join().unwrap_err();
    assert!(error.to_string().contains("surroundings"), "{error}");
    assert!(of(vec![]).unwrap_err().is_invalid());
    assert!(of(vec![1 << 40]).unwrap_err().is_invalid());
}

fn no_descriptor_of_the_library_leaks_into_a_child(method: StartMethod) {
    // The first start makes what the library keeps for itself.
    result_of(method, || ());
    let before = result_of(method, open_descriptors);
    if method != StartMethod::Fork {
        // Three streams, the arena, the file exchange, and the directory that is being read.
        assert_eq!(before, 6);
    }
    let sleep = || std::thread::sleep(Duration::from_millis(300));
    let siblings = |count: usize| {
        // Handles are dropped: a copy of this process would have those.
        for _ in 0..count {
            drop(Process::call(sleep).start_method(method).start().unwrap());
        }
        result_of(method, open_descriptors)
    };
    assert_eq!([siblings(5), siblings(100)], [before; 2]);
}
