//! How many items go into one chunk: arithmetic only, no state.
//!
//! A chunk should be long enough that handing it out costs little, and short enough that the
//! workers finish together and that a death throws little back. Until the first items have been
//! measured nobody knows how long that is, so a job begins with single items.

use std::time::Duration;

/// The most items of one chunk: what the low bits of a claim can count.
pub(crate) const MOST_ITEMS: usize = (1 << 16) - 1;

/// The most bytes of one chunk of several items; a larger item travels alone.
pub(crate) const MOST_BYTES: usize = 256 << 10;

/// How long one chunk should keep a worker busy.
const TARGET: Duration = Duration::from_millis(1);

/// How many chunks a job keeps in flight per worker: one in hand, others ready in the ring.
const IN_FLIGHT_PER_WORKER: usize = 4;

/// The fewest tasks in flight where chunks are single items: with fewer, workers and parent take
/// turns at sleeping (4 per worker is seven times slower than 512).
const IN_FLIGHT_SMALL: usize = 1024;

/// The size of the next chunk.
///
/// `left` items are still to be handed out, where that is known. `task` is how long one takes, as
/// far as measured.
///
/// With the time known: as many as last for 1 ms, but no more than leave four chunks for each
/// worker, so that the last ones end together.
pub(crate) fn size(left: Option<usize>, workers: usize, task: Option<Duration>) -> usize {
    let Some(task) = task else {
        return 1;
    };
    let nanos = task.as_nanos().max(1);
    let by_time = usize::try_from(TARGET.as_nanos() / nanos).unwrap_or(usize::MAX);
    let by_share = left.map_or(MOST_ITEMS, |left| share(left, workers));
    by_time.min(by_share).clamp(1, MOST_ITEMS)
}

/// The size of chunks that are all cut before anything is measured: four for each worker.
pub(crate) fn share(items: usize, workers: usize) -> usize {
    items.div_ceil(workers.max(1) * 4).clamp(1, MOST_ITEMS)
}

/// How many chunks of about `items` items may be in flight at once.
pub(crate) fn in_flight(items: usize, workers: usize) -> usize {
    (workers * IN_FLIGHT_PER_WORKER).max(IN_FLIGHT_SMALL / items.max(1))
}

/// The measured time of one task: new measurements count for a quarter.
pub(crate) fn blend(old: Option<Duration>, items: u32, took: Duration) -> Duration {
    let each = took / items.max(1);
    match old {
        None => each,
        Some(old) => (old * 3 + each) / 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_measured_means_single_items() {
        assert_eq!(size(Some(1_000_000), 2, None), 1);
    }

    #[test]
    fn long_tasks_travel_alone() {
        assert_eq!(size(Some(1_000), 2, Some(Duration::from_millis(100))), 1);
        assert_eq!(size(None, 2, Some(Duration::from_secs(9))), 1);
    }

    #[test]
    fn short_tasks_fill_a_millisecond() {
        assert_eq!(
            size(Some(1_000_000), 2, Some(Duration::from_micros(1))),
            1_000
        );
        assert_eq!(size(None, 2, Some(Duration::from_micros(10))), 100);
    }

    #[test]
    fn the_last_items_are_shared_out() {
        let task = Some(Duration::from_nanos(10));
        assert_eq!(size(Some(80), 2, task), 10);
        assert_eq!(size(Some(1), 8, task), 1);
        assert_eq!(size(Some(0), 8, task), 1);
    }

    #[test]
    fn one_slow_task_does_not_decide() {
        let usual = Duration::from_micros(10);
        let after = blend(Some(usual), 1, Duration::from_micros(50));
        assert_eq!(after, Duration::from_micros(20));
        assert_eq!(
            blend(None, 10, Duration::from_micros(50)),
            Duration::from_micros(5)
        );
    }

    #[test]
    fn small_chunks_keep_more_in_flight() {
        assert_eq!(in_flight(1, 2), 1024);
        assert_eq!(in_flight(1024, 2), 8);
    }

    proptest! {
        #[test]
        fn a_size_is_always_usable(
            left in proptest::option::of(0..usize::MAX / 2),
            workers in 0..1_000_usize,
            nanos in proptest::option::of(0..u64::MAX),
        ) {
            let size = size(left, workers, nanos.map(Duration::from_nanos));
            prop_assert!((1..=MOST_ITEMS).contains(&size));
            if let Some(left) = left {
                prop_assert!(size <= left.max(1));
            }
        }
    }
}
