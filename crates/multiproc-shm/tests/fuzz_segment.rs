//! Throws bytes at whoever opens named memory: random files, and good ones with a few bytes changed,
//! before they are opened and after.
//!
//! Whatever comes must be an error or a value, never a panic, and never an endless wait. Runs for a
//! second; `FUZZ_SECONDS` sets how long, `SEED` repeats a run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use multiproc_shm::testing::Chance;
use multiproc_shm::{ListError, ListItem, OpenError, ShareableList, SharedMemory};
use multiproc_sys::random;

/// What a good segment is like, to begin with.
struct Seed {
    bytes: Vec<u8>,
}

fn path(name: &str) -> String {
    format!("/dev/shm/{name}")
}

fn seeds(name: &str) -> Vec<Seed> {
    let made = || {
        let bytes = std::fs::read(path(name)).expect("it is there");
        SharedMemory::unlink(name).expect("it is there");
        Seed { bytes }
    };
    let memory = SharedMemory::create_named(name, 300).expect("memory");
    memory.write_at(100, b"content").expect("in bounds");
    drop(memory);
    let mut seeds = vec![made()];
    let items: [&[ListItem]; 3] = [
        &[],
        &["a text".into(), 7.into(), ListItem::None],
        &[true.into(), vec![9; 70].into(), 0.5.into(), "x".into()],
    ];
    for items in items {
        let list = ShareableList::create_named(name, items.iter().cloned()).expect("a list");
        for (index, item) in items.iter().enumerate() {
            list.set(index, item.clone()).expect("it fits");
        }
        drop(list);
        seeds.push(made());
    }
    seeds
}

/// Changes a few bytes, most often those that mean something.
fn scribble(random: &mut Chance, file: &File, len: u64) {
    const VALUES: [u64; 8] = [
        0,
        1,
        8,
        0x7f,
        1 << 32,
        u64::MAX,
        i64::MAX as u64,
        u64::MAX - 7,
    ];
    for _ in 0..1 + random.below(4) {
        let at = match random.below(3) {
            0 => random.below(40),
            1 => 4096 + random.below(len.saturating_sub(4096).clamp(1, 80)),
            _ => random.below(len.max(1)),
        };
        let value = match random.below(3) {
            0 => random.below(u64::MAX),
            _ => VALUES[random.below(8) as usize],
        };
        let width = [1, 4, 8][random.below(3) as usize];
        file.write_all_at(&value.to_le_bytes()[..width], at)
            .expect("our file");
    }
}

fn expected(error: &OpenError) {
    let known = error.is_incompatible() || error.is_corrupt() || error.is_not_found();
    assert!(known || error.is_no_space(), "{error:?}");
}

fn use_list(list: &ShareableList, random: &mut Chance) {
    let known = |error: &ListError| {
        assert!(
            error.is_corrupt() || error.is_too_long() || error.is_out_of_range(),
            "{error:?}"
        );
    };
    for index in 0..list.len().min(20) {
        let _ = list.get(index).inspect_err(known);
        if random.below(4) == 0 {
            let set = list.set(index, 77);
            set.inspect_err(known)
                .expect("a slot takes a number, whatever lay in it");
            assert_eq!(list.get_as::<i64>(index), Ok(77));
        }
    }
}

fn use_memory(memory: &SharedMemory) {
    let mut byte = [0];
    for offset in [0, memory.len() / 2, memory.len() - 1] {
        match memory.read_at(offset, &mut byte) {
            Ok(()) => {}
            Err(error) => assert!(error.is_corrupt(), "{error:?}"),
        }
    }
}

#[test]
fn any_file_is_a_segment_or_an_error() {
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let mut random = Chance::new();
    let name = format!("multiproc-fuzz-{:x}", random::u64());
    let seeds = seeds(&name);
    let (mut tried, mut opened) = (0u64, 0u64);
    while Instant::now() < end {
        let seed = &seeds[random.below(seeds.len() as u64) as usize];
        let mut bytes = seed.bytes.clone();
        match random.below(8) {
            0 => bytes
                .iter_mut()
                .for_each(|byte| *byte = random.below(256) as u8),
            1 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            _ => {}
        }
        std::fs::write(path(&name), &bytes).expect("room in /dev/shm");
        let file = File::options()
            .write(true)
            .open(path(&name))
            .expect("our file");
        // Half of them are damaged only after they were opened.
        let late = random.below(2) == 0;
        if !late {
            scribble(&mut random, &file, bytes.len() as u64);
        }
        let list = ShareableList::open(&name).inspect_err(expected).ok();
        let memory = SharedMemory::open(&name).inspect_err(expected).ok();
        for _ in 0..u8::from(late) * 5 {
            scribble(&mut random, &file, bytes.len() as u64);
            if random.below(10) == 0 {
                file.set_len(random.below(bytes.len() as u64 * 2 + 1))
                    .expect("our file");
            }
            if let Some(list) = &list {
                // One that was cut cannot be written to.
                let whole = file.metadata().expect("our file").len() >= bytes.len() as u64;
                if whole {
                    use_list(list, &mut random);
                }
                let _ = list.iter().count();
            }
            memory.iter().for_each(use_memory);
        }
        opened += u64::from(list.is_some() || memory.is_some());
        tried += 1;
        SharedMemory::unlink(&name).expect("our file");
    }
    println!("{tried} files, {opened} of them opened");
    assert!(opened > 0 && opened < tried);
}
