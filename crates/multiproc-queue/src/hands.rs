//! Items in hand: taken from a joinable queue, and not said to be done.
//!
//! Nothing counts the unfinished items: they are those in the queue, and those in hand. How many each
//! member has in hand is its row in a table of `multiproc_sync::Holders`; it is counted *before* the
//! item leaves the queue, so that an item is at every moment in one of the two, or in both.
//!
//! A row is lowered by its member alone. Lowered by another, for an item that was handed on, it would say
//! that the wrong process has the item: should the one die that does not have it, `join` would wait for
//! what is lost, or not wait for what is not.
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | 0 | how many items were lost: in the hands of members that died | whoever takes a dead member's row back |
//! | 1 | the bell of those who wait in `join`, in its lower half | see `multiproc_shm::Bell` |
//! | 2.. | the table | see `multiproc_sync::Holders` |
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | counted, the item still in the queue | the item; the count is the dead one's, and taken back |
//! | item taken, not done | one lost item |
//! | done, the bell not rung | whoever joins is woken by the death |
//! | a dead one's row taken back, word 0 not raised | nobody hangs; what it lost is not told |

use std::sync::atomic::{AtomicU64, Ordering};

use multiproc_shm::{Bell, CreateError, Kind, Object, OpenError, family};
use multiproc_sync::Holders;

/// `b"quha"`
const TAG: u32 = u32::from_le_bytes(*b"quha");

const LOST: usize = 0;
/// In half words.
const BELL: usize = 2;
const TABLE: usize = 2;

/// Members that can have items in hand at once; such that the object fills its 16 KiB.
const ROWS: usize = 2040;

#[derive(Clone)]
pub(crate) struct Hands {
    object: Object,
}

impl Hands {
    pub(crate) fn create() -> Result<Hands, CreateError> {
        let object = Object::create(Kind::Plain, TAG, (TABLE + ROWS) * 8, |_| {})?;
        Ok(Hands { object })
    }

    pub(crate) fn open(object: Object) -> Result<Hands, OpenError> {
        let object = object.expect_tag(TAG, "the hands of a joinable queue")?;
        if object.kind() != Kind::Plain || object.words().len() < TABLE + ROWS {
            return Err(OpenError::Corrupt("the hands of a queue are too short"));
        }
        Ok(Hands { object })
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    fn table(&self) -> Holders<'_> {
        Holders::new(&self.object.words()[TABLE..TABLE + ROWS], 1)
    }

    fn lost_word(&self) -> &AtomicU64 {
        &self.object.words()[LOST]
    }

    /// The bell of those who wait for the end of all items.
    pub(crate) fn bell(&self) -> &Bell {
        self.object.bell(BELL)
    }

    /// One more in the hands of this process. False if there is no row for it.
    pub(crate) fn take_up(&self) -> bool {
        let enter = || family::me().is_some_and(|me| self.table().enter(me));
        if enter() {
            return true;
        }
        // The rows of the dead fill the table where nobody joins.
        self.take_back();
        enter()
    }

    /// One less in the hands of this process. False if it has none, and nothing has changed then.
    pub(crate) fn put_down(&self) -> bool {
        let done = family::me().is_some_and(|me| self.table().leave(me));
        if done {
            self.bell().ring();
        }
        done
    }

    /// How many are in the hands of the living. What the dead had counts as lost from here on.
    pub(crate) fn held(&self) -> u64 {
        self.take_back();
        self.table().total()
    }

    fn take_back(&self) {
        let lost = self.table().take_back();
        if lost > 0 {
            self.lost_word().fetch_add(lost, Ordering::Relaxed);
            self.bell().ring_all();
        }
    }

    /// How many have ever been lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_word().load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_full_of_the_dead_has_room_for_the_living() {
        let hands = Hands::create().expect("an object");
        for (row, word) in (1..).zip(&hands.object.words()[TABLE..TABLE + ROWS]) {
            // One item each in the hands of members that nobody has ever been.
            word.store(7 << 32 | (row % 4000) << 20 | 1, Ordering::Relaxed);
        }
        assert!(hands.take_up());
        assert_eq!((hands.lost(), hands.held()), (ROWS as u64, 1));
        assert!(hands.put_down() && !hands.put_down());
    }
}
