//! The examples of Python's own documentation of `multiprocessing`, as they are written here.

use std::time::Duration;

use crate::Res;
use multiproc::{
    Array, Barrier, Client, Condition, Connection, Context, Event, JoinableQueue, Listener, Lock,
    Manager, NoUninit, Pool, Process, Queue, RLock, RawArray, Receiver, Semaphore, Sender,
    ShareableList, SharedMemory, SharedMemoryManager, StartMethod, Value, bytemuck::AnyBitPattern,
    wait,
};

fn f(x: i64) -> i64 {
    x * x
}

// with Pool(5) as p: print(p.map(f, [1, 2, 3]))
#[test]
fn introduction() -> Res {
    let p = Pool::new(5)?;
    assert_eq!(p.map(f, [1, 2, 3])?, [1, 4, 9]);
    Ok(())
}

// p = Process(target=f, args=('bob',))
#[test]
fn the_process_class() -> Res {
    fn hello(name: String) {
        println!("hello {name}");
    }
    let p = Process::new(hello, "bob".into()).start()?;
    p.join()?;
    Ok(())
}

#[test]
fn process_ids() -> Res {
    fn info(title: &str) -> (u32, u32) {
        println!("{title}");
        (
            multiproc::parent_process().unwrap().pid(),
            std::process::id(),
        )
    }
    fn g(_name: String) -> (u32, u32) {
        info("function f")
    }
    let p = Process::new(g, "bob".into()).start()?;
    assert_eq!(p.join()?, (std::process::id(), p.pid()));
    Ok(())
}

// mp.set_start_method('spawn'); q = mp.Queue(); p = mp.Process(target=foo, args=(q,))
#[test]
fn contexts_and_start_methods() -> Res {
    fn foo(q: Queue<String>) {
        q.put("hello".into()).unwrap();
    }
    let ctx = Context::new(StartMethod::Spawn);
    let q = Queue::unbounded()?;
    let p = ctx.process(foo, q.clone()).start()?;
    assert_eq!(q.get()?, "hello");
    p.join()?;
    Ok(())
}

#[test]
fn queues() -> Res {
    type Item = (i32, Option<String>, String);
    fn put(q: Queue<Item>) {
        q.put((42, None, "hello".into())).unwrap();
    }
    let q = Queue::unbounded()?;
    let p = Process::new(put, q.clone()).start()?;
    assert_eq!(q.get()?, (42, None, "hello".to_string()));
    p.join()?;
    Ok(())
}

#[test]
fn pipes() -> Res {
    type Item = (i32, Option<String>, String);
    fn child(conn: Connection<Item, ()>) {
        conn.send(&(42, None, "hello".into())).unwrap();
        conn.close();
    }
    let (parent_conn, child_conn) = multiproc::pipe::<(), Item>()?;
    let p = Process::new(child, child_conn).start()?;
    assert_eq!(parent_conn.recv()?.0, 42);
    p.join()?;
    Ok(())
}

#[test]
fn synchronization() -> Res {
    fn say((l, i): (Lock, i32)) {
        let _held = l.acquire().unwrap();
        println!("hello world {i}");
    }
    let lock = Lock::new()?;
    let ps: Vec<_> = (0..10)
        .map(|num| Process::new(say, (lock.clone(), num)).start())
        .collect::<Result<_, _>>()?;
    for p in ps {
        p.join()?;
    }
    Ok(())
}

// l.acquire(); try: print(..) finally: l.release()
#[test]
fn acquire_and_release_by_hand() -> Res {
    let l = Lock::new()?;
    l.acquire()?.leak();
    println!("hello world");
    l.release()?;
    Ok(())
}

#[test]
fn shared_memory_values() -> Res {
    fn g((n, a): (Value<f64>, Array<i32>)) {
        n.set(3.25);
        for x in a.lock().iter_mut() {
            *x = -*x;
        }
    }
    let num = Value::new(0.0)?;
    let arr = Array::from_slice(&(0..10).collect::<Vec<i32>>())?;
    let p = Process::new(g, (num.clone(), arr.clone())).start()?;
    p.join()?;
    assert_eq!(num.get(), 3.25);
    assert_eq!(arr.to_vec(), (0..10).map(|x: i32| -x).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn server_process() -> Res {
    use multiproc::{DictProxy, ListProxy};
    #[derive(
        serde::Serialize, serde::Deserialize, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Clone,
    )]
    enum Key {
        One,
        Two,
        Quarter,
    }
    fn g((d, l): (DictProxy<Key, Option<i32>>, ListProxy<i32>)) {
        d.insert(Key::One, Some(1)).unwrap();
        d.insert(Key::Two, Some(2)).unwrap();
        d.insert(Key::Quarter, None).unwrap();
        l.reverse().unwrap();
    }
    let manager = Manager::start()?;
    let d = manager.dict()?;
    let l = manager.list()?;
    l.extend(0..10)?;
    let p = Process::new(g, (d.clone(), l.clone())).start()?;
    p.join()?;
    assert_eq!(d.get(&Key::Two)?, Some(Some(2)));
    assert_eq!(l.to_vec()?, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    Ok(())
}

#[test]
fn pool_of_workers() -> Res {
    let pool = Pool::new(4)?;
    println!("{:?}", pool.map(f, 0..10)?);
    for i in pool.imap_unordered(f, 0..10) {
        println!("{}", i?);
    }
    let res = pool.apply_async(f, 20);
    assert_eq!(res.get_timeout(Duration::from_secs(10))?, 400);
    let res = pool.apply_async(|()| std::process::id(), ());
    assert_ne!(
        res.get_timeout(Duration::from_secs(10))?,
        std::process::id()
    );
    let multiple: Vec<_> = (0..4)
        .map(|_| pool.apply_async(|()| std::process::id(), ()))
        .collect();
    println!(
        "{:?}",
        multiple
            .iter()
            .map(|res| res.get_timeout(Duration::from_secs(10)))
            .collect::<Result<Vec<_>, _>>()?
    );
    let res = pool.apply_async(std::thread::sleep, Duration::from_secs(10));
    match res.get_timeout(Duration::from_millis(10)) {
        Err(e) if e.is_timed_out() => println!("We lacked patience and got a timeout"),
        other => panic!("{other:?}"),
    }
    pool.terminate();
    Ok(())
}

#[test]
fn process_reference() -> Res {
    let p = Process::new(std::thread::sleep, Duration::from_secs(1000)).start()?;
    assert!(p.is_alive());
    p.terminate()?;
    let _ = p.join_timeout(Duration::from_secs(10));
    assert!(!p.is_alive());
    assert_eq!(p.exit_status().and_then(|s| s.signal()), Some(15));
    Ok(())
}

// a.send([1, 'hello', None]); b.recv(); b.send_bytes(b'thank you'); a.recv_bytes()
#[test]
fn connection_objects() -> Res {
    let (a, b) = multiproc::pipe::<(i32, String, Option<()>), ()>()?;
    a.send(&(1, "hello".into(), None))?;
    assert_eq!(b.recv()?, (1, "hello".into(), None));
    b.send_bytes(b"thank you")?;
    assert_eq!(a.recv_bytes(100)?, b"thank you");
    let arr1: Vec<u8> = (0..5).collect();
    let mut arr2 = [0u8; 10];
    a.send_bytes(&arr1)?;
    let count = b.recv_bytes_into(&mut arr2)?;
    assert_eq!(count, arr1.len());
    assert_eq!(arr2, [0, 1, 2, 3, 4, 0, 0, 0, 0, 0]);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, NoUninit, AnyBitPattern)]
#[bytemuck(crate = "multiproc::bytemuck")]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
}

#[test]
fn sharedctypes() -> Res {
    type All = (Value<i32>, Value<f64>, Array<u8>, Array<Point>);
    fn modify((n, x, s, a): All) {
        n.update(|n| *n *= *n);
        x.update(|x| *x *= *x);
        s.lock().make_ascii_uppercase();
        for p in a.lock().iter_mut() {
            p.x *= p.x;
            p.y *= p.y;
        }
    }
    let all: All = (
        Value::new(7)?,
        Value::new(1.0 / 3.0)?,
        Array::from_slice(b"hello world")?,
        Array::from_slice(&[Point { x: 1.875, y: -6.25 }, Point { x: 2.375, y: 9.5 }])?,
    );
    let p = Process::new(modify, all.clone()).start()?;
    p.join()?;
    let (n, x, s, a) = all;
    assert_eq!(
        (n.get(), x.get() < 0.12, s.to_vec()),
        (49, true, b"HELLO WORLD".to_vec())
    );
    assert_eq!(
        a.get(1),
        Point {
            x: 5.640625,
            y: 90.25
        }
    );
    let _raw = RawArray::<f64>::new(10)?;
    Ok(())
}

// class MathsClass: def add(self, x, y); MyManager.register('Maths', MathsClass)
#[test]
fn customized_managers() -> Res {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Maths;
    impl Maths {
        fn add(&self, x: i32, y: i32) -> i32 {
            x + y
        }
        fn mul(&self, x: i32, y: i32) -> i32 {
            x * y
        }
    }
    let manager = Manager::start()?;
    let maths = manager.object(Maths)?;
    assert_eq!(maths.call(|m, (x, y)| m.add(x, y), (4, 3))?, 7);
    assert_eq!(maths.call(|m, (x, y)| m.mul(x, y), (7, 8))?, 56);
    Ok(())
}

// m = QueueManager(address=('', 50000), authkey=b'abracadabra'); s = m.get_server(); s.serve_forever()
#[test]
fn remote_manager() -> Res {
    let server = Manager::builder()
        .address("tcp:127.0.0.1:0")
        .authkey(b"abracadabra")
        .start()?;
    let queue = server.queue::<String>(10)?;
    let shared = server.namespace()?;
    shared.set("queue", queue.clone())?;
    let there = Manager::connect(server.address(), b"abracadabra")?;
    queue.put("hello".into())?;
    drop(there);
    assert_eq!(queue.get()?, "hello");
    Ok(())
}

#[test]
fn namespace_and_nested_lists() -> Res {
    let manager = Manager::start()?;
    let global = manager.namespace()?;
    global.set("x", 10)?;
    global.set("y", "hello".to_string())?;
    assert_eq!(global.get::<i32>("x")?, Some(10));
    let a = manager.list::<multiproc::ListProxy<i32>>()?;
    let b = manager.list::<i32>()?;
    a.push(b.clone())?;
    b.push(4)?;
    assert_eq!(a.get(0)?.unwrap().to_vec()?, [4]);
    Ok(())
}

// it = pool.imap(f, range(10)); print(next(it)); print(it.next(timeout=1)); pool.map(f, range(10))
#[test]
fn process_pools() -> Res {
    let pool = Pool::new(4)?;
    let result = pool.apply_async(f, 10);
    assert_eq!(result.get_timeout(Duration::from_secs(10))?, 100);
    assert_eq!(pool.map(f, 0..10)?.len(), 10);
    let mut it = pool.imap(f, 0..10);
    assert_eq!(it.next().unwrap()?, 0);
    assert_eq!(it.next().unwrap()?, 1);
    assert_eq!(it.next_timeout(Duration::from_secs(10)).unwrap()?, 4);
    Ok(())
}

#[test]
fn listeners_and_clients() -> Res {
    let listener = Listener::bind("tcp:localhost:0")?.authkey(b"secret password");
    let address = listener.local_addr().clone();
    let client = std::thread::spawn(move || -> Res {
        let conn: Connection<(), (f64, Option<()>, i32, f64)> = Client::connect(address)
            .authkey(b"secret password")
            .open()?;
        assert_eq!(conn.recv()?, (2.25, None, -3, 0.5));
        assert_eq!(conn.recv_bytes(100)?, b"hello");
        let mut arr = [0u8; 10];
        assert_eq!(conn.recv_bytes_into(&mut arr)?, 8);
        Ok(())
    });
    let conn = listener.accept::<_, ()>()?;
    conn.send(&(2.25, None::<()>, -3, 0.5))?;
    conn.send_bytes(b"hello")?;
    conn.send_bytes(&[42, 1, 2, 3, 4, 5, 6, 7])?;
    conn.close();
    client.join().unwrap()?;
    Ok(())
}

// readers = []; for i in range(4): r, w = Pipe(duplex=False); .. while readers: for r in wait(readers): ..
#[test]
fn wait_for_several_readers() -> Res {
    fn foo(w: Sender<(u32, String)>) {
        for i in 0..10 {
            w.send(&(i, multiproc::current_process().name().to_string()))
                .unwrap();
        }
        w.close();
    }
    let mut readers: Vec<Receiver<(u32, String)>> = Vec::new();
    for _ in 0..4 {
        let (w, r) = multiproc::channel()?;
        readers.push(r);
        let p = Process::new(foo, w).start()?;
        drop(p);
    }
    let mut count = 0;
    while !readers.is_empty() {
        let waited: Vec<&dyn multiproc::Waitable> = readers.iter().map(|r| r as _).collect();
        for index in wait(&waited, None)?.into_iter().rev() {
            match readers[index].recv() {
                Ok(_) => count += 1,
                Err(e) if e.is_disconnected() => {
                    readers.remove(index);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
    assert_eq!(count, 40);
    Ok(())
}

#[test]
fn shared_memory_blocks() -> Res {
    let shm_a = SharedMemory::create_named(&format!("python-{}", std::process::id()), 10)?;
    shm_a.write_at(0, &[22, 33, 44, 55])?;
    let name = shm_a.name().unwrap().to_string();
    let shm_b = SharedMemory::open(&name)?;
    let mut four = [0; 4];
    shm_b.read_at(0, &mut four)?;
    assert_eq!(four, [22, 33, 44, 55]);
    drop(shm_b);
    SharedMemory::unlink(&name)?;
    let smm = SharedMemoryManager::new();
    let sl = smm.shareable_list(0..2000)?;
    fn do_work((list, start, stop): (ShareableList, usize, usize)) {
        for i in start..stop {
            list.set(i, 1).unwrap();
        }
    }
    let p1 = Process::new(do_work, (sl.clone(), 0, 1000)).start()?;
    let p2 = Process::new(do_work, (sl.clone(), 1000, 2000)).start()?;
    p1.join()?;
    p2.join()?;
    let total: i64 = (0..sl.len()).map(|i| sl.get_as::<i64>(i).unwrap()).sum();
    assert_eq!(total, 2000);
    Ok(())
}

// NUMBER_OF_PROCESSES workers: for func, args in iter(input.get, 'STOP'): result = calculate(func, args)
#[test]
fn queues_feed_workers() -> Res {
    #[derive(serde::Serialize, serde::Deserialize, Clone, Copy)]
    enum Task {
        Mul(i32, i32),
        Plus(i32, i32),
        Stop,
    }
    fn worker((input, output): (Queue<Task>, Queue<(String, i32)>)) {
        loop {
            let result = match input.get() {
                Ok(Task::Mul(a, b)) => a * b,
                Ok(Task::Plus(a, b)) => a + b,
                Ok(Task::Stop) | Err(_) => break,
            };
            output
                .put((multiproc::current_process().name().to_string(), result))
                .unwrap();
        }
    }
    let (tasks, done) = (Queue::unbounded()?, Queue::unbounded()?);
    tasks.put_many((0..20).map(|i| Task::Mul(i, 7)))?;
    let ps: Vec<_> = (0..4)
        .map(|_| Process::new(worker, (tasks.clone(), done.clone())).start())
        .collect::<Result<_, _>>()?;
    for _ in 0..20 {
        println!("{:?}", done.get()?);
    }
    for i in 0..10 {
        tasks.put(Task::Plus(i, 8))?;
    }
    for _ in 0..10 {
        println!("{:?}", done.get()?);
    }
    for _ in 0..4 {
        tasks.put(Task::Stop)?;
    }
    for p in &ps {
        p.join()?;
    }
    Ok(())
}

#[test]
fn joinable_queue() -> Res {
    let q = JoinableQueue::unbounded()?;
    let p = Process::new(
        |q: JoinableQueue<u32>| {
            for item in &q {
                item.unwrap();
                q.task_done().unwrap();
            }
        },
        q.clone(),
    )
    .daemon(true)
    .start()?;
    q.put_many(0..30)?;
    q.join()?;
    p.terminate()?;
    Ok(())
}

#[test]
fn semaphore_event_condition_barrier_rlock() -> Res {
    let (s, e, c, b, r) = (
        Semaphore::new(3)?,
        Event::new()?,
        Condition::new()?,
        Barrier::new(2)?,
        RLock::new()?,
    );
    fn other((s, e, c, b, r): (Semaphore, Event, Condition, Barrier, RLock)) {
        let _seat = s.acquire().unwrap();
        e.set();
        b.wait().unwrap();
        let _guard = r.acquire().unwrap();
        c.notify_all();
    }
    let mut guard = r.acquire()?;
    let p = Process::new(
        other,
        (s.clone(), e.clone(), c.clone(), b.clone(), r.clone()),
    )
    .start()?;
    e.wait();
    b.wait()?;
    assert!(c.wait_timeout(&mut guard, Duration::from_secs(30))?);
    drop(guard);
    p.join()?;
    assert_eq!(s.value(), 3);
    Ok(())
}

// logger = multiprocessing.log_to_stderr(); logger.setLevel(multiprocessing.INFO)
#[test]
fn logging() {
    multiproc::log_to_stderr(multiproc::LogLevel::Info);
}
