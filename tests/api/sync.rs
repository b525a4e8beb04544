//! Locks, values and all that, as programs written from the interface alone use them.

use crate::{MS, Res};

use multiproc::Waitable;
use multiproc::{
    AcquireError, Array, Barrier, BarrierError, BarrierWaitResult, BoundedSemaphore, Condition,
    CreateError, Event, Guard, Lock, Mutex, Once, Permit, Process, RLock, RawArray, RawValue,
    ReleaseError, RwLock, Semaphore, Value,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

#[test]
fn lock_four_forms() -> Res {
    let lock = Lock::new()?;
    let g: Guard<'_> = lock.acquire()?;
    assert!(lock.is_locked());
    drop(g);
    let g = lock.try_acquire()?;
    drop(g);
    let g = lock.acquire_timeout(10 * MS)?;
    drop(g);
    let g = lock.acquire_deadline(Instant::now() + 10 * MS)?;
    drop(g);
    assert!(!lock.is_locked());
    Ok(())
}

#[test]
fn lock_python_style() -> Res {
    let lock = Lock::new()?;
    lock.acquire()?.leak();
    assert!(lock.is_locked());
    lock.release()?;
    let e: ReleaseError = lock.release().unwrap_err();
    assert!(e.is_not_held());
    assert!(matches!(e, ReleaseError::NotHeld));
    println!("{e} {e:?} {lock:?}");
    Ok(())
}

#[test]
fn lock_would_block() -> Res {
    let lock = Lock::new()?;
    let _g = lock.acquire()?;
    std::thread::scope(|s| {
        s.spawn(|| {
            let e = lock.try_acquire().unwrap_err();
            assert!(e.is_would_block());
            assert!(matches!(e, AcquireError::WouldBlock));
            let e = lock.acquire_timeout(5 * MS).unwrap_err();
            assert!(e.is_timed_out());
            assert!(matches!(e, AcquireError::TimedOut));
            let e2 = e.clone();
            assert_eq!(e, e2);
        });
    });
    Ok(())
}

#[test]
fn lock_owned_guard_in_struct() -> Res {
    struct Held {
        _guard: multiproc::OwnedGuard,
        name: &'static str,
    }
    let lock = Lock::new()?;
    let held = Held {
        _guard: lock.acquire_owned()?,
        name: "x",
    };
    assert!(lock.is_locked());
    assert_eq!(held.name, "x");
    drop(held);
    assert!(!lock.is_locked());
    let _ = lock.try_acquire_owned()?;
    let _ = lock.acquire_owned_timeout(MS)?;
    let _ = lock.acquire_owned_deadline(Instant::now() + MS)?;
    Ok(())
}

fn die_holding(lock: Lock) {
    let guard = lock.acquire().unwrap();
    guard.leak();
    std::process::abort();
}

#[test]
fn owner_died_and_recover() -> Res {
    let lock = Lock::new()?;
    let p = Process::new(die_holding, lock.clone())
        .name("holder")
        .start()?;
    let pid = p.pid();
    let _ = p.join();
    match lock.acquire() {
        Err(AcquireError::OwnerDied { pid: who, name, .. }) => {
            assert_eq!(who, pid);
            assert_eq!(name, "holder");
        }
        other => panic!("{other:?}"),
    }
    let e = lock.acquire().unwrap_err();
    assert!(e.is_owner_died());
    let g = lock.recover()?;
    drop(g);
    let _g = lock.acquire()?;
    Ok(())
}

#[test]
fn deadlock_named() -> Res {
    let a = Lock::new()?;
    let b = Lock::new()?;
    let barrier = std::sync::Barrier::new(2);
    let deadlocks = std::thread::scope(|s| {
        let t = s.spawn(|| {
            let _b = b.acquire().unwrap();
            barrier.wait();
            match a.acquire() {
                Err(AcquireError::Deadlock { cycle, .. }) => {
                    println!("{cycle:?}");
                    1
                }
                Err(e) => panic!("{e}"),
                Ok(_) => 0,
            }
        });
        let _a = a.acquire().unwrap();
        barrier.wait();
        let mine = match b.acquire() {
            Err(e) if e.is_deadlock() => 1,
            Err(e) => panic!("{e}"),
            Ok(_) => 0,
        };
        drop(_a);
        mine + t.join().unwrap()
    });
    assert!(deadlocks >= 1);
    Ok(())
}

#[test]
fn rlock_nested() -> Res {
    let lock = RLock::new()?;
    let a = lock.acquire()?;
    let b = lock.acquire()?;
    let c = lock.try_acquire()?;
    drop((a, b, c));
    lock.acquire()?.leak();
    lock.release()?;
    assert!(lock.release().is_err());
    let _ = lock.acquire_timeout(MS)?;
    let _ = lock.acquire_deadline(Instant::now())?;
    let _g = lock.acquire()?;
    std::thread::scope(|s| {
        s.spawn(|| {
            assert!(lock.release().unwrap_err().is_not_owner());
        });
    });
    Ok(())
}

#[derive(
    Clone, Copy, Debug, PartialEq, multiproc::NoUninit, multiproc::bytemuck::AnyBitPattern,
)]
#[bytemuck(crate = "multiproc::bytemuck")]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, multiproc::NoUninit, multiproc::CheckedBitPattern)]
#[bytemuck(crate = "multiproc::bytemuck")]
#[repr(u8)]
enum Light {
    Red,
    Yellow,
    Green,
}

#[test]
fn mutex_of_plain() -> Res {
    let m = Mutex::new(Point { x: 1.0, y: 2.0 })?;
    {
        let mut g = m.lock()?;
        g.x = 5.0;
    }
    assert_eq!(m.lock()?.x, 5.0);
    let _ = m.try_lock()?;
    let _ = m.lock_timeout(MS)?;
    let _ = m.lock_deadline(Instant::now() + MS)?;
    let l = Mutex::new(Light::Red)?;
    *l.lock()? = Light::Green;
    assert_eq!(*l.lock()?, Light::Green);
    let _ = Light::Yellow;
    let c = Mutex::new(0u64)?;
    let p = Process::new(
        |m: Mutex<u64>| {
            for _ in 0..1000 {
                *m.lock().unwrap() += 1;
            }
        },
        c.clone(),
    )
    .start()?;
    for _ in 0..1000 {
        *c.lock()? += 1;
    }
    p.join()?;
    assert_eq!(*c.lock()?, 2000);
    println!("{m:?} {l:?}");
    Ok(())
}

#[test]
fn rwlock() -> Res {
    let rw = RwLock::new([1u32, 2, 3])?;
    {
        let a = rw.read()?;
        let b = rw.read()?;
        assert_eq!(a[0] + b[1], 3);
        assert!(rw.try_write().unwrap_err().is_would_block());
    }
    rw.write()?[0] = 9;
    assert_eq!(rw.read()?[0], 9);
    let _ = rw.try_read()?;
    let _ = rw.read_timeout(MS)?;
    let _ = rw.read_deadline(Instant::now() + MS)?;
    let _ = rw.write_timeout(MS)?;
    let _ = rw.write_deadline(Instant::now() + MS)?;
    Ok(())
}

#[test]
fn semaphore() -> Res {
    let s = Semaphore::new(2)?;
    assert_eq!(s.value(), 2);
    let p: Permit<'_> = s.acquire()?;
    assert_eq!(s.value(), 1);
    drop(p);
    s.acquire()?.leak();
    s.release()?;
    let _ = s.try_acquire()?;
    let _ = s.acquire_timeout(MS)?;
    let _ = s.acquire_deadline(Instant::now() + MS)?;
    let o = s.acquire_owned()?;
    drop(o);
    let z = Semaphore::new(0)?;
    assert!(z.try_acquire().unwrap_err().is_would_block());
    assert!(z.acquire_timeout(MS).unwrap_err().is_timed_out());
    let p = Process::new(|z: Semaphore| z.release().unwrap(), z.clone()).start()?;
    z.acquire()?.leak();
    p.join()?;
    Ok(())
}

#[test]
fn bounded_semaphore() -> Res {
    let s = BoundedSemaphore::new(1)?;
    let e = s.release().unwrap_err();
    assert!(e.is_above_bound());
    assert!(matches!(e, ReleaseError::AboveBound));
    assert_eq!(s.value(), 1);
    let _p = s.acquire()?;
    Ok(())
}

#[test]
fn condition_with_all_guards() -> Res {
    let cond = Condition::new()?;
    let lock = Lock::new()?;
    let mut g = lock.acquire()?;
    let woken: bool = cond.wait_timeout(&mut g, MS)?;
    assert!(!woken);
    drop(g);
    let r = RLock::new()?;
    let mut g = r.acquire()?;
    assert!(!cond.wait_timeout(&mut g, MS)?);
    drop(g);
    let m = Mutex::new(0u32)?;
    let p = Process::new(
        |(m, c): (Mutex<u32>, Condition)| {
            *m.lock().unwrap() = 7;
            c.notify_all();
        },
        (m.clone(), cond.clone()),
    )
    .start()?;
    let mut g = m.lock()?;
    cond.wait_while(&mut g, |v| *v != 7)?;
    assert_eq!(*g, 7);
    cond.wait_for(&mut g, |v| *v == 7)?;
    assert!(!cond.wait_deadline(&mut g, Instant::now() + MS)?);
    let ok: bool = cond.wait_while_timeout(&mut g, |v| *v == 7, MS)?;
    assert!(!ok);
    let ok: bool = cond.wait_for_timeout(&mut g, |v| *v == 7, MS)?;
    assert!(ok);
    drop(g);
    cond.notify_one();
    cond.notify_n(3);
    cond.notify_all();
    p.join()?;
    Ok(())
}

#[test]
fn condition_wait_plain() -> Res {
    let cond = Condition::new()?;
    let ready = Mutex::new(false)?;
    let p = Process::new(
        |(m, c): (Mutex<bool>, Condition)| {
            let mut g = m.lock().unwrap();
            *g = true;
            drop(g);
            c.notify_one();
        },
        (ready.clone(), cond.clone()),
    )
    .start()?;
    let mut g = ready.lock()?;
    while !*g {
        cond.wait(&mut g)?;
    }
    drop(g);
    p.join()?;
    Ok(())
}

#[test]
fn event() -> Res {
    let e = Event::new()?;
    assert!(!e.is_set());
    assert!(!e.wait_timeout(MS));
    assert!(!e.try_wait());
    assert!(!e.wait_deadline(Instant::now() + MS));
    e.set();
    e.wait();
    assert!(e.wait_timeout(MS));
    e.clear();
    let f = e.clone();
    let p = Process::new(|e: Event| e.set(), f).start()?;
    e.wait();
    p.join()?;
    println!("{e:?}");
    Ok(())
}

#[test]
fn barrier() -> Res {
    let b = Barrier::new(2)?;
    assert_eq!(b.parties(), 2);
    let p = Process::new(|b: Barrier| b.wait().unwrap().index(), b.clone()).start()?;
    let r: BarrierWaitResult = b.wait()?;
    let theirs = p.join()?;
    assert_ne!(r.index(), theirs);
    println!("{}", r.is_leader());
    assert_eq!(b.waiting(), 0);
    assert!(!b.is_broken());
    let e = b.wait_timeout(MS).unwrap_err();
    assert!(e.is_timed_out() || e.is_broken());
    assert!(b.is_broken());
    match b.wait() {
        Err(BarrierError::Broken { why, .. }) => println!("{why}"),
        other => panic!("{other:?}"),
    }
    b.reset();
    assert!(!b.is_broken());
    b.abort();
    assert!(b.is_broken());
    let _ = b.wait_deadline(Instant::now());
    Ok(())
}

#[test]
fn barrier_with_action() -> Res {
    let count = Value::new(0u32)?;
    let b = Barrier::with_action(
        2,
        |v: Value<u32>| {
            v.update(|n| *n += 1);
        },
        count.clone(),
    )?;
    let p = Process::new(
        |b: Barrier| {
            b.wait().unwrap();
        },
        b.clone(),
    )
    .start()?;
    b.wait()?;
    p.join()?;
    assert_eq!(count.get(), 1);
    assert!(Barrier::new(0).is_err());
    Ok(())
}

#[test]
fn once() -> Res {
    let once = Once::new()?;
    let n = Value::new(0)?;
    let go = |(o, n): (Once, Value<i32>)| {
        o.call_once(|| {
            n.update(|v| *v += 1);
        })
        .unwrap();
    };
    let ps: Vec<_> = (0..4)
        .map(|_| Process::new(go, (once.clone(), n.clone())).start().unwrap())
        .collect();
    for p in &ps {
        p.join()?;
    }
    assert!(once.is_completed());
    assert_eq!(n.get(), 1);
    Ok(())
}

#[test]
fn values() -> Res {
    let v = Value::new(5i32)?;
    v.update(|v| *v += 1);
    let old: i32 = v.update(|v| {
        let o = *v;
        *v = 10;
        o
    });
    assert_eq!(old, 6);
    assert_eq!(v.get(), 10);
    v.set(3);
    {
        let mut g = v.lock();
        *g *= 2;
    }
    assert_eq!(v.get(), 6);
    let f = Value::new(1.5f64)?;
    let b = Value::new(true)?;
    let c = Value::new('x')?;
    let a = Value::new([0u8; 16])?;
    let p = Value::new(Point { x: 0.0, y: 0.0 })?;
    let l = Value::new(Light::Red)?;
    f.set(2.5);
    b.set(false);
    c.set('ß');
    a.update(|a| a[3] = 1);
    p.update(|p| p.x += 1.0);
    l.set(Light::Green);
    assert_eq!(
        (f.get(), b.get(), c.get(), a.get()[3], p.get().x, l.get()),
        (2.5, false, 'ß', 1, 1.0, Light::Green)
    );
    println!("{v:?}");
    Ok(())
}

#[test]
fn arrays() -> Res {
    let a = Array::<i32>::new(10)?;
    assert_eq!(a.len(), 10);
    assert!(!a.is_empty());
    {
        let mut g = a.lock();
        for i in 0..10 {
            g[i] = i as i32;
        }
        g.reverse();
        for x in g.iter_mut() {
            *x *= *x;
        }
    }
    let g = a.lock();
    assert_eq!(g[0], 81);
    assert_eq!(&g[..2], &[81, 64]);
    drop(g);
    let b = Array::from_slice(&[1.0, 2.0, 3.0])?;
    assert_eq!(b.lock().to_vec(), vec![1.0, 2.0, 3.0]);
    assert_eq!(b.to_vec(), vec![1.0, 2.0, 3.0]);
    assert_eq!(b.get(1), 2.0);
    b.set(1, 7.0);
    b.update(0, |x| *x += 1.0);
    let p = Process::new(
        |a: Array<f64>| {
            for x in a.lock().iter_mut() {
                *x = -*x;
            }
        },
        b.clone(),
    )
    .start()?;
    p.join()?;
    assert_eq!(b.to_vec(), vec![-2.0, -7.0, -3.0]);
    println!("{a:?}");
    Ok(())
}

#[test]
fn raw() -> Res {
    let v = RawValue::new(3u64)?;
    v.set(v.get() + 1);
    assert_eq!(v.get(), 4);
    let a = RawArray::<u16>::new(8)?;
    a.set(3, 9);
    assert_eq!(a.get(3), 9);
    let b = RawArray::from_slice(&[1.0f32, 2.0])?;
    assert_eq!(b.len(), 2);
    assert_eq!(b.to_vec(), vec![1.0, 2.0]);
    for x in b.iter() {
        println!("{x}");
    }
    Ok(())
}

#[derive(Serialize, Deserialize, Clone)]
struct Everything {
    l: Lock,
    r: RLock,
    m: Mutex<u8>,
    rw: RwLock<u8>,
    s: Semaphore,
    bs: BoundedSemaphore,
    c: Condition,
    e: Event,
    b: Barrier,
    o: Once,
    v: Value<u8>,
    a: Array<u8>,
    rv: RawValue<u8>,
    ra: RawArray<u8>,
}
#[derive(Serialize, Deserialize)]
struct Generic<T> {
    m: Mutex<T>,
    rw: RwLock<T>,
    v: Value<T>,
    a: Array<T>,
    rv: RawValue<T>,
    ra: RawArray<T>,
}

#[test]
fn all_travel() -> Res {
    let all = Everything {
        l: Lock::new()?,
        r: RLock::new()?,
        m: Mutex::new(1)?,
        rw: RwLock::new(1)?,
        s: Semaphore::new(1)?,
        bs: BoundedSemaphore::new(1)?,
        c: Condition::new()?,
        e: Event::new()?,
        b: Barrier::new(1)?,
        o: Once::new()?,
        v: Value::new(1)?,
        a: Array::new(1)?,
        rv: RawValue::new(1)?,
        ra: RawArray::new(1)?,
    };
    fn work(x: Everything) -> u8 {
        let _ = x.l.acquire().unwrap();
        let _ = x.r.acquire().unwrap();
        x.e.set();
        x.b.wait().unwrap();
        x.v.set(5);
        x.ra.set(0, 2);
        *x.m.lock().unwrap() + *x.rw.read().unwrap()
    }
    assert_eq!(Process::new(work, all.clone()).start()?.join()?, 2);
    assert!(all.e.is_set());
    let g = Generic {
        m: Mutex::new(1u32)?,
        rw: RwLock::new(1)?,
        v: Value::new(1)?,
        a: Array::new(1)?,
        rv: RawValue::new(1)?,
        ra: RawArray::new(1)?,
    };
    assert_eq!(
        Process::new(
            |g: Generic<u32>| {
                let _ = (&g.rw, &g.a, &g.rv, &g.ra);
                *g.m.lock().unwrap() + g.v.get()
            },
            g
        )
        .start()?
        .join()?,
        2
    );
    fn sync_send<
        T: Clone + Send + Sync + std::fmt::Debug + Serialize + serde::de::DeserializeOwned + 'static,
    >() {
    }
    sync_send::<Lock>();
    sync_send::<RLock>();
    sync_send::<Mutex<u8>>();
    sync_send::<RwLock<u8>>();
    sync_send::<Semaphore>();
    sync_send::<BoundedSemaphore>();
    sync_send::<Condition>();
    sync_send::<Event>();
    sync_send::<Barrier>();
    sync_send::<Once>();
    sync_send::<Value<u8>>();
    sync_send::<Array<u8>>();
    sync_send::<RawValue<u8>>();
    sync_send::<RawArray<u8>>();
    Ok(())
}

#[test]
fn create_errors() {
    let e: CreateError = Barrier::new(0).unwrap_err();
    assert!(e.is_invalid());
    assert!(matches!(e, CreateError::Invalid(_)));
    println!("{e}");
    let _ = e.is_no_space();
    let _ = e.is_limit();
    let _ = e.is_os();
}

fn takes_waitable(_: &dyn Waitable) {}
#[test]
fn wait_on_many() -> Res {
    let event = Event::new()?;
    let queue = multiproc::Queue::<u32>::bounded(4)?;
    let (conn, other) = multiproc::pipe::<u32, u32>()?;
    let proc = Process::new(|e: Event| e.wait(), event.clone()).start()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let ready = multiproc::wait(
        &[&conn, &proc, &queue, &event, &multiproc::Fd(&listener)],
        Some(MS),
    )?;
    assert!(ready.is_empty());
    queue.put(1)?;
    let ready: Vec<usize> = multiproc::wait(
        &[&conn, &proc, &queue, &event, &multiproc::Fd(&listener)],
        None,
    )?;
    assert_eq!(ready, vec![2]);
    other.send(&1)?;
    event.set();
    proc.join()?;
    let fd = multiproc::Fd(listener);
    let ready = multiproc::wait(&[&conn, &proc, &queue, &event, &fd], Duration::from_secs(1))?;
    assert_eq!(ready, vec![0, 1, 2, 3]);
    takes_waitable(&event);
    let e2 = Event::new()?;
    let many: Vec<&dyn Waitable> = vec![&e2, &queue];
    assert_eq!(multiproc::wait(&many, None)?, [1]);
    Ok(())
}
