//! Pools, as programs written from the interface alone use them.

use crate::{MS, Res};

use multiproc::{
    AsyncResult, Pool, Queue, Retry, StartMethod, TaskError, TaskErrorKind, TaskFailure, ThreadPool,
};
use std::time::{Duration, Instant};
fn square(n: u64) -> u64 {
    n * n
}
fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[test]
fn basics() -> Res {
    let pool = Pool::new(2)?;
    assert_eq!(pool.apply(square, 3)?, 9);
    assert_ne!(pool.call(std::process::id)?, std::process::id());
    let r: AsyncResult<u64> = pool.apply_async(square, 4);
    assert_eq!(r.get()?, 16);
    assert_eq!(r.get()?, 16);
    assert_eq!(r.get_timeout(MS)?, 16);
    assert!(r.wait(MS));
    assert!(r.is_ready());
    assert_eq!(r.is_successful(), Some(true));
    r.cancel();
    assert_eq!(pool.map(square, 0..5)?, [0, 1, 4, 9, 16]);
    assert_eq!(pool.map(square, vec![1, 2])?, [1, 4]);
    assert_eq!(pool.map(square, [1, 2])?, [1, 4]);
    assert_eq!(pool.map(|(a, b)| add(a, b), [(1, 2), (3, 4)])?, [3, 7]);
    let each: Vec<Result<u64, TaskError>> =
        pool.map_each(|n: u64| if n == 3 { panic!("three") } else { n }, 0..5);
    assert!(each[3].as_ref().unwrap_err().is_panicked());
    assert_eq!(each.iter().filter(|r| r.is_ok()).count(), 4);
    let m = pool.map_async(square, 0..3);
    let v: Vec<u64> = m.get()?;
    assert_eq!(v, [0, 1, 4]);
    let v: Vec<u64> = pool.imap(square, 0..5).collect::<Result<_, _>>()?;
    assert_eq!(v, [0, 1, 4, 9, 16]);
    let mut v: Vec<u64> = pool
        .imap_unordered(square, 0..5)
        .buffer(4)
        .chunk_size(2)
        .collect::<Result<_, _>>()?;
    v.sort();
    assert_eq!(v, [0, 1, 4, 9, 16]);
    for r in pool.imap(square, 0..3) {
        println!("{}", r?);
    }
    println!("{:?}", pool.stats());
    pool.close();
    pool.join()?;
    Ok(())
}

#[test]
fn imap_with_timeouts() -> Res {
    let pool = Pool::new(1)?;
    let nap = |ms: u64| {
        std::thread::sleep(Duration::from_millis(ms));
        ms
    };
    let mut results = pool.imap(nap, [200, 1]);
    assert!(results.try_next().unwrap().unwrap_err().is_timed_out());
    assert!(
        results
            .next_timeout(MS)
            .unwrap()
            .unwrap_err()
            .is_timed_out()
    );
    assert_eq!(results.next().unwrap()?, 200);
    assert_eq!(results.next_timeout(1000 * MS).unwrap()?, 1);
    assert!(results.next_deadline(Instant::now()).is_none());
    let mut results = pool.imap_unordered(nap, [200, 1]);
    assert!(
        results
            .next_timeout(MS)
            .unwrap()
            .unwrap_err()
            .is_timed_out()
    );
    assert_eq!(results.next().unwrap()?, 200);
    Ok(())
}

#[test]
fn callbacks() -> Res {
    let pool = Pool::new(2)?;
    let (tx, rx) = std::sync::mpsc::channel();
    let rs: Vec<_> = (0..4)
        .map(|i| {
            let tx = tx.clone();
            pool.apply_async(square, i)
                .callback(move |r| tx.send(*r).unwrap())
                .error_callback(|e: &TaskError| eprintln!("{e}"))
        })
        .collect();
    drop(tx);
    pool.close();
    pool.join()?;
    let mut got: Vec<u64> = rx.iter().collect();
    got.sort();
    assert_eq!(got, [0, 1, 4, 9]);
    drop(rs);
    Ok(())
}

#[test]
fn errors() -> Res {
    let pool = Pool::builder().workers(2).build()?;
    let e = pool
        .map(|n: u32| if n == 2 { panic!("at {n}") } else { n }, 0..5)
        .unwrap_err();
    assert_eq!(e.index(), 2);
    println!("{e}");
    let _ = e.attempts();
    match e.kind() {
        TaskErrorKind::Panicked { message, .. } => assert_eq!(message, "at 2"),
        other => panic!("{other:?}"),
    }
    let e = pool.call(|| -> () { std::process::abort() }).unwrap_err();
    match e.kind() {
        TaskErrorKind::WorkerLost {
            pid,
            signal,
            oom,
            stderr,
            ..
        } => {
            println!("{pid} {signal:?} {oom} {stderr:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(e.is_worker_lost());
    let _ = e.clone();
    let r = pool.apply_async(|_: ()| std::thread::sleep(Duration::from_secs(100)), ());
    assert_eq!(r.is_successful(), None);
    assert!(!r.is_ready());
    assert!(!r.wait(MS));
    assert!(r.get_timeout(MS).unwrap_err().is_timed_out());
    assert!(r.get_deadline(Instant::now()).unwrap_err().is_timed_out());
    assert!(r.try_get().is_err());
    r.cancel();
    assert!(r.get().unwrap_err().is_cancelled());
    let e = pool.apply(square, 2)?;
    assert_eq!(e, 4);
    pool.terminate();
    let e = pool.apply(square, 2).unwrap_err();
    println!("{e}");
    Ok(())
}

static WHO: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
#[test]
fn builder() -> Res {
    fn init(name: String) {
        *WHO.lock().unwrap() = name;
    }
    let pool = Pool::builder()
        .workers(2)
        .initializer(init, "me".to_string())
        .max_tasks_per_worker(10)
        .task_timeout(Duration::from_secs(5))
        .retry(Retry::idempotent(3))
        .memory_limit(1 << 30)
        .start_method(StartMethod::ForkServer)
        .name("pool")
        .build()?;
    assert_eq!(pool.call(|| WHO.lock().unwrap().clone())?, "me");
    let e = Pool::builder()
        .workers(1)
        .task_timeout(100 * MS)
        .build()?
        .call(|| {
            loop {
                std::thread::sleep(MS)
            }
        })
        .map(|_: ()| ())
        .unwrap_err();
    assert!(e.is_timed_out());
    let n = Pool::builder().build()?.map(square, 0..3)?;
    assert_eq!(n.len(), 3);
    let pool = Pool::new(0)?;
    drop(pool);
    assert!(matches!(Retry::never(), _));
    Ok(())
}

struct Model {
    path: String,
    runs: u32,
}
impl Model {
    fn load(path: String) -> Model {
        Model { path, runs: 0 }
    }
    fn run(&mut self, n: u32) -> (String, u32) {
        self.runs += 1;
        (format!("{}{n}", self.path), self.runs)
    }
}
#[test]
fn state() -> Res {
    let path = "m".to_string();
    let pool: Pool<Model> = Pool::builder()
        .workers(1)
        .state(|path| Model::load(path + "x"), path)
        .build()?;
    let rs = pool.map_with(|model: &mut Model, item| model.run(item), [1, 2, 3])?;
    assert_eq!(
        rs,
        [
            ("mx1".to_string(), 1),
            ("mx2".to_string(), 2),
            ("mx3".to_string(), 3)
        ]
    );
    assert_eq!(pool.apply_with(|m: &mut Model, n: u32| m.run(n).1, 4)?, 4);
    assert_eq!(pool.apply_with(Model::run, 4)?.1, 5);
    for r in pool.imap_with(Model::run, 0..2) {
        r?;
    }
    for r in pool.imap_unordered_with(Model::run, 0..2) {
        r?;
    }
    let _ = pool.apply_async_with(Model::run, 1).get()?;
    let _ = pool.map_async_with(Model::run, 0..2).get()?;
    let _ = pool.map_each_with(Model::run, 0..2);
    assert_eq!(pool.apply(square, 2)?, 4);
    let pool = Pool::builder()
        .state(Model::load, "x".to_string())
        .build()?;
    let _: Vec<(String, u32)> = pool.map_with(Model::run, 0..2)?;
    struct Service {
        pool: Pool<Model>,
        plain: Pool,
    }
    let s = Service {
        pool,
        plain: Pool::new(1)?,
    };
    let _ = (s.pool.stats(), s.plain.stats());
    Ok(())
}

#[test]
fn thread_pool() -> Res {
    let pool = ThreadPool::new(2)?;
    assert_eq!(pool.apply(square, 3)?, 9);
    assert_eq!(pool.map(square, 0..3)?, [0, 1, 4]);
    let _ = pool.apply_async(square, 3).get()?;
    pool.close();
    pool.join()?;
    Ok(())
}

#[test]
fn fallible_tasks() -> Res {
    fn parse(s: String) -> Result<u32, TaskFailure> {
        Ok(s.parse()?)
    }
    let pool = Pool::new(2)?;
    let rs = pool.map(parse, ["1".to_string(), "x".to_string()])?;
    assert!(rs[0].is_ok() && rs[1].is_err());
    Ok(())
}

#[test]
fn queues_in_tasks() -> Res {
    let pool = Pool::new(2)?;
    let q = Queue::<char>::unbounded()?;
    let w = pool.apply_async(
        |q: Queue<char>| {
            for c in "hello".chars() {
                q.put(c).unwrap();
            }
        },
        q.clone(),
    );
    let r = pool.apply_async(
        |q: Queue<char>| (0..5).map(|_| q.get().unwrap()).collect::<String>(),
        q.clone(),
    );
    w.get()?;
    assert_eq!(r.get()?, "hello");
    Ok(())
}

#[test]
fn shared_between_threads() -> Res {
    let pool = std::sync::Arc::new(Pool::new(2)?);
    std::thread::scope(|s| {
        for i in 0..3u64 {
            let pool = &pool;
            s.spawn(move || assert_eq!(pool.apply(square, i).unwrap(), i * i));
        }
    });
    let p = pool.clone();
    std::thread::spawn(move || p.map(square, 0..10).unwrap())
        .join()
        .unwrap();
    Ok(())
}
