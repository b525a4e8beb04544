//! A sequence in the server.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use multiproc_wire::Function;

use super::{Data, PAGE, Pending, Read, Write, count, proxy, run, unit};
use crate::error::CallError;
use crate::handle::{Handle, Outgoing};
use crate::host::{self, Fault, Subject, Workshop};
use crate::item::Item;
use crate::manager::Manager;
use crate::message::{Answer, ListOp, Make, Op, Packed};
use crate::store::{List, Store};

proxy! {
    /// A list that lives in a manager's server.
    ///
    /// Each call is one round trip and happens as a whole.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let list = manager.list::<i64>()?;
    /// list.extend([3, 1, 2])?;
    /// list.sort()?;
    /// list.update(0, |n, by| *n += by, 10)?;
    /// assert_eq!(list.to_vec()?, [11, 2, 3]);
    /// assert_eq!(list.pop()?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Differences from Python
    ///
    /// Indices count from the front only. Iterating fetches a page after the other, by index: what
    /// others insert or remove in front of the next page moves it, as it does for a Python list.
    ListProxy<T>
}

impl Manager {
    /// A new, empty list.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn list<T: Data>(&self) -> Result<ListProxy<T>, CallError> {
        let items = Vec::new();
        let fixed = false;
        self.make(Make::List { items, fixed }).map(ListProxy::of)
    }
}

/// Encodes values for the server of `handle`.
pub(super) fn pack_all<T: Data>(
    handle: &Handle,
    values: impl IntoIterator<Item = T>,
) -> Result<(Vec<Packed>, Outgoing), CallError> {
    let mut kept = Outgoing::new();
    let values = values.into_iter().map(|value| {
        let (packed, outgoing) = handle.pack(&value)?;
        kept.extend(outgoing);
        Ok(packed)
    });
    let values = values.collect::<Result<Vec<_>, CallError>>()?;
    Ok((values, kept))
}

/// Decodes the values of an answer.
pub(super) fn unpack_all<T: Data>(handle: &Handle, answer: Answer) -> Result<Vec<T>, CallError> {
    match answer {
        Answer::Values(values) => {
            let values = values.into_iter().flatten();
            Ok(values
                .map(|value| handle.unpack(value))
                .collect::<Result<_, _>>()?)
        }
        other => Err(CallError::unexpected(&other)),
    }
}

/// Fetches the items of a range, a page at a time.
pub(super) fn fetch<T: Data>(
    handle: &Handle,
    range: impl RangeBounds<usize>,
) -> Result<Vec<T>, CallError> {
    let from = match range.start_bound() {
        Bound::Included(&index) => index as u64,
        Bound::Excluded(&index) => index as u64 + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&index) => (index as u64).saturating_add(1),
        Bound::Excluded(&index) => index as u64,
        Bound::Unbounded => u64::MAX,
    };
    let mut found = Vec::new();
    loop {
        let from = from + found.len() as u64;
        let most = end.saturating_sub(from).min(PAGE.into()) as u32;
        if most == 0 {
            return Ok(found);
        }
        let page = unpack_all(handle, handle.ask(Op::List(ListOp::Page { from, most }))?)?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

impl<T: Data> ListProxy<T> {
    fn ask(&self, op: ListOp) -> Result<Answer, CallError> {
        Ok(self.handle.ask(Op::List(op))?)
    }

    /// The item at `index`, or `None` behind the end.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn get(&self, index: usize) -> Result<Option<T>, CallError> {
        let index = index as u64;
        self.handle.optional(self.ask(ListOp::Get { index })?)
    }

    /// Replaces the item at `index`; what was there before.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] behind the end; [`CallError`].
    pub fn set(&self, index: usize, value: T) -> Result<T, CallError> {
        let (value, _kept) = self.handle.pack(&value)?;
        let index = index as u64;
        let old = self
            .handle
            .optional(self.ask(ListOp::Set { index, value })?)?;
        old.ok_or_else(|| CallError::Protocol("no value came".into()))
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn push(&self, value: T) -> Result<(), CallError> {
        self.push_async(value).wait()
    }

    /// As [`ListProxy::push`], without waiting for the answer.
    pub fn push_async(&self, value: T) -> Pending<()> {
        let op = pack_all(&self.handle, [value]);
        let op = op.map(|(values, kept)| (Op::List(ListOp::Extend { values }), kept));
        Pending::new(&self.handle, op, |_, answer| count(answer).map(drop))
    }

    /// Adds items at the end, all in one step.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn extend(&self, values: impl IntoIterator<Item = T>) -> Result<(), CallError> {
        let (values, _kept) = pack_all(&self.handle, values)?;
        self.ask(ListOp::Extend { values }).and_then(count)?;
        Ok(())
    }

    /// Takes the last item.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn pop(&self) -> Result<Option<T>, CallError> {
        self.handle.optional(self.ask(ListOp::Pop)?)
    }

    /// Puts an item at `index`; those behind it move.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] beyond the end; [`CallError`].
    pub fn insert(&self, index: usize, value: T) -> Result<(), CallError> {
        let (value, _kept) = self.handle.pack(&value)?;
        let index = index as u64;
        unit(self.ask(ListOp::Insert { index, value })?)
    }

    /// Takes the item at `index` out; those behind it move.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] behind the end; [`CallError`].
    pub fn remove(&self, index: usize) -> Result<T, CallError> {
        let index = index as u64;
        let old = self.handle.optional(self.ask(ListOp::Remove { index })?)?;
        old.ok_or_else(|| CallError::Protocol("no value came".into()))
    }

    /// How many items there are.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn len(&self) -> Result<usize, CallError> {
        count(self.ask(ListOp::Len)?)
    }

    /// Whether there are none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_empty(&self) -> Result<bool, CallError> {
        Ok(self.len()? == 0)
    }

    /// Removes all items.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn clear(&self) -> Result<(), CallError> {
        self.truncate(0)
    }

    /// Removes all but the first `len` items.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn truncate(&self, len: usize) -> Result<(), CallError> {
        let len = len as u64;
        unit(self.ask(ListOp::Truncate { len })?)
    }

    /// Turns the order round.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn reverse(&self) -> Result<(), CallError> {
        unit(self.ask(ListOp::Reverse)?)
    }

    /// Where the first item is whose encoding is that of `value`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn position(&self, value: &T) -> Result<Option<usize>, CallError> {
        let (value, _kept) = self.handle.pack(value)?;
        match self.ask(ListOp::Find { value })? {
            Answer::Counts(found) => Ok(found.first().map(|&index| index as usize)),
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Whether there is an item whose encoding is that of `value`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn contains(&self, value: &T) -> Result<bool, CallError> {
        Ok(self.position(value)?.is_some())
    }

    /// The items of a range that are there, such as `list.slice(2..5)`; a long range in several
    /// round trips.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, CallError> {
        fetch(&self.handle, range)
    }

    /// All items: `list.slice(..)`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn to_vec(&self) -> Result<Vec<T>, CallError> {
        self.slice(..)
    }

    /// All items, fetched a page at a time.
    pub fn iter(&self) -> ListIter<'_, T> {
        ListIter {
            list: self,
            page: VecDeque::new(),
            from: 0,
            done: false,
        }
    }

    /// Changes the item at `index` where it is, by a function: what it returns, or `None` behind the
    /// end. If it panics, the item stays as it was.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Panicked`] if the function does.
    pub fn update<A: Data, R: Data>(
        &self,
        index: usize,
        f: fn(&mut T, A) -> R,
        a: A,
    ) -> Result<Option<R>, CallError> {
        update_at(&self.handle, index, f, a)
    }

    /// Sorts the items where they are.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn sort(&self) -> Result<(), CallError>
    where
        T: Ord,
    {
        run(&self.handle, sort::<T>, &(), true)
    }

    /// Sorts the items by what `f` makes of each.
    ///
    /// # Errors
    ///
    /// [`CallError`]; the list stays as it was then.
    pub fn sort_by_key<A: Data + Clone, K: Ord + 'static>(
        &self,
        f: fn(&T, A) -> K,
        a: A,
    ) -> Result<(), CallError> {
        run(
            &self.handle,
            sort_by_key::<T, A, K>,
            &(Function::new(f), a),
            true,
        )
    }

    /// Keeps the items for which `f` says so; how many went.
    ///
    /// # Errors
    ///
    /// [`CallError`]; the list stays as it was then.
    pub fn retain<A: Data + Clone>(&self, f: fn(&T, A) -> bool, a: A) -> Result<usize, CallError> {
        let gone = run(&self.handle, retain::<T, A>, &(Function::new(f), a), true)?;
        Ok(gone as usize)
    }
}

/// [`ListProxy::update`], for all that are lists in the server.
pub(super) fn update_at<T: Data, A: Data, R: Data>(
    handle: &Handle,
    index: usize,
    f: fn(&mut T, A) -> R,
    a: A,
) -> Result<Option<R>, CallError> {
    let argument = (index as u64, Function::new(f), a);
    run(handle, update::<T, A, R>, &argument, true)
}

fn with_list<R>(act: impl FnOnce(&mut List, &Workshop) -> Result<R, Fault>) -> Result<R, Fault> {
    host::with_subject(|subject, workshop| match subject {
        Subject::Whole(Store::List(list)) => act(list, workshop),
        _ => Err(Fault::Kind),
    })
}

type Update<T, A, R> = (u64, Write<T, A, R>, A);

fn update<T: Data, A: Data, R: Data>((index, f, a): Update<T, A, R>) -> Result<Option<R>, Fault> {
    with_list(|list, workshop| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(item) = list.items.get_mut(index) else {
            return Ok(None);
        };
        let mut value: T = workshop.open(item)?;
        let result = (f.pointer())(&mut value, a);
        *item = workshop.close(&value)?;
        Ok(Some(result))
    })
}

/// Each item with what it is sorted by, in order.
fn sorted_by<T: Data, K: Ord>(
    list: &mut List,
    workshop: &Workshop,
    key: impl Fn(T) -> K,
) -> Result<(), Fault> {
    let keyed = list
        .items
        .iter()
        .map(|item| Ok((key(workshop.open(item)?), item.clone())));
    let mut keyed: Vec<(K, Item)> = keyed.collect::<Result<_, Fault>>()?;
    keyed.sort_by(|(one, _), (two, _)| one.cmp(two));
    list.items = keyed.into_iter().map(|(_, item)| item).collect();
    Ok(())
}

fn sort<T: Data + Ord>((): ()) -> Result<(), Fault> {
    with_list(|list, workshop| sorted_by(list, workshop, |value: T| value))
}

fn sort_by_key<T: Data, A: Data + Clone, K: Ord + 'static>(
    (f, a): (Read<T, A, K>, A),
) -> Result<(), Fault> {
    with_list(|list, workshop| {
        sorted_by(list, workshop, |value: T| (f.pointer())(&value, a.clone()))
    })
}

fn retain<T: Data, A: Data + Clone>((f, a): (Read<T, A, bool>, A)) -> Result<u64, Fault> {
    with_list(|list, workshop| {
        let mut kept = Vec::new();
        for item in &list.items {
            if (f.pointer())(&workshop.open(item)?, a.clone()) {
                kept.push(item.clone());
            }
        }
        let gone = list.items.len() - kept.len();
        list.items = kept;
        Ok(gone as u64)
    })
}

/// Iterator over a [`ListProxy`].
#[derive(Debug)]
pub struct ListIter<'a, T> {
    list: &'a ListProxy<T>,
    page: VecDeque<T>,
    from: usize,
    done: bool,
}

impl<T: Data> Iterator for ListIter<'_, T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.done {
            let from = self.from as u64;
            let answer = self.list.ask(ListOp::Page { from, most: PAGE });
            match answer.and_then(|answer| unpack_all(&self.list.handle, answer)) {
                Ok(page) => {
                    self.from += page.len();
                    self.done = page.is_empty();
                    self.page = page.into();
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}
