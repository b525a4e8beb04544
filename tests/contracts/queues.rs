//! Queues: what was put comes out, in order and once; and who is told when it does not.

use std::thread;

use multiproc::Process;

use crate::kit::{EventLike, JoinableLike, Kit, LONG, QueueLike, SHORT, soon};

fn put_hundred<Q: QueueLike>((queue, from): (Q, u64)) {
    for item in from..from + 100 {
        queue.put(item).expect("open");
    }
}

pub(crate) fn items_come_in_order_and_once<K: Kit>(kit: &K) {
    let queue = kit.queue(4);
    let writer = Process::new(put_hundred::<K::Queue>, (queue.clone(), 0));
    let writer = writer.start().expect("started");
    let mut got = vec![queue.get().expect("an item")];
    got.push(queue.get_timeout(LONG).expect("an item"));
    got.push(queue.get_deadline(soon() + LONG).expect("an item"));
    while got.len() < 100 {
        let some = queue.get_many(3).expect("items");
        assert!((1..=3).contains(&some.len()));
        got.extend(some);
    }
    assert!(got.into_iter().eq(0..100));
    writer.join_timeout(LONG).expect("no panic");
    assert!(queue.is_empty());
}

pub(crate) fn a_full_and_an_empty_queue_refuse(kit: &impl Kit) {
    let queue = kit.queue(1);
    assert_eq!((queue.len(), queue.capacity()), (0, 1));
    assert!(queue.try_get().expect_err("empty").is_empty());
    assert!(queue.get_timeout(SHORT).expect_err("empty").is_timed_out());
    assert!(
        queue
            .get_deadline(soon())
            .expect_err("empty")
            .is_timed_out()
    );
    queue.try_put(1).expect("room");
    assert!(queue.is_full() && !queue.is_empty() && queue.len() == 1);
    let refused = queue.try_put(2).expect_err("full");
    assert!(refused.is_full() && refused.into_inner() == 2);
    let late = queue.put_timeout(3, SHORT).expect_err("full");
    assert!(late.is_timed_out() && late.into_inner() == 3);
    let late = queue.put_deadline(4, soon()).expect_err("full");
    assert!(late.is_timed_out() && late.into_inner() == 4);
    assert_eq!(queue.get().expect("the only one"), 1);
    queue.put_timeout(5, LONG).expect("room");
    assert_eq!(queue.try_get().expect("the only one"), 5);
}

pub(crate) fn a_closed_queue_is_drained(kit: &impl Kit) {
    let queue = kit.queue(4);
    queue.put(1).expect("open");
    queue.put(2).expect("open");
    queue.close();
    queue.close();
    assert!(queue.is_closed());
    let refused = queue.put(3).expect_err("closed");
    assert!(refused.is_closed() && refused.into_inner() == 3);
    assert!(queue.try_put(3).expect_err("closed").is_closed());
    assert_eq!(queue.drain(), [1, 2]);
    assert!(queue.get().expect_err("drained").is_closed());
    assert!(queue.try_get().expect_err("drained").is_closed());
    assert!(queue.get_many(2).expect_err("drained").is_closed());
}

pub(crate) fn a_closed_queue_wakes_its_getters(kit: &impl Kit) {
    let queue = kit.queue(1);
    thread::scope(|scope| {
        let waits = [(); 3].map(|()| scope.spawn(|| queue.get()));
        // Both orders are right; this makes the other one likely, too.
        thread::sleep(SHORT);
        queue.close();
        for wait in waits {
            let told = wait.join().expect("no panic");
            assert!(told.expect_err("closed").is_closed());
        }
    });
}

pub(crate) fn a_queue_without_a_bound_takes_all(kit: &impl Kit) {
    let queue = kit.unbounded_queue();
    assert_eq!(queue.capacity(), usize::MAX);
    for item in 0..3000 {
        queue.try_put(item).expect("room");
    }
    assert!(!queue.is_full() && queue.len() == 3000);
    queue.close();
    assert!(queue.drain().into_iter().eq(0..3000));
}

fn drain<Q: QueueLike>(queue: Q) -> Vec<u64> {
    queue.drain()
}

pub(crate) fn many_putters_and_getters_share_all_items<K: Kit>(kit: &K) {
    let queue = kit.queue(8);
    let getters = [(); 2].map(|()| Process::new(drain::<K::Queue>, queue.clone()).start());
    let start = |from| Process::new(put_hundred::<K::Queue>, (queue.clone(), from)).start();
    for putter in [0, 100, 200].map(start) {
        putter
            .expect("started")
            .join_timeout(LONG)
            .expect("no panic");
    }
    queue.close();
    let mut got = Vec::new();
    for getter in getters {
        let part = getter
            .expect("started")
            .join_timeout(LONG)
            .expect("no panic");
        // Of each putter, in the order in which it put them.
        for putter in 0..3 {
            let of = part.iter().filter(|&item| item / 100 == putter);
            assert!(of.is_sorted());
        }
        got.extend(part);
    }
    got.sort_unstable();
    assert!(got.into_iter().eq(0..300));
}

pub(crate) fn a_joinable_queue_is_joined_when_all_is_done(kit: &impl Kit) {
    let queue = kit.joinable_queue(8);
    queue.join().expect("nothing is to do");
    assert!(queue.task_done().is_err());
    for item in 0..3 {
        queue.put(item).expect("open");
    }
    assert_eq!(queue.unfinished(), 3);
    assert_eq!(queue.get().expect("an item"), 0);
    assert_eq!((queue.len(), queue.unfinished()), (2, 3));
    assert!(queue.try_join().expect_err("not done").is_unfinished());
    assert!(
        queue
            .join_timeout(SHORT)
            .expect_err("not done")
            .is_unfinished()
    );
    assert!(
        queue
            .join_deadline(soon())
            .expect_err("not done")
            .is_unfinished()
    );
    thread::scope(|scope| {
        let joined = scope.spawn(|| queue.join());
        queue.task_done().expect("in hand");
        for _ in 0..2 {
            queue.get().expect("an item");
            queue.task_done().expect("in hand");
        }
        joined.join().expect("no panic").expect("all is done");
    });
    assert!(queue.task_done().is_err());
    assert_eq!(queue.unfinished(), 0);
}

fn take_and_wait<Q: QueueLike, E: EventLike>((queue, took): (Q, E)) {
    queue.get().expect("an item");
    queue.get().expect("an item");
    took.set();
    loop {
        thread::park();
    }
}

pub(crate) fn items_that_die_with_their_taker_are_told<K: Kit>(kit: &K) {
    let (queue, took) = (kit.joinable_queue(8), kit.event());
    for item in 0..3 {
        queue.put(item).expect("open");
    }
    let argument = (queue.clone(), took.clone());
    let taker = Process::new(take_and_wait::<K::Joinable, K::Event>, argument);
    let taker = taker.daemon(true).start().expect("started");
    assert!(took.wait_timeout(LONG));
    assert_eq!(queue.get().expect("the last"), 2);
    queue.task_done().expect("in hand");
    assert!(
        queue
            .join_timeout(SHORT)
            .expect_err("it has two")
            .is_unfinished()
    );
    taker.kill().expect("killed");
    let told = queue.join_timeout(LONG).expect_err("two are lost");
    assert!(
        told.is_lost() && told.to_string().contains("2 items"),
        "{told}"
    );
    queue.join_timeout(LONG).expect("told once");
}
