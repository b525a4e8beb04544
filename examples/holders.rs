//! Prints how many processes were killed while they held a lock, a permit, a place at a barrier and so
//! on, that each of the others who waited for it was told of the death or got it, and after what time.
//!
//! `holders 20000` kills so many; without a number it is 500.

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};
use std::{env, hint, thread};

use multiproc::{
    AcquireError, Barrier, BarrierError, BrokenWhy, CreateError, Event, Lock, Mutex, Once, Process,
    Queue, RLock, RwLock, Semaphore, TaskFailure, Value,
};
use serde::{Deserialize, Serialize};

const SURVIVORS: usize = 2;

/// Nobody waits so long unless for ever.
const HANG: Duration = Duration::from_secs(30);

/// What a process may hold when it dies.
#[derive(Clone, Serialize, Deserialize)]
enum Held {
    Lock(Lock),
    RLock(RLock),
    Mutex(Mutex<u64>),
    WriteLock(RwLock<u64>),
    ReadLock(RwLock<u64>),
    Permit(Semaphore),
    Value(Value<u64>),
    Once(Once),
    Barrier(Barrier),
}

/// What there is to wait for, and who holds it; then when the survivor knew.
type Order = (Held, u32);
type Report = Result<SystemTime, String>;

impl Held {
    fn new(kind: u64) -> Result<(&'static str, Held), CreateError> {
        Ok(match kind % 9 {
            0 => ("lock", Held::Lock(Lock::new()?)),
            1 => ("rlock", Held::RLock(RLock::new()?)),
            2 => ("mutex", Held::Mutex(Mutex::new(0)?)),
            3 => ("rwlock, written", Held::WriteLock(RwLock::new(0)?)),
            4 => ("rwlock, read", Held::ReadLock(RwLock::new(0)?)),
            5 => ("semaphore", Held::Permit(Semaphore::new(1)?)),
            6 => ("value", Held::Value(Value::new(0)?)),
            7 => ("once", Held::Once(Once::new()?)),
            // Never full, though all come.
            _ => ("barrier", Held::Barrier(Barrier::new(SURVIVORS + 2)?)),
        })
    }

    /// Takes it, says so, and keeps it until the process is killed.
    fn hold(&self, held: &Event) -> Result<(), TaskFailure> {
        let for_ever = || {
            held.set();
            loop {
                thread::park();
            }
        };
        match self {
            Held::Lock(lock) => lock.acquire().map(|_guard| for_ever())?,
            Held::RLock(lock) => lock.acquire().map(|_guard| for_ever())?,
            Held::Mutex(mutex) => mutex.lock().map(|_guard| for_ever())?,
            Held::WriteLock(lock) => lock.write().map(|_guard| for_ever())?,
            Held::ReadLock(lock) => lock.read().map(|_guard| for_ever())?,
            Held::Permit(seats) => seats.acquire().map(|_permit| for_ever())?,
            Held::Value(value) => value.update(|_| for_ever()),
            Held::Once(once) => once.call_once(for_ever).map(drop)?,
            Held::Barrier(barrier) => {
                held.set();
                barrier.wait()?;
            }
        }
        Ok(())
    }

    /// Waits for it as long as it takes, and says what was wrong with the answer.
    fn wait(&self, holder: u32) -> Result<(), String> {
        let told = |answer: Result<(), AcquireError>| match answer {
            Err(AcquireError::OwnerDied { pid, name }) if pid == holder && name == "holder" => {
                Ok(())
            }
            answer => Err(format!("not told: {answer:?}")),
        };
        let got = |answer: Result<(), AcquireError>| answer.map_err(|error| error.to_string());
        match self {
            Held::Lock(lock) => told(lock.acquire().map(drop)),
            Held::RLock(lock) => told(lock.acquire().map(drop)),
            Held::Mutex(mutex) => told(mutex.lock().map(drop)),
            Held::WriteLock(lock) => told(lock.read().map(drop)),
            Held::ReadLock(lock) => got(lock.write().map(drop)),
            Held::Permit(seats) => got(seats.acquire().map(drop)),
            Held::Value(value) => {
                value.update(|number| *number += 1);
                Ok(())
            }
            Held::Once(once) => got(once.call_once(|| {}).map(drop)),
            Held::Barrier(barrier) => match barrier.wait() {
                Err(BarrierError::Broken {
                    why: BrokenWhy::Died,
                }) => Ok(()),
                answer => Err(format!("not told: {answer:?}")),
            },
        }
    }

    /// Once all have been told: makes it sound, and it is.
    fn recover(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Held::Lock(lock) => {
                drop(lock.recover()?);
                drop(lock.try_acquire()?);
            }
            Held::RLock(lock) => {
                drop(lock.recover()?);
                drop(lock.try_acquire()?);
            }
            Held::Mutex(mutex) => {
                drop(mutex.recover()?);
                drop(mutex.try_lock()?);
            }
            Held::WriteLock(lock) => {
                drop(lock.recover()?);
                drop(lock.try_write()?);
            }
            Held::ReadLock(lock) => drop(lock.try_write()?),
            Held::Permit(seats) => assert_eq!(seats.value(), 1),
            Held::Value(value) => assert_eq!(value.get(), SURVIVORS as u64),
            Held::Once(once) => assert!(once.is_completed()),
            Held::Barrier(barrier) => {
                barrier.reset();
                assert!(!barrier.is_broken());
            }
        }
        Ok(())
    }
}

fn hold((held, taken): (Held, Event)) -> Result<(), TaskFailure> {
    held.hold(&taken)
}

fn survive((orders, reports): (Queue<Order>, Queue<Report>)) -> Result<(), TaskFailure> {
    while let Ok((held, holder)) = orders.get() {
        let report = held.wait(holder).map(|()| SystemTime::now());
        reports.put(report)?;
    }
    Ok(())
}

/// Kills one holder of that kind; how long after the kill each survivor knew.
fn kill_one(
    held: &Held,
    orders: &[Queue<Order>],
    reports: &Queue<Report>,
    pause: Duration,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let taken = Event::new()?;
    let holder = Process::new(hold, (held.clone(), taken.clone()));
    let holder = holder.name("holder").start()?;
    taken.wait();
    if let Held::Barrier(barrier) = held {
        // It says so just before it comes.
        while barrier.waiting() == 0 {
            hint::spin_loop();
        }
    }
    for orders in orders {
        orders.put((held.clone(), holder.pid()))?;
    }
    let until = Instant::now() + pause;
    while Instant::now() < until {
        hint::spin_loop();
    }
    let killed = SystemTime::now();
    holder.kill()?;
    let mut times = Vec::new();
    for _ in orders {
        let report = reports.get_timeout(HANG).map_err(|_| "somebody hangs")?;
        times.push(report?.duration_since(killed).unwrap_or_default());
    }
    held.recover()?;
    Ok(times)
}

fn main() -> Result<(), Box<dyn Error>> {
    let kills: u64 = env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let seed = RandomState::new();
    let reports = Queue::bounded(SURVIVORS)?;
    let mut survivors = Vec::new();
    let mut orders = Vec::new();
    for _ in 0..SURVIVORS {
        let own = Queue::bounded(1)?;
        survivors.push(Process::new(survive, (own.clone(), reports.clone())).start()?);
        orders.push(own);
    }
    let mut times: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
    for kill in 0..kills {
        let chance = seed.hash_one(kill);
        let (name, held) = Held::new(chance >> 32)?;
        // Some survivors have fallen asleep by then, and some have not come yet.
        let pause = Duration::from_micros(chance % 400);
        let knew = kill_one(&held, &orders, &reports, pause)?;
        times.entry(name).or_default().extend(knew);
    }
    for orders in orders {
        orders.close();
    }
    for survivor in survivors {
        survivor.join()??;
    }
    let all: Vec<Duration> = times.values().flatten().copied().collect();
    times.insert("all", all);
    for (name, mut times) in times {
        times.sort_unstable();
        let place = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{name:<16} {:>6} kills, known after {:>9.1?} (median), {:>9.1?} (p99)",
            times.len() / SURVIVORS,
            place(0.5),
            place(0.99)
        );
    }
    println!("{kills} holders killed, every survivor was told or got it, nobody hangs");
    Ok(())
}
