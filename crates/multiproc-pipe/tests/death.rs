//! Ends killed at any moment: every byte is checked, nothing that was sent whole is lost to its sender's
//! death, a receiver takes at most one message along, and the other side hears of the end.
//!
//! `CHAOS=n` runs twenty times as many kills. The seed is printed; `SEED=n` repeats its choices.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use multiproc_pipe::{Connection, Receiver, RecvError, SendError, Sender, channel, pipe};
use multiproc_shm::testing::{self, Chance, alone, kills};
use multiproc_shm::{Kind, Object};
use multiproc_sys::testing as raw;

const LIMIT: Duration = Duration::from_secs(60);

/// A message that proves itself, and says which it is; some are long, some carry an object.
type Item = (u64, Vec<u8>, Option<Object>);

fn item(number: u64) -> Item {
    let len = match number % 40 {
        0 => 200_000,
        20 => 20_000,
        rest => rest as usize * 20,
    };
    let object = number
        .is_multiple_of(7)
        .then(|| Object::create(Kind::Plain, 7, 8, |_| {}).expect("an object"));
    (number, vec![number as u8; len], object)
}

fn check((number, bytes, object): &Item) -> u64 {
    assert!(
        bytes.iter().all(|byte| *byte == *number as u8),
        "{number} is corrupt"
    );
    assert_eq!(bytes.len(), item(*number).1.len());
    assert_eq!(object.is_some(), number.is_multiple_of(7));
    *number
}

/// A long message without handles: whoever makes or takes one needs no lock that all the family shares,
/// and which a stopped process might hold.
type Plain = (u64, Vec<u8>);

fn plain(number: u64) -> Plain {
    (number, vec![number as u8; 200_000])
}

fn number_of((number, bytes): &Plain) -> u64 {
    assert!(bytes.len() == 200_000 && bytes.iter().all(|byte| *byte == *number as u8));
    *number
}

fn word() -> Object {
    Object::create(Kind::Plain, 1, 8, |_| {}).expect("an object")
}

/// Sends numbers from 0 on for ever. The word says how many have surely been sent.
fn send_all(sender: &Sender<Item>, done: &Object) {
    for number in 0.. {
        sender.send(&item(number)).expect("somebody receives");
        done.words()[0].store(number + 1, Ordering::Release);
    }
}

#[test]
fn what_a_killed_sender_had_sent_arrives_and_then_the_end() {
    alone(|| {
        let mut random = Chance::new();
        let mut all = 0;
        for _ in 0..kills(250) {
            let (sender, receiver) = channel::<Item>().expect("a pipe");
            let done = word();
            let child = testing::fork(|| send_all(&sender, &done));
            drop(sender);
            let until = Instant::now() + Duration::from_nanos(random.below(2_000_000));
            let mut expected = 0;
            while Instant::now() < until {
                if let Ok(item) = receiver.recv_timeout(Duration::from_micros(100)) {
                    assert_eq!(check(&item), expected);
                    expected += 1;
                }
            }
            child.kill();
            let end = loop {
                match receiver.recv_timeout(LIMIT) {
                    Ok(item) => assert_eq!(check(&item), expected),
                    Err(error) => break error,
                }
                expected += 1;
            };
            assert_eq!(end, RecvError::Disconnected);
            let said = done.words()[0].load(Ordering::Acquire);
            assert!(
                expected == said || expected == said + 1,
                "{expected} got, {said} sent"
            );
            all += expected;
        }
        println!("{all} messages");
    });
}

#[test]
fn a_killed_receiver_is_heard_of_also_in_the_middle_of_a_message() {
    alone(|| {
        let mut random = Chance::new();
        for round in 0..kills(250) {
            let (sender, receiver) = channel::<Item>().expect("a pipe");
            let child = testing::fork(|| {
                for expected in 0.. {
                    assert_eq!(check(&receiver.recv().expect("a message")), expected);
                }
            });
            drop(receiver);
            let sending = std::thread::spawn(move || {
                // Some rounds wait in long messages most of the time.
                let step = [1, 40][round % 2];
                for number in (0..).step_by(step) {
                    if let Err(error) = sender.send(&item(number)) {
                        return error;
                    }
                }
                unreachable!("numbers do not end");
            });
            random.moment(Duration::from_millis(2));
            child.kill();
            let error = sending.join().expect("no panic");
            assert_eq!(error, SendError::Disconnected);
        }
    });
}

#[test]
fn a_killed_receiver_of_several_takes_one_message_along_at_most() {
    alone(|| {
        let mut random = Chance::new();
        let (sender, receiver) = channel::<Item>().expect("a pipe");
        let (tell, told) = channel::<u64>().expect("a pipe");
        let (mut sent, mut got, mut lost) = (0, 0, 0);
        for kill in 0..kills(250) {
            let child = testing::fork(|| {
                loop {
                    let number = check(&receiver.recv().expect("a message"));
                    tell.send(&number).expect("it is heard");
                }
            });
            let until = Instant::now() + Duration::from_nanos(random.below(2_000_000));
            while Instant::now() < until {
                match sender.send_timeout(&item(sent), Duration::from_millis(1)) {
                    Ok(()) => sent += 1,
                    Err(error) => assert!(error.is_timed_out(), "{error}"),
                }
                while let Ok(number) = told.try_recv() {
                    assert!(number >= got + lost, "{number} twice");
                    got += 1;
                }
            }
            child.kill();
            while let Ok(number) = told.try_recv() {
                assert!(number >= got + lost, "{number} twice");
                got += 1;
            }
            while let Ok(item) = receiver.try_recv() {
                check(&item);
                got += 1;
            }
            assert!(
                sent - got <= lost + 1,
                "kill {kill} took {} along",
                sent - got - lost
            );
            lost = sent - got;
        }
        println!("{got} messages got, {lost} died with a receiver");
    });
}

#[test]
fn messages_of_several_senders_that_are_killed_never_mix() {
    alone(|| {
        let mut random = Chance::new();
        let (sender, receiver) = channel::<Item>().expect("a pipe");
        let start = || {
            testing::fork(|| {
                for number in 0.. {
                    sender.send(&item(number)).expect("somebody receives");
                }
            })
        };
        let mut children: Vec<_> = (0..3).map(|_| start()).collect();
        for _ in 0..kills(250) {
            let until = Instant::now() + Duration::from_nanos(random.below(1_000_000));
            while Instant::now() < until {
                if let Ok(item) = receiver.recv_timeout(Duration::from_micros(100)) {
                    check(&item);
                }
            }
            let one = random.below(3) as usize;
            std::mem::replace(&mut children[one], start()).kill();
            // Whoever was killed, the others go on.
            check(&receiver.recv_timeout(LIMIT).expect("a message"));
        }
        children.into_iter().for_each(testing::Forked::kill);
        while let Ok(item) = receiver.try_recv() {
            check(&item);
        }
    });
}

#[test]
fn deadlines_hold_while_the_other_side_is_stopped_in_the_middle_of_a_message() {
    alone(|| {
        let mut random = Chance::new();
        let (here, there) = pipe::<Plain, Plain>().expect("a pipe");
        let child = testing::fork(|| {
            let sender = there.sender().clone();
            std::thread::spawn(move || {
                for number in (0..).step_by(40) {
                    sender.send(&plain(number)).expect("somebody receives");
                }
            });
            for expected in (0..).step_by(40) {
                assert_eq!(number_of(&there.recv().expect("a message")), expected);
            }
        });
        let (mut sent, mut expected) = (0, 0);
        for _ in 0..kills(100) {
            random.moment(Duration::from_micros(300));
            raw::stop(child.pid, true).expect("it runs");
            let begun = Instant::now();
            for _ in 0..3 {
                if let Ok(item) = here.try_recv() {
                    assert_eq!(number_of(&item), expected);
                    expected += 40;
                }
                if let Ok(item) = here.recv_timeout(Duration::from_millis(1)) {
                    assert_eq!(number_of(&item), expected);
                    expected += 40;
                }
                match here.send_timeout(&plain(sent), Duration::from_millis(1)) {
                    Ok(()) => sent += 40,
                    Err(error) => assert!(error.is_timed_out(), "{error}"),
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(5));
            raw::stop(child.pid, false).expect("it runs");
            // What was begun goes on where it was.
            assert_eq!(
                number_of(&here.recv_timeout(LIMIT).expect("a message")),
                expected
            );
            expected += 40;
        }
        child.kill();
    });
}

#[test]
fn an_end_in_a_message_that_nobody_has_read_counts() {
    alone(|| {
        let (sender, receiver) = channel::<u64>().expect("a pipe");
        let (carry, carried) = channel::<Sender<u64>>().expect("a pipe");
        sender.send(&1).expect("sent");
        carry.send(&sender).expect("sent");
        drop(sender);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
        let sender = carried.recv_timeout(LIMIT).expect("the end");
        sender.send(&2).expect("it works");
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(2));
        // With the last message that carries it, it goes; who waits hears of it.
        carry.send(&sender).expect("sent");
        drop(sender);
        let waiting = std::thread::spawn(move || receiver.recv());
        std::thread::yield_now();
        drop((carry, carried));
        assert_eq!(
            waiting.join().expect("no panic"),
            Err(RecvError::Disconnected)
        );
    });
}

#[test]
fn ends_travel_and_are_the_same_ends() {
    alone(|| {
        type End = Connection<String, u64>;
        let (carry, carried) = channel::<(Vec<End>, Receiver<u64>)>().expect("a pipe");
        let child = testing::fork(|| {
            let (ends, numbers) = carried.recv().expect("the ends");
            for end in &ends {
                let number = numbers.recv().expect("a number");
                end.send(&format!("{number} of {}", ends.len()))
                    .expect("sent");
                assert_eq!(end.recv(), Ok(number * 2));
            }
        });
        let pipes: Vec<_> = (0..100)
            .map(|_| pipe::<u64, String>().expect("a pipe"))
            .collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let (numbers, receiver) = channel().expect("a pipe");
        carry.send(&(theirs, receiver)).expect("sent");
        for (n, end) in (0u64..).zip(&ours) {
            numbers.send(&n).expect("sent");
            assert_eq!(end.recv_timeout(LIMIT), Ok(format!("{n} of 100")));
            end.send(&(n * 2)).expect("sent");
        }
        assert!(child.join());
        for end in &ours {
            assert_eq!(end.recv_timeout(LIMIT), Err(RecvError::Disconnected));
        }
    });
}
