//! Bytes that announce more than they hold get no memory for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use multiproc_wire::{Bytes, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Counts what the thread asks for.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and blocks come from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn asked_for<T: DeserializeOwned + 'static>(bytes: &[u8]) -> usize {
    let before = ASKED.get();
    codec::decode::<T>(bytes, &[])
        .map(drop)
        .expect_err("announces more than there is");
    ASKED.get() - before
}

#[derive(Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[test]
fn memory_follows_the_bytes_not_what_they_announce() {
    for announced in [1 << 16, 1 << 20, 1 << 40, u64::MAX] {
        let bytes = codec::encode(&announced).expect("encodes").bytes;
        let asked = [
            asked_for::<String>(&bytes),
            asked_for::<Vec<u64>>(&bytes),
            asked_for::<VecDeque<[u64; 32]>>(&bytes),
            asked_for::<HashMap<u64, u64>>(&bytes),
            asked_for::<HashSet<String>>(&bytes),
            asked_for::<BTreeMap<u8, u8>>(&bytes),
            asked_for::<(Bytes, Bytes)>(&bytes),
            asked_for::<Vec<Vec<Vec<u8>>>>(&bytes),
        ];
        // Ten bytes at most; what is asked for includes the error and its text.
        assert!(
            asked.iter().all(|&asked| asked < 4096),
            "{announced}: {asked:?}"
        );
    }
}

#[test]
fn nesting_does_not_multiply_what_may_be_reserved() {
    let level = codec::encode(&(1u64 << 20)).expect("encodes").bytes;
    let bytes = level.repeat(300);
    let asked = asked_for::<Tree>(&bytes);
    assert!(
        asked < 200 * bytes.len(),
        "{asked} for {} bytes",
        bytes.len()
    );
}
