//! A map in the server.

use std::borrow::Borrow;
use std::collections::VecDeque;

use multiproc_wire::{Bytes, Function, codec};
use serde::Serialize;

use super::{Data, PAGE, Pending, Read, Write, count, flag, key_bytes, proxy, run, unit};
use crate::error::CallError;
use crate::handle::{Handle, Outgoing};
use crate::host::{self, Fault, Subject, Workshop};
use crate::item::{Item, Key};
use crate::manager::Manager;
use crate::message::{Answer, Make, MapOp, Op};
use crate::store::{Map, Store};

proxy! {
    /// A map that lives in a manager's server.
    ///
    /// Each call is one round trip and happens as a whole. Keys are the same if their encodings are:
    /// a key type must encode equal values alike, as all do that contain no hash maps or sets.
    /// Entries are in the order of the keys' encodings, which is no order of the keys.
    ///
    /// ```
    /// use multiproc_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let stock = manager.dict::<String, u32>()?;
    /// stock.insert("apples".into(), 3)?;
    /// assert_eq!(stock.update("apples", |n, by| { *n += by; *n }, 2)?, Some(5));
    /// assert_eq!(stock.update("pears", |n, by| *n += by, 1)?, None);
    /// stock.update_or("pears".into(), 0, |n, by| *n += by, 1)?;
    /// assert_eq!(stock.get("pears")?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Differences from Python
    ///
    /// `update` runs a function at the entry, so nothing is lost between reading and writing. Iterating
    /// while others change the map is defined: an entry that is there all the time is met once, one
    /// that comes or goes meanwhile at most once.
    DictProxy<K, V>
}

impl Manager {
    /// A new, empty map.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn dict<K: Data, V: Data>(&self) -> Result<DictProxy<K, V>, CallError> {
        self.make(Make::Map).map(DictProxy::of)
    }
}

impl<K: Data, V: Data> DictProxy<K, V> {
    fn ask(&self, op: MapOp) -> Result<Answer, CallError> {
        Ok(self.handle.ask(Op::Map(op))?)
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>, CallError>
    where
        K: Borrow<Q>,
    {
        let key = key_bytes(key)?;
        self.handle.optional(self.ask(MapOp::Get { key })?)
    }

    /// As [`DictProxy::get`], without waiting for the answer.
    pub fn get_async<Q: Serialize + ?Sized>(&self, key: &Q) -> Pending<Option<V>>
    where
        K: Borrow<Q>,
    {
        let op = key_bytes(key).map(|key| (Op::Map(MapOp::Get { key }), Outgoing::new()));
        Pending::new(&self.handle, op, Handle::optional)
    }

    /// Puts `value` there; what was there before.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, CallError> {
        self.insert_async(key, value).wait()
    }

    /// As [`DictProxy::insert`], without waiting for the answer.
    pub fn insert_async(&self, key: K, value: V) -> Pending<Option<V>> {
        let op = key_bytes(&key).and_then(|key| {
            let (value, kept) = self.handle.pack(&value)?;
            Ok((Op::Map(MapOp::Insert { key, value }), kept))
        });
        Pending::new(&self.handle, op, Handle::optional)
    }

    /// Takes the value of `key` out.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>, CallError>
    where
        K: Borrow<Q>,
    {
        let key = key_bytes(key)?;
        self.handle.optional(self.ask(MapOp::Remove { key })?)
    }

    /// The value of `key`, which is `value` from now on if there was none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn get_or_insert(&self, key: K, value: V) -> Result<V, CallError> {
        let key = key_bytes(&key)?;
        let (value, _kept) = self.handle.pack(&value)?;
        let answer = self.ask(MapOp::GetOrInsert { key, value })?;
        let found = self.handle.optional(answer)?;
        found.ok_or_else(|| CallError::Protocol("no value came".into()))
    }

    /// Whether there is a value for `key`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn contains_key<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool, CallError>
    where
        K: Borrow<Q>,
    {
        let key = key_bytes(key)?;
        flag(self.ask(MapOp::Contains { key })?)
    }

    /// How many entries there are.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn len(&self) -> Result<usize, CallError> {
        count(self.ask(MapOp::Len)?)
    }

    /// Whether there are none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_empty(&self) -> Result<bool, CallError> {
        Ok(self.len()? == 0)
    }

    /// Removes all entries.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn clear(&self) -> Result<(), CallError> {
        unit(self.ask(MapOp::Clear)?)
    }

    /// Takes out the first entry.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn pop_first(&self) -> Result<Option<(K, V)>, CallError> {
        Ok(self.entries(MapOp::PopFirst)?.pop())
    }

    fn entries(&self, op: MapOp) -> Result<Vec<(K, V)>, CallError> {
        let entries = match self.ask(op)? {
            Answer::Entries(entries) => entries,
            other => return Err(CallError::unexpected(&other)),
        };
        let read =
            |(key, value): (Bytes, _)| Ok((codec::decode_key(&key)?, self.handle.unpack(value)?));
        entries.into_iter().map(read).collect()
    }

    /// The values of several keys, in their order, in one round trip.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn get_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Result<Vec<Option<V>>, CallError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized + 'q,
    {
        let keys = keys.into_iter().map(key_bytes);
        let keys = keys.collect::<Result<_, _>>()?;
        match self.ask(MapOp::GetMany { keys })? {
            Answer::Values(values) => {
                let read =
                    |value: Option<_>| value.map(|value| self.handle.unpack(value)).transpose();
                Ok(values.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            other => Err(CallError::unexpected(&other)),
        }
    }

    /// Inserts several entries, in one round trip: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), CallError> {
        let mut kept = Outgoing::new();
        let pack = |(key, value): (K, V)| {
            let (value, outgoing) = self.handle.pack(&value)?;
            kept.extend(outgoing);
            Ok::<_, CallError>((key_bytes(&key)?, value))
        };
        let entries = entries.into_iter().map(pack).collect::<Result<_, _>>()?;
        unit(self.ask(MapOp::InsertMany { entries })?)
    }

    /// As [`DictProxy::insert_many`], in as many round trips as the entries need.
    ///
    /// # Errors
    ///
    /// [`CallError`], after some of the entries were inserted.
    pub fn extend(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), CallError> {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            self.insert_many(entries.by_ref().take(PAGE as usize))?;
        }
        Ok(())
    }

    /// All entries, fetched a page at a time.
    pub fn iter(&self) -> DictIter<'_, K, V> {
        DictIter {
            dict: self,
            page: VecDeque::new(),
            after: None,
            done: false,
        }
    }

    /// All keys, as [`DictProxy::iter`].
    pub fn keys(&self) -> impl Iterator<Item = Result<K, CallError>> {
        self.iter().map(|entry| entry.map(|(key, _)| key))
    }

    /// All values, as [`DictProxy::iter`].
    pub fn values(&self) -> impl Iterator<Item = Result<V, CallError>> {
        self.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Changes the value of `key` where it is, by a function: one round trip, and nobody comes
    /// between. What the function returns, or `None` where the key is missing.
    ///
    /// The key comes as itself or as a reference to what it can be looked up by: `7` and `&7`,
    /// `"word".to_owned()` and `"word"`. The function gets its own argument, since it captures nothing. If it panics, the value stays
    /// as it was.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::Panicked`] if the function does.
    pub fn update<Q, By, A, R>(
        &self,
        key: Q,
        f: fn(&mut V, A) -> R,
        a: A,
    ) -> Result<Option<R>, CallError>
    where
        Q: KeyOf<K, By>,
        A: Data,
        R: Data,
    {
        let key = key_bytes(&key)?;
        run(
            &self.handle,
            update::<V, A, R>,
            &(key, None, Function::new(f), a),
            true,
        )
    }

    /// As [`DictProxy::update`], with `default` where the key is missing.
    ///
    /// # Errors
    ///
    /// As [`DictProxy::update`].
    pub fn update_or<A, R>(
        &self,
        key: K,
        default: V,
        f: fn(&mut V, A) -> R,
        a: A,
    ) -> Result<R, CallError>
    where
        A: Data,
        R: Data,
    {
        let key = key_bytes(&key)?;
        let argument = (key, Some(default), Function::new(f), a);
        let result = run(&self.handle, update::<V, A, R>, &argument, true)?;
        result.ok_or_else(|| CallError::Protocol("no result came".into()))
    }

    /// Keeps the entries for which `f` says so; how many went.
    ///
    /// # Errors
    ///
    /// As [`DictProxy::update`]; the map stays as it was then.
    pub fn retain<A>(&self, f: fn(&(K, V), A) -> bool, a: A) -> Result<usize, CallError>
    where
        A: Data + Clone,
    {
        let gone = run(
            &self.handle,
            retain::<K, V, A>,
            &(Function::new(f), a),
            true,
        )?;
        Ok(gone as usize)
    }
}

mod sealed {
    /// A key that is given away.
    #[derive(Debug)]
    pub struct Owned;
    /// A key that is lent.
    #[derive(Debug)]
    pub struct Lent;
}

/// What an entry can be named by: a key, or a reference to what the key can be looked up by.
pub trait KeyOf<K, By>: Serialize {}

impl<K: Serialize> KeyOf<K, sealed::Owned> for K {}

impl<K: Borrow<Q>, Q: Serialize + ?Sized> KeyOf<K, sealed::Lent> for &Q {}

/// What travels for an update: the key, what to begin with, the function and its argument.
type Update<V, A, R> = (Bytes, Option<V>, Write<V, A, R>, A);

fn with_map<R>(act: impl FnOnce(&mut Map, &Workshop) -> Result<R, Fault>) -> Result<R, Fault> {
    host::with_subject(|subject, workshop| match subject {
        Subject::Whole(Store::Map(map)) => act(map, workshop),
        _ => Err(Fault::Kind),
    })
}

fn update<V: Data, A: Data, R: Data>(
    (key, default, f, a): Update<V, A, R>,
) -> Result<Option<R>, Fault> {
    with_map(|map, workshop| {
        let found = map.entries.get(&key[..]);
        let found = found.map(|item| workshop.open(item)).transpose()?;
        let Some(mut value) = found.or(default) else {
            return Ok(None);
        };
        let result = (f.pointer())(&mut value, a);
        let item = workshop.close(&value)?;
        match map.entries.get_mut(&key[..]) {
            Some(place) => *place = item,
            None => drop(map.entries.insert(Key::new(key), item)),
        }
        Ok(Some(result))
    })
}

fn retain<K: Data, V: Data, A: Data + Clone>(
    (f, a): (Read<(K, V), A, bool>, A),
) -> Result<u64, Fault> {
    with_map(|map, workshop| {
        let mut gone = Vec::new();
        for (key, item) in &map.entries {
            let entry = (codec::decode_key(&key.to_bytes())?, workshop.open(item)?);
            if !(f.pointer())(&entry, a.clone()) {
                gone.push(key.clone());
            }
        }
        let removed = gone.iter().filter_map(|key| map.entries.remove(key));
        let removed: Vec<Item> = removed.collect();
        Ok(removed.len() as u64)
    })
}

/// Iterator over a [`DictProxy`].
#[derive(Debug)]
pub struct DictIter<'a, K, V> {
    dict: &'a DictProxy<K, V>,
    page: VecDeque<(Bytes, crate::message::Packed)>,
    after: Option<Bytes>,
    done: bool,
}

impl<K: Data, V: Data> Iterator for DictIter<'_, K, V> {
    type Item = Result<(K, V), CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.done {
            let after = self.after.take();
            match self.dict.ask(MapOp::Page { after, most: PAGE }) {
                Ok(Answer::Entries(entries)) => {
                    self.after = entries.last().map(|(key, _)| key.clone());
                    self.done = entries.is_empty();
                    self.page = entries.into();
                }
                Ok(other) => return self.fail(CallError::unexpected(&other)),
                Err(error) => return self.fail(error),
            }
        }
        let (key, value) = self.page.pop_front()?;
        let key = codec::decode_key(&key).map_err(CallError::from);
        let value = self.dict.handle.unpack(value).map_err(CallError::from);
        Some(key.and_then(|key| Ok((key, value?))))
    }
}

impl<K, V> DictIter<'_, K, V> {
    fn fail<T>(&mut self, error: CallError) -> Option<Result<T, CallError>> {
        self.done = true;
        Some(Err(error))
    }
}
