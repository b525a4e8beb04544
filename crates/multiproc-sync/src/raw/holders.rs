//! Who holds how many: a table that is true whoever dies.
//!
//! # A row: one word
//!
//! | bits | meaning |
//! |---|---|
//! | 32.. | the member's generation, 0 = nobody has used the row |
//! | 20..32 | the member's index |
//! | 0..20 | how many it holds here |
//!
//! | change, one compare-exchange | by |
//! |---|---|
//! | (anybody, 0) to (me, 1) | the member |
//! | (me, n) to (me, n + 1) | the member |
//! | (m, n) to (m, n - 1) | whoever gives one back for `m` |
//! | (m, n) to (m, 0) | whoever finds `m` dead |
//!
//! A row with count 0 is free for anybody, so a table needs as many rows as members hold something
//! at once. A member may have several rows; its sum is what counts. Nothing here waits, and whether
//! the table changes under a lock is for its user to say.
//!
//! # Killed here: survivors see
//!
//! | step | survivors see |
//! |---|---|
//! | before the exchange | nothing |
//! | after it | a count of a dead member: taken back by whoever looks |

use crate::door::{AtomicU64, MemberId, Ordering, family};

const COUNT: u64 = (1 << INDEX_AT) - 1;
const INDEX_AT: u32 = 20;
const INDEX: u64 = 0xFFF;

/// A table of rows, one every `stride` words.
#[derive(Clone, Copy, Debug)]
pub struct Holders<'a> {
    words: &'a [AtomicU64],
    stride: usize,
}

/// The upper bits of a member's rows.
#[inline]
fn mark(member: MemberId) -> u64 {
    let bits = member.bits();
    bits >> 32 << 32 | (bits & INDEX) << INDEX_AT
}

#[inline]
fn count(row: u64) -> u64 {
    row & COUNT
}

/// Whether it is a row of `mark` with room for one more.
#[inline]
fn has_room(row: u64, mark: u64) -> bool {
    row & !COUNT == mark && count(row) < COUNT
}

fn is_dead(row: u64) -> bool {
    let index = row >> INDEX_AT & INDEX;
    let member = MemberId::from_bits(row >> 32 << 32 | index);
    member.is_none_or(|member| !family::is_alive(member))
}

impl<'a> Holders<'a> {
    /// The table in `words`. For a stride of 8, `words` begins a cache line.
    #[inline]
    pub fn new(words: &'a [AtomicU64], stride: usize) -> Holders<'a> {
        Holders { words, stride }
    }

    fn rows(&self) -> impl Iterator<Item = &'a AtomicU64> + use<'a> {
        self.words.iter().step_by(self.stride)
    }

    /// Where the member's row is, if nobody was there before it.
    #[inline]
    fn home(&self, mark: u64) -> usize {
        (mark >> INDEX_AT & INDEX) as usize % (self.words.len() / self.stride)
    }

    #[inline]
    fn row(&self, index: usize) -> &'a AtomicU64 {
        &self.words[index * self.stride]
    }

    /// Rows from the member's home on, all round.
    fn all_round(&self, mark: u64) -> impl Iterator<Item = &'a AtomicU64> + use<'a> {
        let skipped = self.home(mark);
        let (this, len) = (*self, self.words.len() / self.stride);
        (0..len).map(move |step| this.row((skipped + step) % len))
    }

    /// Counts one for `member`. False if there is no row for it.
    #[inline]
    #[must_use = "without a row, nothing was counted"]
    pub fn enter(&self, member: MemberId) -> bool {
        let mark = mark(member);
        let home = self.row(self.home(mark));
        let now = home.load(Ordering::Relaxed);
        (has_room(now, mark) && exchange(home, now, now + 1)) || self.enter_elsewhere(mark)
    }

    /// Its own row, or one that was never used or whose member is gone, or one that rests.
    #[cold]
    fn enter_elsewhere(&self, mark: u64) -> bool {
        loop {
            let (mut best, mut best_rank) = (None, 0);
            for row in self.all_round(mark) {
                let now = row.load(Ordering::Relaxed);
                let rank = match now {
                    _ if has_room(now, mark) => 3,
                    _ if count(now) != 0 => 0,
                    _ if is_dead(now) => 2,
                    _ => 1,
                };
                if rank > best_rank {
                    (best, best_rank) = (Some((row, now)), rank);
                }
                if rank == 3 {
                    break;
                }
            }
            let Some((row, now)) = best else { return false };
            if exchange(row, now, mark | (count(now) + 1)) {
                return true;
            }
        }
    }

    /// Gives one back for `member`. False if it holds none.
    #[inline]
    pub fn leave(&self, member: MemberId) -> bool {
        let mark = mark(member);
        let home = self.row(self.home(mark));
        let now = home.load(Ordering::Relaxed);
        let at_home = now & !COUNT == mark && count(now) > 0 && exchange(home, now, now - 1);
        at_home || self.leave_elsewhere(mark)
    }

    #[cold]
    fn leave_elsewhere(&self, mark: u64) -> bool {
        self.all_round(mark)
            .any(|row| lower(row, |now| now & !COUNT == mark, 1) > 0)
    }

    /// Gives one back, whoever holds it. False if nobody holds any.
    pub fn leave_any(&self) -> bool {
        self.rows().any(|row| lower(row, |_| true, 1) > 0)
    }

    /// Gives back all that dead members hold, and says how many it was.
    pub fn take_back(&self) -> u64 {
        self.rows().map(|row| lower(row, is_dead, COUNT)).sum()
    }

    /// How many are held, the dead's included.
    pub fn total(&self) -> u64 {
        self.rows()
            .map(|row| count(row.load(Ordering::SeqCst)))
            .sum()
    }

    /// Whether a dead member holds some.
    pub fn has_dead(&self) -> bool {
        self.rows()
            .map(|row| row.load(Ordering::Relaxed))
            .any(|row| count(row) > 0 && is_dead(row))
    }
}

// SeqCst, as those who enter and those who look for them at a gate must see each other.
#[inline]
fn exchange(row: &AtomicU64, from: u64, to: u64) -> bool {
    row.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed)
        .is_ok()
}

/// Takes up to `most` from a row that is `meant`, and says how many.
fn lower(row: &AtomicU64, meant: impl Fn(u64) -> bool, most: u64) -> u64 {
    let mut now = row.load(Ordering::SeqCst);
    while count(now) > 0 && meant(now) {
        let taken = count(now).min(most);
        match row.compare_exchange(now, now - taken, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return taken,
            Err(seen) => now = seen,
        }
    }
    0
}

#[cfg(all(test, not(multiproc_model)))]
mod tests {
    use super::*;

    fn member(index: u64) -> MemberId {
        MemberId::from_bits(7 << 32 | index).expect("in range")
    }

    fn table(rows: usize, stride: usize) -> Vec<AtomicU64> {
        (0..rows * stride).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_row_has_room_for_every_member() {
        assert!(MemberId::from_bits(1 << 32 | INDEX).is_some());
        assert!(MemberId::from_bits(1 << 32 | (INDEX + 1)).is_none());
    }

    #[test]
    fn what_is_counted_is_given_back_once() {
        let words = table(4, 8);
        let holders = Holders::new(&words, 8);
        for index in [1, 1, 5, 9] {
            assert!(holders.enter(member(index)));
        }
        assert_eq!(holders.total(), 4);
        for index in [1, 1, 5, 9] {
            assert!(holders.leave(member(index)));
        }
        assert!([1, 5, 9].iter().all(|&index| !holders.leave(member(index))));
        assert!(!holders.leave_any());
    }

    #[test]
    fn a_full_table_has_no_row_until_somebody_leaves() {
        let words = table(2, 1);
        let holders = Holders::new(&words, 1);
        assert!(holders.enter(member(0)) && holders.enter(member(1)));
        assert!(!holders.enter(member(2)));
        assert!(holders.leave(member(0)) && holders.enter(member(2)));
        assert!(!holders.leave(member(0)) && holders.leave(member(2)));
    }

    #[test]
    fn a_full_count_goes_on_in_another_row() {
        let words = table(2, 1);
        let holders = Holders::new(&words, 1);
        words[0].store(mark(member(0)) | COUNT, Ordering::Relaxed);
        assert!(holders.enter(member(0)));
        assert_eq!(holders.total(), COUNT + 1);
    }

    #[test]
    fn what_members_hold_that_are_not_alive_is_taken_back() {
        let words = table(4, 1);
        let holders = Holders::new(&words, 1);
        // Nobody has made a family here, so nobody is alive.
        assert!(holders.enter(member(1)) && holders.enter(member(1)) && holders.enter(member(2)));
        assert!(holders.has_dead());
        assert_eq!(holders.take_back(), 3);
        assert!(!holders.has_dead() && holders.total() == 0);
    }
}
