//! Everything a manager holds, used by a second process.
//!
//! Prints one line for each kind: list, dict, set, namespace, value, array, queue, lock, reentrant
//! lock, semaphore, bounded semaphore, condition, event, barrier.

use std::error::Error;

use multiproc::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    ListProxy, LockProxy, Manager, NamespaceProxy, Process, QueueProxy, RLockProxy, SemaphoreProxy,
    SetProxy, ValueProxy,
};
use serde::{Deserialize, Serialize};

/// Proxies may stand anywhere in a value.
#[derive(Clone, Serialize, Deserialize)]
struct Everything {
    list: ListProxy<String>,
    dict: DictProxy<String, i32>,
    set: SetProxy<char>,
    namespace: NamespaceProxy,
    value: ValueProxy<f64>,
    array: ArrayProxy<i32>,
    queue: QueueProxy<String>,
    lock: LockProxy,
    rlock: RLockProxy,
    semaphore: SemaphoreProxy,
    bounded: BoundedSemaphoreProxy,
    condition: ConditionProxy,
    event: EventProxy,
    barrier: BarrierProxy,
}

fn other(all: Everything) {
    use_all(&all).unwrap();
}

fn use_all(all: &Everything) -> Result<(), Box<dyn Error + Send + Sync>> {
    all.list.push("from the other process".into())?;
    all.dict.insert("answer".into(), 42)?;
    all.set.extend("hello".chars())?;
    all.namespace.set("x", 10)?;
    all.namespace.set("y", "ten".to_string())?;
    all.value.set(2.5)?;
    all.array.update(1, |n, by| *n *= by, 10)?;
    {
        let _outer = all.rlock.acquire()?;
        let _inner = all.rlock.acquire()?;
        let _seat = all.semaphore.acquire()?;
        let _chair = all.bounded.acquire()?;
        all.queue.put("with two locks and two seats".into())?;
    }
    let guard = all.lock.acquire()?;
    all.event.set()?;
    all.condition.notify_all()?;
    drop(guard);
    all.barrier.wait()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let manager = Manager::start()?;
    let all = Everything {
        list: manager.list()?,
        dict: manager.dict()?,
        set: manager.set()?,
        namespace: manager.namespace()?,
        value: manager.value(0.0)?,
        array: manager.array(vec![1, 2, 3])?,
        queue: manager.queue(4)?,
        lock: manager.lock()?,
        rlock: manager.rlock()?,
        semaphore: manager.semaphore(2)?,
        bounded: manager.bounded_semaphore(1)?,
        condition: manager.condition()?,
        event: manager.event()?,
        barrier: manager.barrier(2)?,
    };
    let mut guard = all.lock.acquire()?;
    let process = Process::new(other, all.clone()).start()?;
    all.condition
        .wait_while(&mut guard, || Ok(!all.event.is_set()?))?;
    drop(guard);
    println!(
        "condition: notified, and the event is set: {}",
        all.event.is_set()?
    );
    println!("barrier: passed in place {}", all.barrier.wait()?.index());
    process.join()?;

    println!("list: {:?}", all.list.to_vec()?);
    println!("dict: answer is {:?}", all.dict.get("answer")?);
    println!("set: {} different letters", all.set.len()?);
    let (x, y) = (
        all.namespace.get::<i32>("x")?,
        all.namespace.get::<String>("y")?,
    );
    println!("namespace: x is {x:?}, y is {y:?}");
    println!("value: {}", all.value.get()?);
    println!("array: {:?}", all.array.to_vec()?);
    println!("queue: {}", all.queue.get()?);
    println!("lock: held by anybody: {}", all.lock.is_locked()?);
    println!("rlock: held by anybody: {}", all.rlock.is_locked()?);
    println!("semaphore: {} seats are free", all.semaphore.value()?);
    println!(
        "bounded semaphore: one release too many: {:?}",
        all.bounded.release()
    );
    Ok(())
}
