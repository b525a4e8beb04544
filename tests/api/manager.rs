//! Managers and proxies, as programs written from the interface alone use them.

use crate::{MS, Res};

use multiproc::{CallError, DictProxy, ListProxy, Manager, Pool, Process, Remote};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Account {
    balance: i64,
}
impl Account {
    fn new() -> Account {
        Account { balance: 0 }
    }
    fn deposit(&mut self, n: i64) -> i64 {
        self.balance += n;
        self.balance
    }
    fn balance(&self) -> i64 {
        self.balance
    }
}

#[test]
fn object() -> Res {
    let m = Manager::start()?;
    let r: Remote<Account> = m.object(Account::new())?;
    r.call_mut(|acc, amount| acc.deposit(amount), 5)?;
    assert_eq!(r.call(|acc, ()| acc.balance(), ())?, 5);
    assert_eq!(r.call_mut(Account::deposit, 5)?, 10);
    struct NotSerde(std::sync::Mutex<u32>);
    let o: Remote<NotSerde> = m.object_with(|n: u32| NotSerde(std::sync::Mutex::new(n)), 3)?;
    assert_eq!(o.call(|x, ()| *x.0.lock().unwrap(), ())?, 3);
    let e = r
        .call_mut(|_, ()| -> () { panic!("boom") }, ())
        .unwrap_err();
    assert!(e.is_panicked());
    println!("{e}");
    match e {
        CallError::Panicked { message, .. } => assert_eq!(message, "boom"),
        other => panic!("{other:?}"),
    }
    let e = r.call(|a, ()| a.balance(), ()).unwrap_err();
    assert!(e.is_poisoned());
    Ok(())
}

#[test]
fn dict() -> Res {
    let m = Manager::start()?;
    let d = m.dict::<String, i32>()?;
    d.insert("a".to_string(), 1)?;
    assert_eq!(d.get("a")?, Some(1));
    assert_eq!(d.get(&"a".to_string())?, Some(1));
    assert_eq!(d.len()?, 1);
    assert!(!d.is_empty()?);
    assert!(d.contains_key("a")?);
    let r: Option<()> = d.update("a".to_string(), |n, by| *n += by, 1)?;
    assert!(r.is_some());
    d.update_or("b".to_string(), 0, |n, by| *n += by, 5)?;
    assert_eq!(d.get("b")?, Some(5));
    assert_eq!(d.remove("a")?, Some(2));
    println!(
        "{:?} {:?}",
        d.keys().collect::<Vec<_>>(),
        d.values().collect::<Result<Vec<_>, _>>()?
    );
    d.extend([("x".to_string(), 1), ("y".to_string(), 2)])?;
    let all: std::collections::HashMap<String, i32> = d.iter().collect::<Result<_, _>>()?;
    assert_eq!(all.len(), 3);
    for item in d.iter() {
        let (k, v) = item?;
        println!("{k} {v}");
    }
    d.clear()?;
    println!("{d:?}");
    let e = d.clone();
    Process::new(
        |d: DictProxy<String, i32>| {
            d.insert("child".into(), 1).unwrap();
        },
        e,
    )
    .start()?
    .join()?;
    assert_eq!(d.get("child")?, Some(1));
    Ok(())
}

#[test]
fn dict_update_api_md() -> Res {
    let m = Manager::start()?;
    let dict = m.dict::<u32, u32>()?;
    let key = 3;
    assert_eq!(dict.update(key, |n, by| *n += by, 1)?, None);
    dict.insert(key, 1)?;
    assert_eq!(
        dict.update(
            &key,
            |n, by| {
                *n += by;
                *n
            },
            1
        )?,
        Some(2)
    );
    assert_eq!(
        dict.update(
            key,
            |n, by| {
                *n += by;
                *n
            },
            1
        )?,
        Some(3)
    );
    Ok(())
}

#[test]
fn list() -> Res {
    let m = Manager::start()?;
    let l: ListProxy<i32> = m.list::<i32>()?;
    l.push(1)?;
    l.extend([2, 3])?;
    l.extend(vec![4])?;
    assert_eq!(l.len()?, 4);
    assert_eq!(l.get(0)?, Some(1));
    l.set(0, 10)?;
    assert_eq!(l.pop()?, Some(4));
    l.insert(0, 0)?;
    l.remove(0)?;
    l.sort()?;
    l.reverse()?;
    assert_eq!(l.to_vec()?, [10, 3, 2]);
    for x in l.iter() {
        println!("{}", x?);
    }
    l.clear()?;
    l.retain(|x, ()| *x > 2, ())?;
    println!("{:?}", l.slice(0..1)?);
    Ok(())
}

#[test]
fn set() -> Res {
    let m = Manager::start()?;
    let s = m.set::<String>()?;
    assert!(s.insert("a".into())?);
    assert!(!s.insert("a".into())?);
    assert!(s.contains("a")?);
    assert!(s.remove("a")?);
    assert_eq!(s.len()?, 0);
    Ok(())
}

#[test]
fn others() -> Res {
    let m = Manager::start()?;
    let ns = m.namespace()?;
    ns.set("x", 1i32)?;
    ns.set("name", "abc".to_string())?;
    let x: Option<i32> = ns.get("x")?;
    assert_eq!(x, Some(1));
    println!("{ns:?}");
    let v = m.value(5i32)?;
    v.set(6)?;
    assert_eq!(v.get()?, 6);
    v.update(|v, by| *v += by, 2)?;
    assert_eq!(v.get()?, 8);
    let a = m.array(vec![1, 2, 3])?;
    assert_eq!(a.len()?, 3);
    a.set(0, 9)?;
    assert_eq!(a.get(0)?, Some(9));
    assert_eq!(a.to_vec()?, [9, 2, 3]);
    let _ = m.array([1, 2])?;
    let q = m.queue::<u32>(2)?;
    q.put(1)?;
    q.try_put(2)?;
    assert!(q.try_put(3).unwrap_err().is_full());
    assert_eq!(q.get()?, 1);
    assert_eq!(q.try_get()?, 2);
    assert!(q.try_get().unwrap_err().is_empty());
    assert!(q.get_timeout(MS).unwrap_err().is_timed_out());
    let j = m.joinable_queue::<u32>(4)?;
    j.put(1)?;
    j.get()?;
    j.task_done()?;
    j.join()?;
    let l = m.lock()?;
    {
        let _g = l.acquire()?;
        assert!(l.is_locked()?);
    }
    l.acquire()?.leak();
    l.release()?;
    let r = m.rlock()?;
    {
        let _a = r.acquire()?;
        let _b = r.acquire()?;
    }
    let s = m.semaphore(2)?;
    {
        let _p = s.acquire()?;
        assert_eq!(s.value()?, 1);
    }
    let b = m.bounded_semaphore(1)?;
    assert!(b.release().unwrap_err().is_above_bound());
    let c = m.condition()?;
    {
        let mut g = l.acquire()?;
        assert!(!c.wait_timeout(&mut g, MS)?);
    }
    c.notify_all()?;
    c.notify_one()?;
    c.notify_n(2)?;
    let e = m.event()?;
    assert!(!e.is_set()?);
    assert!(!e.wait_timeout(MS)?);
    e.set()?;
    e.wait()?;
    e.clear()?;
    let b = m.barrier(1)?;
    b.wait()?;
    assert_eq!(b.parties()?, 1);
    let _ = m.address().to_string();
    m.shutdown()?;
    Ok(())
}

#[test]
fn builder_connect() -> Res {
    let m = Manager::builder()
        .address("tcp:127.0.0.1:0")
        .authkey(b"key-of-at-least-thirty-two-bytes!")
        .start()?;
    let addr = m.address().to_string();
    let c = Manager::connect(&addr, b"key-of-at-least-thirty-two-bytes!")?;
    let d = c.dict::<u8, u8>()?;
    d.insert(1, 2)?;
    let e = Manager::connect(&addr, b"wrong").unwrap_err();
    assert!(e.is_authentication_failed());
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Shared<T> {
    d: DictProxy<String, T>,
    l: ListProxy<T>,
    r: Remote<Account>,
}
#[test]
fn proxies_travel() -> Res {
    let m = Manager::start()?;
    let s = Shared {
        d: m.dict::<String, u32>()?,
        l: m.list()?,
        r: m.object(Account::new())?,
    };
    let l = s.l.clone();
    let ps: Vec<_> = (0..3u32)
        .map(|i| {
            Process::new(
                |(l, i): (ListProxy<u32>, u32)| l.push(i).unwrap(),
                (l.clone(), i),
            )
            .start()
            .unwrap()
        })
        .collect();
    for p in ps {
        p.join()?;
    }
    Process::new(
        |s: Shared<u32>| {
            s.d.insert("n".into(), s.l.len().unwrap() as u32).unwrap();
            s.r.call_mut(|a, n| a.deposit(n), 7).unwrap();
        },
        s,
    )
    .start()?
    .join()?;
    assert_eq!(l.len()?, 3);
    let outer = m.dict::<String, ListProxy<u32>>()?;
    outer.insert("inner".into(), l.clone())?;
    outer.get("inner")?.unwrap().push(4)?;
    assert_eq!(l.len()?, 4);
    let pool = Pool::new(2)?;
    pool.map(
        |(l, n): (ListProxy<u32>, u32)| l.push(n).unwrap(),
        (0..5).map(|n| (l.clone(), n)),
    )?;
    assert_eq!(l.len()?, 9);
    Ok(())
}

#[test]
fn server_gone() -> Res {
    let m = Manager::start()?;
    let d = m.dict::<u8, u8>()?;
    m.shutdown()?;
    let e = d.get(&1).unwrap_err();
    println!("{e}");
    assert!(e.is_server_gone());
    assert!(matches!(e, CallError::ServerGone));
    Ok(())
}
