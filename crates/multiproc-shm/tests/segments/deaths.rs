//! Processes killed while they make, name, fill and set.

use std::time::Duration;

use multiproc_shm::testing::instructions::{kill_at_each, place};
use multiproc_shm::testing::{self, Chance, Forked, alone, kills};
use multiproc_shm::{ListItem, ShareableList, SharedMemory};
use multiproc_sys::testing as raw;
use multiproc_sys::testing::steps::{self, Reached};

use crate::{Name, exists};

/// Kills a child that does `work` for ever, at a random moment.
fn kill_one(random: &mut Chance, work: impl Fn()) {
    let child = raw::fork().expect("a child");
    if child == 0 {
        loop {
            work();
        }
    }
    random.moment(Duration::from_millis(3));
    raw::kill(child).expect("our child");
    let _killed = raw::wait(child).expect("our child");
}

#[test]
fn a_killed_maker_leaves_a_whole_segment_or_no_name() {
    const SIZE: usize = 100_000;
    alone(|| {
        let mut random = Chance::new();
        let name = Name::new("maker");
        let (mut whole, mut none) = (0, 0);
        for kill in 0..kills(300) {
            let list = kill % 2 == 0;
            kill_one(&mut random, || {
                if list {
                    let items = [ListItem::from("first"), 7.into()];
                    drop(ShareableList::create_named(&name.0, items).expect("a list"));
                } else {
                    drop(SharedMemory::create_named(&name.0, SIZE).expect("memory"));
                }
                SharedMemory::unlink(&name.0).expect("just made");
            });
            if !name.exists() {
                none += 1;
                continue;
            }
            whole += 1;
            if list {
                let list = ShareableList::open(&name.0).expect("whole");
                assert_eq!(list.get(0), Ok(ListItem::from("first")), "kill {kill}");
                assert_eq!(list.get(1), Ok(ListItem::from(7)), "kill {kill}");
            } else {
                let memory = SharedMemory::open(&name.0).expect("whole");
                let mut bytes = vec![1; SIZE];
                memory.read_at(0, &mut bytes).expect("all of it");
                assert_eq!((memory.len(), bytes), (SIZE, vec![0; SIZE]), "kill {kill}");
            }
            SharedMemory::unlink(&name.0).expect("it is there");
        }
        println!("{whole} whole segments, {none} without a name");
        let left = std::fs::read_dir("/dev/shm")
            .expect("a directory")
            .flatten();
        let left = left.filter(|entry| entry.file_name().to_string_lossy().contains(&name.0));
        assert_eq!(left.count(), 0);
    });
}

fn value(number: u64) -> String {
    let letter = char::from(b'a' + (number % 26) as u8);
    String::from(letter).repeat(50 + (number % 100) as usize)
}

fn is_value(item: &ListItem) -> bool {
    let ListItem::Text(text) = item else {
        return false;
    };
    (0..2600).any(|number| value(number) == *text)
}

#[test]
fn a_killed_setter_leaves_the_old_or_the_new_value() {
    alone(|| {
        let mut random = Chance::new();
        let name = Name::new("setter");
        let builder = || ShareableList::builder().room(150);
        let anonymous = builder().create([value(0)]).expect("a list");
        let named = builder().name(&name.0).create([value(0)]).expect("a list");
        for kill in 0..kills(300) {
            let list = if kill % 2 == 0 { &anonymous } else { &named };
            let seed = random.below(2600);
            let theirs = list.clone();
            let child: Forked = testing::fork(move || {
                (seed..u64::MAX).for_each(|number| theirs.set(0, value(number)).expect("it fits"));
            });
            random.moment(Duration::from_millis(3));
            // The one who is killed may have the lock, and this one waits for it.
            let setting = list.clone();
            let beside = std::thread::spawn(move || setting.set(0, value(seed)));
            child.kill();
            beside
                .join()
                .expect("no panic")
                .expect("the lock comes back");
            let item = list.get(0).expect("a value");
            assert!(is_value(&item), "kill {kill}: {item:?}");
            list.set(0, value(kill as u64)).expect("it fits");
            assert_eq!(list.get_as::<String>(0), Ok(value(kill as u64)));
        }
    });
}

/// A member that runs `operation` between the marks.
fn member(operation: impl FnOnce()) -> Forked {
    testing::fork(|| {
        steps::begin();
        operation();
        steps::end();
    })
}

#[test]
fn killed_at_any_instruction_of_a_set() {
    alone(|| {
        // So many that their slots and ledger blocks are there, and each run takes the same steps.
        (0..70).for_each(|_| assert!(testing::fork(|| {}).join()));
        let name = Name::new("step");
        let anonymous = ShareableList::new(["old"]).expect("a list");
        let named = ShareableList::create_named(&name.0, ["old"]).expect("a list");
        for (what, list) in [("set in the arena", &anonymous), ("set by name", &named)] {
            let start = || {
                list.set(0, "old").expect("it fits");
                member(|| list.set(0, "new").expect("it fits"))
            };
            kill_at_each(what, start, |reached| {
                let now = list.get_as::<String>(0).expect("a value");
                let old = now == "old" && reached != Reached::End;
                assert!(now == "new" || old, "killed {}: {now}", place(reached));
            });
        }
    });
}

#[test]
fn killed_at_any_instruction_of_a_creation_with_a_name() {
    alone(|| {
        (0..70).for_each(|_| assert!(testing::fork(|| {}).join()));
        let name = Name::new("create");
        let start = || {
            member(|| std::mem::forget(SharedMemory::create_named(&name.0, 10).expect("memory")))
        };
        kill_at_each("create by name", start, |reached| {
            assert!(
                name.exists() || reached != Reached::End,
                "{}",
                place(reached)
            );
            if exists(&name.0) {
                assert_eq!(SharedMemory::open(&name.0).expect("whole").len(), 10);
                SharedMemory::unlink(&name.0).expect("it is there");
            }
        });
    });
}
