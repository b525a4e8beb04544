//! Processes, as programs written from the interface alone start and join them.

use crate::{MS, Res};

use multiproc::{
    Bytes, Context, ExitStatus, Fd, JoinError, Process, Run, StartError, StartMethod, TaskFailure,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}
fn add(a: i32, b: i32) -> i32 {
    a + b
}
fn hello() {
    println!("hello");
}
fn forever(_: ()) {
    loop {
        std::thread::sleep(MS * 100)
    }
}

#[test]
fn api_md_first_program() -> Res {
    let p: Process<u64> = Process::new(fib, 10).name("fib").daemon(true).start()?;
    println!(
        "{} {} {} {:?} {p:?}",
        p.pid(),
        p.name(),
        p.is_alive(),
        p.exit_status()
    );
    assert_eq!(p.join()?, 55);
    assert_eq!(p.join()?, 55);
    assert_eq!(p.try_join()?, 55);
    assert_eq!(p.join_timeout(MS)?, 55);
    assert_eq!(p.join_deadline(Instant::now())?, 55);
    assert_eq!(p.exit_status(), Some(ExitStatus::Code(0)));
    assert!(p.exit_status().unwrap().success());
    p.terminate()?;
    p.kill()?;
    p.interrupt()?;
    p.close()?;
    Ok(())
}

#[test]
fn tuples_closures_calls() -> Res {
    assert_eq!(Process::new(|(a, b)| add(a, b), (1, 2)).start()?.join()?, 3);
    Process::call(hello).start()?.join()?;
    let s: String = Process::call(|| "x".to_string()).start()?.join()?;
    assert_eq!(s, "x");
    let p = Process::new(|n: u8| n + 1, 4).start()?;
    assert_eq!(p.join()?, 5);
    Process::new(|_| (), ()).start()?.join()?;
    assert_eq!(
        Process::new(String::from, "x".to_string())
            .start()?
            .join()?,
        "x"
    );
    assert_eq!(Process::new(u32::count_ones, 7).start()?.join()?, 3);
    assert_eq!(Process::new(Some, 7u8).start()?.join()?, Some(7));
    Ok(())
}

#[test]
fn panics_exits_signals() -> Res {
    let p = Process::new(|n: u32| -> u32 { panic!("bad {n}") }, 3).start()?;
    match p.join() {
        Err(JoinError::Panicked {
            message,
            location,
            backtrace,
            ..
        }) => {
            assert_eq!(message, "bad 3");
            println!("{location:?} {backtrace:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(p.join().unwrap_err().is_panicked());
    let p = Process::call(|| std::process::exit(3)).start()?;
    let e = p.join().map(|_: ()| ()).unwrap_err();
    assert!(matches!(e, JoinError::Exited(3)));
    assert!(e.is_exited());
    assert_eq!(p.exit_status(), Some(ExitStatus::Code(3)));
    let p = Process::call(|| std::process::abort()).start()?;
    match p.join().map(|_: ()| ()) {
        Err(JoinError::Signaled { signal, core, .. }) => {
            assert_eq!(signal, 6);
            let _: bool = core;
        }
        other => panic!("{other:?}"),
    }
    assert!(p.join().unwrap_err().is_signaled());
    match p.exit_status() {
        Some(ExitStatus::Signal {
            signal,
            core_dumped,
            ..
        }) => {
            assert_eq!(signal, 6);
            let _: bool = core_dumped;
        }
        other => panic!("{other:?}"),
    }
    let p = Process::new(forever, ()).start()?;
    let e = p.join_timeout(MS).unwrap_err();
    assert!(e.is_timed_out() && matches!(e, JoinError::TimedOut));
    assert!(p.try_join().unwrap_err().is_timed_out());
    p.kill()?;
    let e = p.join().unwrap_err();
    println!("{e}");
    let e2 = e.clone();
    let b: Box<dyn std::error::Error + Send + Sync> = e2.into();
    println!("{b}");
    Ok(())
}

struct Greeter {
    name: String,
}
#[derive(Serialize, Deserialize)]
struct Counter {
    name: String,
    n: u32,
}
impl Run for Counter {
    type Output = String;
    fn run(self) -> String {
        format!("{} {}", self.name, self.n)
    }
}
#[test]
fn from_task() -> Res {
    let p: Process<String> = Process::from_task(Counter {
        name: "a".into(),
        n: 3,
    })
    .name("counter")
    .start()?;
    assert_eq!(p.join()?, "a 3");
    let g = Greeter { name: "g".into() };
    let p = Process::fork(move || g.name.len()).start();
    match p {
        Ok(p) => assert_eq!(p.join()?, 1),
        Err(e) => {
            assert!(e.is_threads_running());
            assert!(matches!(e, StartError::ThreadsRunning { .. }));
            println!("{e}");
        }
    }
    Ok(())
}

#[test]
fn start_methods() -> Res {
    for m in [StartMethod::ForkServer, StartMethod::Spawn] {
        assert_eq!(Process::new(fib, 10).start_method(m).start()?.join()?, 55);
        let cx = Context::new(m);
        assert_eq!(cx.process(fib, 10).start()?.join()?, 55);
        println!("{m:?} {m}");
    }
    println!("{:?}", multiproc::start_methods());
    let all: Vec<StartMethod> = multiproc::start_methods().to_vec();
    assert!(all.contains(&StartMethod::Fork));
    assert_eq!(StartMethod::default(), StartMethod::ForkServer);
    multiproc::set_start_method(StartMethod::ForkServer);
    let _: StartMethod = multiproc::get_start_method();
    Ok(())
}

#[test]
fn free_functions() -> Res {
    let me = multiproc::current_process();
    assert_eq!(me.pid(), std::process::id());
    println!("{} {:?}", me.name(), me);
    assert!(multiproc::parent_process().is_none());
    let (name, parent): (String, u32) = Process::call(|| {
        (
            multiproc::current_process().name().to_string(),
            multiproc::parent_process().unwrap().pid(),
        )
    })
    .name("kid")
    .start()?
    .join()?;
    assert_eq!((name.as_str(), parent), ("kid", std::process::id()));
    let p = Process::new(forever, ()).start()?;
    assert!(
        multiproc::active_children()
            .iter()
            .any(|c| c.pid() == p.pid())
    );
    for child in multiproc::active_children() {
        println!("{} {}", child.name(), child.pid());
    }
    p.terminate()?;
    p.join().unwrap_err();
    let n: usize = multiproc::cpu_count();
    assert!(n >= 1);
    multiproc::init()?;
    Ok(())
}

#[test]
fn builder_everything() -> Res {
    let p = Process::new(fib, 3)
        .name(String::from("b"))
        .daemon(false)
        .env("KEY", "value")
        .current_dir("/")
        .stdin(multiproc::Stdio::null())
        .stdout(multiproc::Stdio::null())
        .stderr(multiproc::Stdio::inherit())
        .memory_limit(1 << 30)
        .cpu_limit(Duration::from_secs(10))
        .nice(3)
        .affinity([0])
        .start()?;
    assert_eq!(p.join()?, 2);
    let env = Process::call(|| std::env::var("KEY").unwrap())
        .env("KEY", "value")
        .start()?
        .join()?;
    assert_eq!(env, "value");
    let cwd: String = Process::call(|| std::env::current_dir().unwrap().display().to_string())
        .current_dir("/")
        .start()?
        .join()?;
    assert_eq!(cwd, "/");
    Process::call(hello).detach().start()?.join()?;
    let p = Process::call(|| 5).detach().name("lives").start()?;
    drop(p);
    let _ = Process::call(hello).affinity([0].iter()).start()?.join();
    let _ = Process::call(hello).affinity(vec![0usize]).start()?.join();
    Ok(())
}

#[test]
fn stdout_captured() -> Res {
    let path = std::env::temp_dir().join(format!("api-{}.txt", std::process::id()));
    let file = std::fs::File::create(&path)?;
    Process::call(|| println!("captured"))
        .stdout(file)
        .start()?
        .join()?;
    assert_eq!(std::fs::read_to_string(&path)?, "captured\n");
    Ok(())
}

fn fails(path: String) -> Result<u64, TaskFailure> {
    let text = std::fs::read_to_string(path)?;
    let n: u64 = text.trim().parse()?;
    Ok(n)
}
#[test]
fn fallible() -> Res {
    let r: Result<u64, TaskFailure> = Process::new(fails, "/nonexistent".to_string())
        .start()?
        .join()?;
    let e = r.unwrap_err();
    println!("{e} {e:?}");
    fn outer() -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        let p = Process::new(fails, "/nonexistent".to_string()).start()?;
        Ok(p.join()??)
    }
    assert!(outer().is_err());
    Ok(())
}

#[test]
fn payloads() -> Res {
    let b = Bytes::from(vec![1u8; 1 << 20]);
    let n = Process::new(|b: Bytes| b.len(), b).start()?.join()?;
    assert_eq!(n, 1 << 20);
    let v: Vec<u8> = Process::new(|n: usize| vec![7u8; n], 100_000)
        .start()?
        .join()?;
    assert_eq!(v.len(), 100_000);
    let b: Bytes = Process::new(|n: usize| Bytes::from(vec![7u8; n]), 100_000)
        .start()?
        .join()?;
    assert_eq!(&b[..2], &[7, 7]);
    let back: Vec<u8> = b.into();
    assert_eq!(back.len(), 100_000);
    let _ = Bytes::from(&b"abc"[..]);
    let _: Bytes = b"abc".to_vec().into();
    let _ = Bytes::from("abc");
    let _ = Bytes::new();
    let _ = Bytes::from(b"abc");

    let mut m = HashMap::new();
    m.insert("k".to_string(), vec![1, 2]);
    let m: HashMap<String, Vec<i32>> = Process::new(|m: HashMap<String, Vec<i32>>| m, m)
        .start()?
        .join()?;
    assert_eq!(m["k"], [1, 2]);
    Ok(())
}

#[test]
fn tcp_stream_to_child() -> Res {
    use std::io::{Read, Write};
    let l = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut c = std::net::TcpStream::connect(l.local_addr()?)?;
    let (s, _) = l.accept()?;
    let p = Process::new(
        |Fd(mut s): Fd<std::net::TcpStream>| {
            s.write_all(b"hi").unwrap();
        },
        Fd(s),
    )
    .start()?;
    p.join()?;
    let mut text = String::new();
    c.read_to_string(&mut text)?;
    assert_eq!(text, "hi");
    Ok(())
}

#[test]
fn join_from_threads() -> Res {
    let p = Process::new(
        |n: u64| {
            std::thread::sleep(MS * 20);
            n
        },
        5,
    )
    .start()?;
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| assert_eq!(p.join().unwrap(), 5));
        }
    });
    let p = std::sync::Arc::new(p);
    let q = p.clone();
    std::thread::spawn(move || q.join().unwrap())
        .join()
        .unwrap();
    Ok(())
}

#[test]
fn sentinel_is_fd() -> Res {
    use std::os::fd::{AsFd, AsRawFd};
    let p = Process::call(|| 1).start()?;
    let s = p.sentinel();
    let fd = s.as_fd().as_raw_fd();
    assert!(fd >= 0);
    assert_eq!(multiproc::wait(&[&p], None)?, [0]);
    assert_eq!(p.join()?, 1);
    Ok(())
}

#[test]
fn lists_of_processes() -> Res {
    let ps: Vec<Process<u64>> = (0..5)
        .map(|n| Process::new(fib, n).start())
        .collect::<Result<_, _>>()?;
    let rs: Vec<u64> = ps.iter().map(Process::join).collect::<Result<_, _>>()?;
    assert_eq!(rs, [0, 1, 1, 2, 3]);
    let ps = (0..5)
        .map(|n| Process::new(fib, n).name(format!("w{n}")).start())
        .collect::<Result<Vec<_>, StartError>>()?;
    let sum: u64 = ps.into_iter().map(|p| p.join().unwrap()).sum();
    assert_eq!(sum, 7);
    Ok(())
}

#[test]
fn encode_error_in_start() {
    #[derive(Clone)]
    struct Bad;
    impl Serialize for Bad {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    impl<'de> Deserialize<'de> for Bad {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Bad)
        }
    }
    let e = Process::new(|_: Bad| (), Bad).start().unwrap_err();
    assert!(e.is_encode());
    println!("{e}");
    let p = Process::new(|_: u8| Bad, 1).start().unwrap();
    let e = p.join().map(|_| ()).unwrap_err();
    println!("{e}");
}

#[test]
fn preload_and_nested() -> Res {
    fn outer(n: u64) -> u64 {
        Process::new(fib, n)
            .daemon(true)
            .start()
            .unwrap()
            .join()
            .unwrap()
            + 1
    }
    assert_eq!(Process::new(outer, 10).daemon(true).start()?.join()?, 56);
    Ok(())
}

#[test]
fn status_of_exit() -> Res {
    let p = Process::call(|| -> () { std::process::exit(300) }).start()?;
    match p.join() {
        Err(JoinError::Exited(code)) => assert_eq!(code, 300 & 0xFF),
        other => panic!("{other:?}"),
    }
    let s = p.exit_status().unwrap();
    println!("{s} {s:?} {:?} {:?}", s.code(), s.signal());
    Ok(())
}
