//! Queues, as programs written from the interface alone use them.

use crate::{MS, Res};
use multiproc::{
    Connection, GetError, JoinableQueue, Process, PutError, Queue, Receiver, Sender, SimpleQueue,
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

#[derive(Serialize, Deserialize)]
struct Job<T> {
    q: Queue<T>,
    c: Option<Sender<T>>,
    r: Option<Receiver<T>>,
    d: Option<Connection<T, T>>,
    j: Option<JoinableQueue<T>>,
    s: Option<SimpleQueue<T>>,
}

#[test]
fn generic_job() -> Res {
    let q = Queue::<String>::unbounded()?;
    let (tx, rx) = multiproc::channel()?;
    let p = Process::new(
        |j: Job<String>| {
            j.q.put("x".into()).unwrap();
            j.c.unwrap().send(&"y".to_string()).unwrap();
        },
        Job {
            q: q.clone(),
            c: Some(tx),
            r: None,
            d: None,
            j: None,
            s: None,
        },
    )
    .start()?;
    p.join()?;
    assert_eq!((q.get()?, rx.recv()?), ("x".to_string(), "y".to_string()));
    // a queue through a queue, a connection through a connection
    let qq = Queue::<Queue<u8>>::bounded(2)?;
    let inner = Queue::<u8>::bounded(2)?;
    inner.put(9)?;
    qq.put(inner)?;
    assert_eq!(qq.get()?.get()?, 9);
    let (a, b) = multiproc::pipe::<Connection<u8, u8>, ()>()?;
    let (x, y) = multiproc::pipe::<u8, u8>()?;
    a.send(&x)?;
    b.recv()?.send(&3)?;
    assert_eq!(y.recv()?, 3);
    Ok(())
}

#[test]
fn queue_forms() -> Res {
    let q = Queue::<u32>::bounded(3)?;
    q.put(1)?;
    q.try_put(2)?;
    q.put_timeout(3, MS)?;
    assert!(q.is_full());
    assert_eq!(q.len(), 3);
    assert_eq!(q.capacity(), 3);
    let e = q.try_put(4).unwrap_err();
    assert!(e.is_full());
    assert_eq!(e.into_inner(), 4);
    let e: PutError<u32> = q.put_timeout(4, MS).unwrap_err();
    assert!(e.is_timed_out());
    println!("{e} {e:?}");
    assert_eq!(e.into_inner(), 4);
    let e = q.put_deadline(4, Instant::now()).unwrap_err();
    assert!(e.is_timed_out());
    assert_eq!(q.get()?, 1);
    assert_eq!(q.try_get()?, 2);
    assert_eq!(q.get_timeout(MS)?, 3);
    let e = q.try_get().unwrap_err();
    assert!(e.is_empty());
    assert!(matches!(e, GetError::Empty));
    let e = q.get_timeout(MS).unwrap_err();
    assert!(e.is_timed_out());
    let e = q.get_deadline(Instant::now()).unwrap_err();
    assert!(e.is_timed_out());
    assert!(q.is_empty());
    q.put_many([1, 2])?;
    q.put_many(vec![3])?;
    let v: Vec<u32> = q.get_many(10)?;
    assert_eq!(v, [1, 2, 3]);
    q.put(5)?;
    q.close();
    assert!(q.is_closed());
    assert!(q.put(6).unwrap_err().is_closed());
    assert_eq!(q.iter().collect::<Result<Vec<_>, _>>()?, [5]);
    assert!(q.get().unwrap_err().is_closed());
    let u = Queue::<String>::unbounded()?;
    u.put("a".into())?;
    u.close();
    for s in &u {
        println!("{}", s?);
    }
    Ok(())
}

struct NoDebug;

impl Serialize for NoDebug {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}
impl<'de> Deserialize<'de> for NoDebug {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(NoDebug)
    }
}

#[test]
fn no_debug_bound() -> Res {
    let q = Queue::<NoDebug>::unbounded()?;
    let e = q.put(NoDebug).unwrap_err();
    println!("{e} {e:?}");
    assert!(e.is_encode());
    let NoDebug = e.into_inner();
    fn f(q: &Queue<NoDebug>) -> Result<(), Box<dyn std::error::Error>> {
        q.put(NoDebug)?;
        Ok(())
    }
    assert!(f(&q).is_err());
    Ok(())
}

#[test]
fn workers_over_queues() -> Res {
    let todo = Queue::<u64>::unbounded()?;
    let done = Queue::<(u64, u64)>::unbounded()?;
    fn worker((todo, done): (Queue<u64>, Queue<(u64, u64)>)) {
        for n in todo.iter() {
            let n = n.unwrap();
            done.put((n, n * n)).unwrap();
        }
    }
    let ps = (0..3)
        .map(|_| Process::new(worker, (todo.clone(), done.clone())).start())
        .collect::<Result<Vec<_>, _>>()?;
    todo.put_many(0..100)?;
    todo.close();
    for p in &ps {
        p.join()?;
    }
    done.close();
    let mut all: Vec<_> = done.iter().collect::<Result<_, _>>()?;
    all.sort();
    assert_eq!(all.len(), 100);
    Ok(())
}

#[test]
fn joinable() -> Res {
    let q = JoinableQueue::<u32>::unbounded()?;
    fn w(q: JoinableQueue<u32>) {
        while let Ok(_n) = q.get() {
            q.task_done().unwrap();
        }
    }
    let p = Process::new(w, q.clone()).start()?;
    for i in 0..10 {
        q.put(i)?;
    }
    q.join()?;
    q.try_join()?;
    q.join_timeout(MS)?;
    q.join_deadline(Instant::now())?;
    assert!(q.task_done().is_err());
    q.close();
    p.join()?;
    let b = JoinableQueue::<u32>::bounded(4)?;
    b.put_many([1, 2])?;
    assert_eq!(b.len(), 2);
    Ok(())
}

#[test]
fn simple() -> Res {
    let q = SimpleQueue::<u32>::new()?;
    q.put(1)?;
    assert!(!q.is_empty());
    assert_eq!(q.get()?, 1);
    q.close();
    assert!(q.get().is_err());
    Ok(())
}

#[test]
fn put_errors_by_match() -> Res {
    let q = Queue::<u8>::bounded(1)?;
    q.put(1)?;
    match q.try_put(2) {
        Err(e) if e.is_full() => {}
        Err(e) if e.is_closed() => panic!(),
        other => panic!("{other:?}"),
    }
    let e = q.try_put(2).unwrap_err();
    let _ = (
        e.is_disconnected(),
        e.is_encode(),
        e.is_too_large(),
        e.is_no_space(),
    );
    let e = q.get().and_then(|_| q.try_get()).unwrap_err();
    let _ = (
        e.is_closed(),
        e.is_disconnected(),
        e.is_decode(),
        e.is_too_many_files(),
        e.is_corrupt(),
    );
    let _ = e.clone();
    Ok(())
}
