//! One of each kind of shared object, and what two processes do with all of them to see that they are the
//! same.

use multiproc::{
    Array, Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, Once, RLock, RawArray,
    RawValue, RwLock, Semaphore, ShareableList, SharedMemory, Value,
};
use serde::{Deserialize, Serialize};

/// One of each kind that processes share.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kinds {
    lock: Lock,
    rlock: RLock,
    mutex: Mutex<u64>,
    rwlock: RwLock<u64>,
    seats: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    once: Once,
    value: Value<u64>,
    array: Array<u64>,
    raw_value: RawValue<u64>,
    raw_array: RawArray<u64>,
    memory: SharedMemory,
    list: ShareableList,
}

impl Kinds {
    /// New ones.
    ///
    /// # Errors
    ///
    /// What the first that cannot be made says.
    pub fn new() -> Result<Kinds, Box<dyn std::error::Error>> {
        Ok(Kinds {
            lock: Lock::new()?,
            rlock: RLock::new()?,
            mutex: Mutex::new(0)?,
            rwlock: RwLock::new(0)?,
            seats: Semaphore::new(0)?,
            bounded: BoundedSemaphore::new(1)?,
            condition: Condition::new()?,
            event: Event::new()?,
            barrier: Barrier::new(2)?,
            once: Once::new()?,
            value: Value::new(0)?,
            array: Array::new(2)?,
            raw_value: RawValue::new(0)?,
            raw_array: RawArray::new(2)?,
            memory: SharedMemory::create(8)?,
            list: ShareableList::new([0])?,
        })
    }

    /// Changes all that can be changed, under what keeps others out, and says so in every way there is.
    pub fn change(&self) {
        let bounded = self.bounded.acquire().expect("a seat");
        let nested = (self.rlock.acquire(), self.rlock.acquire());
        *self.mutex.lock().expect("its owners live") += 1;
        *self.rwlock.write().expect("its owners live") += 1;
        assert!(
            self.once
                .call_once(|| self.raw_value.set(1))
                .expect("the first")
        );
        self.value.update(|value| *value += 1);
        self.array.set(1, 1);
        self.raw_array.set(1, 1);
        self.memory.write_at(7, &[1]).expect("inside");
        self.list.set(0, 1).expect("inside");
        drop((bounded, nested));
        self.event.set();
        self.barrier.wait().expect("two come");
        let mut told = self.lock.acquire().expect("its owners live");
        while self.value.get() < 2 {
            self.condition.wait(&mut told).expect("its owners live");
        }
        self.seats.release().expect("one more");
    }

    /// What the other has changed is changed here.
    pub fn check(&self) {
        self.event.wait();
        self.barrier.wait().expect("two come");
        let seen = (
            *self.mutex.lock().expect("its owners live"),
            *self.rwlock.read().expect("its owners live"),
            self.value.get(),
            self.array.to_vec(),
            self.raw_value.get(),
            self.raw_array.to_vec(),
        );
        assert_eq!(seen, (1, 1, 1, vec![0, 1], 1, vec![0, 1]));
        assert!(self.once.is_completed());
        let mut byte = [0];
        self.memory.read_at(7, &mut byte).expect("inside");
        assert_eq!((byte, self.list.get_as(0)), ([1], Ok(1_i64)));
        let told = self.lock.acquire().expect("its owners live");
        self.value.set(2);
        self.condition.notify_one();
        drop(told);
        self.seats.acquire().expect("the other's").leak();
        drop((self.bounded.acquire(), self.rlock.acquire()));
    }
}
