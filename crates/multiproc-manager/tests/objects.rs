//! What the objects of a manager do, alone and with many clients, by each way to the server.

use std::time::Duration;

use multiproc_manager::{
    BarrierProxy, DictProxy, ListProxy, LockProxy, Manager, QueueProxy, Remote,
};
use multiproc_process::Process;

const LONG: Duration = Duration::from_secs(60);

/// A server that gives its clients lanes after so many answers.
fn manager(lanes_after: u64) -> Manager {
    let manager = Manager::builder().shared_memory_after(lanes_after);
    manager.start().expect("a server")
}

/// Every test for each way to the server: its socket, and lanes in shared memory.
macro_rules! by_both_ways {
    ($($test:ident)*) => {
        mod by_socket {
            $(#[test] fn $test() { crate::$test(crate::manager(u64::MAX)); })*
        }

        mod by_lanes {
            $(#[test] fn $test() { crate::$test(crate::manager(0)); })*
        }
    };
}

by_both_ways! {
    four_clients_lose_no_update
    an_entry_that_stays_is_met_once_while_others_come_and_go
    bulk_calls_and_calls_under_way
    a_list_is_changed_from_both_ends_and_within
    a_long_list_comes_in_pages
    a_lock_excludes_processes_and_threads
    a_timed_wait_ends_and_leaves_nothing_behind
    a_barrier_lets_all_go_together
    queues_carry_items_between_processes
    a_panic_in_an_object_comes_back_and_poisons_only_that_object
    a_long_function_holds_up_only_its_own_object
    proxies_nest_and_keep_their_objects_alive
    proxies_travel_by_other_channels_and_outlive_their_sender
    another_connection_sees_the_same_server_but_not_the_objects_of_others
}

fn add_up(dict: DictProxy<String, u64>) {
    for _ in 0..300 {
        let added = dict.update_or("n".into(), 0, |n, by| *n += by, 1);
        added.expect("updated");
    }
}

fn four_clients_lose_no_update(manager: Manager) {
    let dict = manager.dict::<String, u64>().expect("a dict");
    let clients: Vec<_> = (0..4)
        .map(|_| Process::new(add_up, dict.clone()).start().expect("started"))
        .collect();
    for client in clients {
        client.join_timeout(LONG).expect("no panic");
    }
    assert_eq!(dict.get("n").expect("there"), Some(1200));
}

fn an_entry_that_stays_is_met_once_while_others_come_and_go(manager: Manager) {
    let dict = manager.dict::<u32, u32>().expect("a dict");
    dict.extend((0..5000).map(|n| (n * 2, n))).expect("filled");
    let mut met = Vec::new();
    for (turn, entry) in dict.iter().enumerate() {
        met.push(entry.expect("an entry").0);
        if turn % 100 == 0 {
            let n = turn as u32;
            dict.insert(20_001 + n * 2, n).expect("inserted");
            dict.remove(&(20_001 + n * 2)).expect("removed");
            dict.insert(n * 2 + 1, 0).expect("inserted");
        }
    }
    let mut stayed: Vec<_> = met.iter().copied().filter(|key| key % 2 == 0).collect();
    stayed.sort_unstable();
    assert!(stayed.iter().copied().eq((0..5000).map(|n| n * 2)));
}

fn bulk_calls_and_calls_under_way(manager: Manager) {
    let dict = manager.dict::<u32, String>().expect("a dict");
    let under_way: Vec<_> = (0..500)
        .map(|n| dict.insert_async(n, n.to_string()))
        .collect();
    for call in under_way {
        assert_eq!(call.wait().expect("inserted"), None);
    }
    let under_way: Vec<_> = (0..500).map(|n| dict.get_async(&n)).collect();
    for (n, call) in under_way.into_iter().enumerate() {
        assert_eq!(call.wait().expect("there"), Some(n.to_string()));
    }
    let found = dict.get_many(&[3, 1000, 4]).expect("looked up");
    assert_eq!(found, [Some("3".into()), None, Some("4".into())]);
    let gone = dict
        .retain(|(key, _), by| key % by == 0, 100)
        .expect("retained");
    assert_eq!((gone, dict.len().expect("counted")), (495, 5));
    assert_eq!(
        dict.keys()
            .collect::<Result<Vec<_>, _>>()
            .expect("keys")
            .len(),
        5
    );
    assert_eq!(dict.get_or_insert(100, "x".into()).expect("there"), "100");
    assert!(dict.pop_first().expect("popped").is_some());
    dict.clear().expect("cleared");
    assert!(dict.is_empty().expect("counted"));
}

fn a_list_is_changed_from_both_ends_and_within(manager: Manager) {
    let list = manager.list::<String>().expect("a list");
    let words = ["pear", "fig", "apple"].map(String::from);
    list.extend(words).expect("extended");
    list.insert(1, "kiwi".into()).expect("inserted");
    assert_eq!(list.remove(2).expect("removed"), "fig");
    assert!(list.remove(9).expect_err("too far").is_refused());
    assert!(
        list.insert(9, String::new())
            .expect_err("too far")
            .is_refused()
    );
    list.sort_by_key(|word, ()| std::cmp::Reverse(word.len()), ())
        .expect("sorted");
    assert_eq!(list.to_vec().expect("read"), ["apple", "pear", "kiwi"]);
    assert!(list.contains(&"kiwi".into()).expect("looked for"));
    assert_eq!(list.position(&"fig".into()).expect("looked for"), None);
    list.update(0, |word, more: String| word.push_str(&more), "s".into())
        .expect("updated");
    assert_eq!(list.set(1, "plum".into()).expect("set"), "pear");
    list.reverse().expect("reversed");
    assert_eq!(list.slice(1..).expect("read"), ["plum", "apples"]);
    assert_eq!(
        list.retain(|word, first| word.starts_with(first), 'p')
            .expect("kept"),
        2
    );
    assert_eq!(list.pop().expect("popped").as_deref(), Some("plum"));
    assert_eq!(
        (list.pop().expect("empty"), list.get(0).expect("empty")),
        (None, None)
    );
}

fn a_long_list_comes_in_pages(manager: Manager) {
    let list = manager.list::<Vec<u8>>().expect("a list");
    for _ in 0..20 {
        list.extend((0..200).map(|n| vec![n as u8; 1000]))
            .expect("extended");
    }
    assert_eq!(
        list.iter()
            .map(|item| item.expect("an item").len())
            .sum::<usize>(),
        4_000_000
    );
    assert_eq!(list.to_vec().expect("read").len(), 4000);
}

fn pass_on((lock, total, times): (LockProxy, Remote<u64>, u32)) {
    for _ in 0..times {
        let _guard = lock.acquire().expect("acquired");
        // Not atomic without the lock.
        let n = total.call(|n, ()| *n, ()).expect("read");
        total
            .call_mut(|total, n| *total = n, n + 1)
            .expect("written");
    }
}

fn a_lock_excludes_processes_and_threads(manager: Manager) {
    let lock = manager.lock().expect("a lock");
    let total = manager.object(0u64).expect("an object");
    let argument = || (lock.clone(), total.clone(), 100);
    let process = Process::new(pass_on, argument()).start().expect("started");
    let thread = std::thread::spawn({
        let argument = argument();
        move || pass_on(argument)
    });
    pass_on(argument());
    thread.join().expect("no panic");
    process.join_timeout(LONG).expect("no panic");
    assert_eq!(total.call(|n, ()| *n, ()).expect("read"), 300);
}

fn a_timed_wait_ends_and_leaves_nothing_behind(manager: Manager) {
    let (lock, queue) = (
        manager.lock().expect("a lock"),
        manager.queue::<u8>(1).expect("a queue"),
    );
    let guard = lock.acquire().expect("acquired");
    let short = Duration::from_millis(20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let refused = lock.acquire_timeout(short).expect_err("it is held");
            assert!(refused.object().is_some_and(|error| error.is_timed_out()));
            assert!(
                lock.try_acquire()
                    .expect_err("it is held")
                    .object()
                    .is_some()
            );
        });
    });
    drop(guard);
    drop(lock.acquire_timeout(LONG).expect("it is free"));
    assert!(
        queue
            .get_timeout(short)
            .expect_err("empty")
            .object()
            .expect("its own")
            .is_timed_out()
    );
    assert!(
        queue
            .try_get()
            .expect_err("empty")
            .object()
            .expect("its own")
            .is_empty()
    );
    queue.put(1).expect("put");
    let full = queue.put_timeout(2, short).expect_err("full");
    assert!(full.object().expect("its own").is_timed_out());
    let full = queue.try_put(3).expect_err("full");
    assert!(full.object().expect("its own").is_full());
    assert_eq!(queue.get().expect("got"), 1);
    queue.close().expect("closed");
    assert!(
        queue
            .put(4)
            .expect_err("closed")
            .object()
            .expect("its own")
            .is_closed()
    );
    assert!(
        queue
            .get()
            .expect_err("closed")
            .object()
            .expect("its own")
            .is_closed()
    );
}

fn meet(barrier: BarrierProxy) -> usize {
    barrier.wait().expect("all came").index()
}

fn a_barrier_lets_all_go_together(manager: Manager) {
    let barrier = manager.barrier(3).expect("a barrier");
    let others = [(); 2].map(|()| {
        Process::new(meet, barrier.clone())
            .start()
            .expect("started")
    });
    let mut places = vec![meet(barrier.clone())];
    places.extend(others.map(|other| other.join_timeout(LONG).expect("no panic")));
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2]);
    let short = Duration::from_millis(10);
    assert!(
        barrier
            .wait_timeout(short)
            .expect_err("alone")
            .object()
            .expect("own")
            .is_timed_out()
    );
    assert!(barrier.is_broken().expect("asked"));
    assert!(
        barrier
            .wait()
            .expect_err("broken")
            .object()
            .expect("own")
            .is_broken()
    );
    barrier.reset().expect("reset");
    assert!(!barrier.is_broken().expect("asked"));
}

fn echo((from, to): (QueueProxy<u32>, QueueProxy<u32>)) {
    while let Ok(item) = from.get() {
        to.put(item + 1).expect("put");
    }
}

fn queues_carry_items_between_processes(manager: Manager) {
    let (there, back) = (
        manager.queue(2).expect("a queue"),
        manager.queue(2).expect("a queue"),
    );
    let other = Process::new(echo, (there.clone(), back.clone()))
        .start()
        .expect("started");
    for n in 0..50 {
        there.put(n).expect("put");
        assert_eq!(back.get().expect("got"), n + 1);
    }
    there.close().expect("closed");
    other.join_timeout(LONG).expect("no panic");
    let work = manager.joinable_queue::<u32>(8).expect("a queue");
    work.put(1).expect("put");
    work.put(2).expect("put");
    let early = work
        .join_timeout(Duration::from_millis(5))
        .expect_err("two are left");
    assert!(early.object().expect("its own").is_unfinished());
    assert_eq!(work.get_many(10).expect("got"), [1, 2]);
    work.task_done().expect("done");
    work.task_done().expect("done");
    work.join().expect("joined");
    assert!(work.task_done().is_err());
}

struct Account {
    balance: i64,
}

fn a_panic_in_an_object_comes_back_and_poisons_only_that_object(manager: Manager) {
    let make = |balance| {
        assert!(balance >= 0, "no debts");
        Account { balance }
    };
    let account = manager.object_with(make, 10).expect("an object");
    let refused = manager.object_with(make, -1).expect_err("a panic");
    assert!(refused.to_string().contains("no debts"), "{refused}");
    let failed = account.call(
        |account, ()| assert_eq!(account.balance, 11, "wrong sum"),
        (),
    );
    assert!(
        failed
            .expect_err("a panic")
            .to_string()
            .contains("wrong sum")
    );
    assert_eq!(
        account
            .call(|account, ()| account.balance, ())
            .expect("sound"),
        10
    );
    let failed = account.call_mut::<_, ()>(
        |account, ()| {
            account.balance = 0;
            panic!("half way");
        },
        (),
    );
    let failed: multiproc_manager::CallError = failed.expect_err("a panic");
    assert!(
        failed.is_panicked() && failed.to_string().contains("half way"),
        "{failed}"
    );
    assert!(
        account
            .call(|account, ()| account.balance, ())
            .expect_err("poisoned")
            .is_poisoned()
    );
    let dict = manager.dict::<u8, u8>().expect("the server lives");
    dict.insert(1, 1).expect("inserted");
    let failed = dict
        .update(&1, |_, ()| panic!("in a dict"), ())
        .map(|_: Option<()>| ());
    assert!(failed.expect_err("a panic").is_panicked());
    assert_eq!(dict.get(&1).expect("not poisoned"), Some(1));
}

fn a_long_function_holds_up_only_its_own_object(manager: Manager) {
    let (gate, slow) = (
        manager.event().expect("an event"),
        manager.object(0u32).expect("one"),
    );
    let waiting = std::thread::spawn({
        let (gate, slow) = (gate.clone(), slow.clone());
        // The function calls its own server, which must have another thread for that.
        move || {
            slow.call_mut(
                |n, gate: multiproc_manager::EventProxy| {
                    gate.wait().expect("set");
                    *n += 1;
                },
                gate,
            )
        }
    });
    let list = manager.list::<u8>().expect("a list");
    for n in 0..100 {
        list.push(n).expect("pushed");
    }
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let slow = slow.clone();
            std::thread::spawn(move || slow.call(|n, ()| *n, ()).expect("read"))
        })
        .collect();
    gate.set().expect("set");
    waiting.join().expect("no panic").expect("called");
    for reader in readers {
        assert_eq!(reader.join().expect("no panic"), 1);
    }
}

fn proxies_nest_and_keep_their_objects_alive(manager: Manager) {
    let (before, _) = manager.census().expect("counted");
    let outer = manager.dict::<String, ListProxy<u32>>().expect("a dict");
    {
        let inner = manager.list::<u32>().expect("a list");
        inner.push(7).expect("pushed");
        outer.insert("inner".into(), inner).expect("inserted");
    }
    let inner = outer.get("inner").expect("asked").expect("kept");
    assert_eq!(inner.to_vec().expect("read"), [7]);
    // A function in the server reaches the nested object, too.
    let grown = outer.update(
        "inner",
        |list, n| list.push(n).map_err(|error| error.to_string()),
        8,
    );
    assert_eq!(grown.expect("called"), Some(Ok(())));
    assert_eq!(inner.to_vec().expect("read"), [7, 8]);
    outer.clear().expect("cleared");
    assert_eq!(inner.len().expect("still ours"), 2);
    drop((inner, outer));
    settles(&manager, before);
}

/// Waits until the server has so many objects: handles are given back without an answer.
fn settles(manager: &Manager, objects: u64) {
    let until = std::time::Instant::now() + LONG;
    loop {
        let (now, _) = manager.census().expect("counted");
        if now == objects {
            return;
        }
        assert!(
            std::time::Instant::now() < until,
            "{now} objects instead of {objects}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn forward(queue: multiproc_queue::Queue<ListProxy<u32>>) {
    let list = queue.get().expect("a list");
    list.push(1).expect("pushed");
}

fn proxies_travel_by_other_channels_and_outlive_their_sender(manager: Manager) {
    let (before, _) = manager.census().expect("counted");
    let queue = multiproc_queue::Queue::bounded(2).expect("a queue");
    let dict = manager.dict::<u8, ListProxy<u32>>().expect("a dict");
    {
        let list = manager.list::<u32>().expect("a list");
        dict.insert(0, list.clone()).expect("inserted");
        queue.put(list).expect("put");
    }
    let other = Process::new(forward, queue).start().expect("started");
    other.join_timeout(LONG).expect("no panic");
    let list = dict.get(&0).expect("asked").expect("there");
    assert_eq!(list.to_vec().expect("read"), [1]);
    drop((list, dict));
    settles(&manager, before);
}

fn another_connection_sees_the_same_server_but_not_the_objects_of_others(manager: Manager) {
    let other = Manager::connect(manager.address(), manager.authkey()).expect("connected");
    let dict = other.dict::<u8, u8>().expect("a dict");
    dict.insert(1, 2).expect("inserted");
    let (_, clients) = manager.census().expect("counted");
    assert_eq!(clients, 2);
    let wrong = Manager::connect(manager.address(), b"wrong key").expect_err("a wrong key");
    assert!(wrong.is_authentication_failed(), "{wrong}");
    other.shutdown().expect("ended");
    manager.join();
    assert!(dict.get(&1).expect_err("gone").is_server_gone());
    assert!(manager.lock().expect_err("gone").is_server_gone());
}
