//! `map-ops`: operations per second on a map that another process holds. `map-proxy`: a proxy made and
//! dropped. `map-memory`: what a million entries take there.
//!
//! Each client is a process with a key of its own and one operation under way, or `depth` of them.
//! The rival is a Redis server on a Unix socket, where one is installed; its client here writes and
//! reads the protocol by hand, and looks at what comes back as little as is right, so the comparison
//! is with the server. The limit, `echo`, is a process that answers on such a socket and does nothing.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Barrier, DictProxy, Manager, Process, RawValue};

use crate::args::Args;
use crate::{Outcome, measure, raw, usage};

/// What a client does, as a number that travels.
const GET: u32 = 0;
const SET: u32 = 1;
const UPDATE: u32 = 2;

/// A client's number, its operation, how many are under way.
type Role = (u64, u32, usize);
/// Where clients meet before and after, what says that the time is over, the length of each.
type Course = (Barrier, RawValue<u32>);

pub(crate) fn run(args: &Args) -> Outcome {
    let operation = match args.text("op", "get") {
        "get" => GET,
        "set" => SET,
        "update" => UPDATE,
        _ => args.unsupported("get, set, update"),
    };
    let idle = args.number("idle", 0);
    let in_memory = || Manager::start();
    let by_socket = || Manager::builder().shared_memory_after(u64::MAX).start();
    match args.imp.as_str() {
        "ours" => ours(args, operation, idle, &in_memory()?),
        "ours-plain" => ours(args, operation, 0, &in_memory()?),
        "ours-set" => ours(args, SET, 0, &in_memory()?),
        "ours-socket" => ours(args, operation, idle, &by_socket()?),
        "ours-socket-plain" => ours(args, operation, 0, &by_socket()?),
        "echo" => echo(args),
        "redis" if operation == UPDATE => args.unsupported("no functions travel to it"),
        "redis" => redis(args, operation),
        _ => args
            .unsupported("ours, ours-plain, ours-set, ours-socket, ours-socket-plain, redis, echo"),
    }
}

// ------------------------------------------------------------------ ours

fn ours(args: &Args, operation: u32, idle: u64, manager: &Manager) -> Outcome {
    let dict = manager.dict::<u64, u64>()?;
    dict.extend((0..10_000).map(|n| (n, n)))?;
    // Clients that are connected and say nothing.
    let idle = (0..idle).map(|_| Manager::connect(manager.address(), manager.authkey()));
    let idle = idle.collect::<Result<Vec<_>, _>>()?;
    let rate = clients(args, operation, |role, course| {
        Ok(Process::new(our_client, (role, course, dict.clone())).start()?)
    })?;
    drop(idle);
    args.emit("ops_per_s", rate, "1/s");
    let each = 1e9 * args.number("clients", 1) as f64 / rate;
    args.emit("ns_per_op", each, "ns");
    Ok(())
}

fn our_client((role, course, dict): (Role, Course, DictProxy<u64, u64>)) -> u64 {
    let (number, operation, depth) = role;
    let key = 5_000 + number;
    dict.insert(key, 7).expect("inserted");
    at_work(&course, || {
        match (operation, depth) {
            (UPDATE, _) => drop(dict.update(&key, |n, by| *n = n.wrapping_add(by), 1)),
            (GET, 1) => assert!(dict.get(&key).expect("served").is_some()),
            (GET, _) => {
                let under_way: Vec<_> = (0..depth).map(|_| dict.get_async(&key)).collect();
                for call in under_way {
                    assert!(call.wait().expect("served").is_some());
                }
            }
            (_, 1) => drop(dict.insert(key, 8).expect("served")),
            (_, _) => {
                let under_way: Vec<_> = (0..depth).map(|_| dict.insert_async(key, 8)).collect();
                for call in under_way {
                    call.wait().expect("served");
                }
            }
        }
        depth as u64
    })
}

// ------------------------------------------------------------------ all

/// Does `work` until the time is over; how much it did.
fn at_work((barrier, over): &Course, mut work: impl FnMut() -> u64) -> u64 {
    for _ in 0..200 {
        work();
    }
    barrier.wait().expect("all come");
    let mut done = 0;
    while over.get() == 0 {
        done += work();
    }
    done
}

/// Has clients work at the same time; operations per second.
fn clients(
    args: &Args,
    operation: u32,
    start: impl Fn(Role, Course) -> Result<Process<u64>, Box<dyn std::error::Error>>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let count = args.number("clients", 1);
    let course = (Barrier::new(count as usize + 1)?, RawValue::new(0)?);
    let depth = args.size("depth", 1);
    let clients = (0..count).map(|n| start((n, operation, depth), course.clone()));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    course.0.wait()?;
    let began = Instant::now();
    thread::sleep(Duration::from_millis(args.number("ms", 500)));
    course.1.set(1);
    let time = began.elapsed().as_secs_f64();
    let mut done = 0;
    for client in clients {
        done += client.join()?;
    }
    Ok(done as f64 / time)
}

// ------------------------------------------------------------------ redis

/// A server of one's own, ended and removed with it.
struct Redis {
    server: Child,
    folder: PathBuf,
}

impl Redis {
    fn start(args: &Args) -> Result<Redis, Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("multiproc-redis-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let started = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(folder.join("socket"))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn();
        let Ok(server) = started else {
            std::fs::remove_dir_all(&folder)?;
            args.unsupported("there is no redis-server here");
        };
        let redis = Redis { server, folder };
        while UnixStream::connect(redis.folder.join("socket")).is_err() {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn redis(args: &Args, operation: u32) -> Outcome {
    let redis = Redis::start(args)?;
    let path = redis.folder.join("socket").display().to_string();
    let rate = clients(args, operation, |role, course| {
        Ok(Process::new(redis_client, (role, course, path.clone())).start()?)
    })?;
    args.emit("ops_per_s", rate, "1/s");
    Ok(())
}

fn redis_client((role, course, path): (Role, Course, String)) -> u64 {
    let (number, operation, depth) = role;
    let mut stream = UnixStream::connect(path).expect("connected");
    let mut answers = BufReader::new(stream.try_clone().expect("a copy"));
    let key = format!("k{number}");
    let set = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\n7\r\n", key.len());
    let get = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
    let mut ask = |request: &str, lines: usize, last: &str| {
        stream.write_all(request.as_bytes()).expect("sent");
        let mut line = String::new();
        for _ in 0..lines {
            line.clear();
            answers.read_line(&mut line).expect("answered");
        }
        assert_eq!(line, last);
    };
    ask(&set, 1, "+OK\r\n");
    let (request, lines, last) = match operation {
        // A value is its length, then itself.
        GET => (get.repeat(depth), 2 * depth, "7\r\n"),
        _ => (set.repeat(depth), depth, "+OK\r\n"),
    };
    at_work(&course, || {
        ask(&request, lines, last);
        depth as u64
    })
}

// ------------------------------------------------------------------ the limit

/// What a call and its answer are long, about.
const FRAME: usize = 40;

/// A process with a thread for each client, which sends back what comes.
fn echo(args: &Args) -> Outcome {
    let folder = std::env::temp_dir().join(format!("multiproc-echo-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let path = folder.join("socket").display().to_string();
    let listener = UnixListener::bind(&path)?;
    let clients_to_come = args.number("clients", 1);
    raw::fork(|| {
        thread::scope(|scope| {
            for _ in 0..clients_to_come {
                let (stream, _) = listener.accept().expect("a client");
                scope.spawn(|| send_back(stream));
            }
        });
    })?;
    let rate = clients(args, GET, |role, course| {
        Ok(Process::new(echo_client, (role, course, path.clone())).start()?)
    });
    std::fs::remove_dir_all(&folder)?;
    args.emit("ops_per_s", rate?, "1/s");
    Ok(())
}

fn send_back(mut stream: UnixStream) {
    let mut frame = [0; FRAME];
    while stream.read_exact(&mut frame).is_ok() && stream.write_all(&frame).is_ok() {}
}

fn echo_client((_, course, path): (Role, Course, String)) -> u64 {
    let mut stream = UnixStream::connect(path).expect("connected");
    let mut frame = [7; FRAME];
    at_work(&course, || {
        stream.write_all(&frame).expect("sent");
        stream.read_exact(&mut frame).expect("answered");
        1
    })
}

// ------------------------------------------------------------------ proxies

pub(crate) fn proxy(args: &Args) -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<u64, u64>()?;
    match args.imp.as_str() {
        "ours" => measure::tight(args, || drop(manager.dict::<u64, u64>().expect("served"))),
        "get" => measure::tight(args, || assert!(dict.get(&1).expect("served").is_none())),
        _ => args.unsupported("ours, get"),
    }
    Ok(())
}

// ------------------------------------------------------------------ memory

pub(crate) fn memory(args: &Args) -> Outcome {
    let count = args.number("count", 1_000_000);
    let bytes = match args.imp.as_str() {
        "ours" => {
            let manager = Manager::start()?;
            let pid = manager.pid().unwrap_or_default().to_string();
            let before = usage::resident(&pid, "VmRSS:")?;
            let dict = manager.dict::<u64, u64>()?;
            dict.extend((0..count).map(|n| (n, n)))?;
            assert_eq!(dict.len()? as u64, count);
            usage::resident(&pid, "VmRSS:")? - before
        }
        "hashmap" => {
            let before = usage::here()?.bytes;
            let mut map = HashMap::new();
            // One by one, as entries come to a map.
            for n in 0..count {
                map.insert(n, n);
            }
            assert_eq!(map.len() as u64, count);
            usage::here()?.bytes - before
        }
        _ => args.unsupported("ours, hashmap"),
    };
    args.emit("bytes_each", bytes as f64 / count as f64, "B");
    Ok(())
}
