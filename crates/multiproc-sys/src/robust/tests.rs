use super::*;
use crate::clock::Deadline;
use std::time::Duration;

/// A word that lives for ever, as words in shared memory do.
fn word() -> &'static Word {
    Box::leak(Box::new(Word::new()))
}

fn acquire(word: &'static Word) -> Attempt {
    // SAFETY: leaked, so it stays where it is.
    unsafe { word.try_acquire(false, MOST_HELD) }
}

fn release(word: &'static Word) {
    assert!(word.release());
}

#[test]
fn a_free_word_is_acquired_and_released() {
    let word = word();
    assert_eq!(acquire(word), Attempt::Acquired);
    assert!(word.is_held() && word.is_mine());
    assert!(matches!(acquire(word), Attempt::Busy(seen) if seen.tid() == tid()));
    release(word);
    assert!(!word.is_held());
}

#[test]
fn words_are_released_in_any_order() {
    let words: Vec<_> = (0..8).map(|_| word()).collect();
    for &word in &words {
        assert_eq!(acquire(word), Attempt::Acquired);
    }
    for index in [3, 0, 7, 4, 1, 6, 2, 5] {
        release(words[index]);
    }
    assert!(words.iter().all(|word| !word.is_held()));
}

#[test]
fn a_thread_that_ends_leaves_its_words_suspect() {
    let words: Vec<_> = (0..100).map(|_| word()).collect();
    let held = words.clone();
    std::thread::spawn(move || {
        for word in held {
            assert_eq!(acquire(word), Attempt::Acquired);
        }
    })
    .join()
    .expect("the thread only acquires");
    for word in words {
        let until = Deadline::after(Duration::from_secs(10));
        while !word.is_suspect() {
            assert!(!until.has_passed(), "the kernel has not marked the word");
            std::thread::yield_now();
        }
        let Attempt::Suspect(seen) = acquire(word) else {
            panic!("not suspect");
        };
        // SAFETY: leaked, so it stays where it is.
        let taken = unsafe { word.take_over(seen, MOST_HELD) };
        assert_eq!(taken, Attempt::Acquired);
        assert!(!word.is_suspect() && word.is_mine());
        release(word);
    }
}

#[test]
fn more_words_than_the_kernel_releases_are_refused() {
    std::thread::spawn(|| {
        let words: Vec<_> = (0..MOST_HELD).map(|_| word()).collect();
        for &word in &words {
            assert_eq!(acquire(word), Attempt::Acquired);
        }
        let one_more = word();
        assert_eq!(acquire(one_more), Attempt::Refused(Refusal::TooMany));
        for word in words {
            release(word);
        }
        assert_eq!(acquire(one_more), Attempt::Acquired);
        release(one_more);
    })
    .join()
    .expect("no panic");
}

#[test]
fn a_waiter_is_woken_by_the_release() {
    let word = word();
    assert_eq!(acquire(word), Attempt::Acquired);
    let waiter = std::thread::spawn(move || {
        loop {
            // SAFETY: leaked, so it stays where it is.
            match unsafe { word.try_acquire(true, MOST_HELD) } {
                Attempt::Acquired => break release(word),
                Attempt::Busy(seen) => {
                    if let Some(value) = word.announce_waiter(seen) {
                        let _ = futex::wait(word.futex(), value, Deadline::NEVER);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
    while word.futex().load(Ordering::Relaxed) & WAITERS == 0 {
        std::thread::yield_now();
    }
    release(word);
    waiter.join().expect("no panic");
}

#[test]
fn only_the_holder_releases() {
    let word = word();
    assert!(!word.release());
    assert_eq!(acquire(word), Attempt::Acquired);
    assert!(word.is_held_here());
    let other = std::thread::spawn(move || word.release());
    assert!(!other.join().expect("no panic"));
    assert!(word.is_mine());
    release(word);
    assert!(!word.release() && !word.is_held_here());
}

#[test]
fn a_release_too_many_leaves_other_words_alone() {
    let (first, second) = (word(), word());
    assert_eq!(acquire(first), Attempt::Acquired);
    release(first);
    assert_eq!(acquire(second), Attempt::Acquired);
    assert!(!first.release());
    let handed = second;
    std::thread::spawn(move || assert!(!handed.release()))
        .join()
        .expect("no panic");
    assert!(second.is_mine());
    release(second);
}
