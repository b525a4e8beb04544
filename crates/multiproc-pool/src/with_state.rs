//! The verbs once more, for functions that are lent what their worker keeps.

use multiproc_wire::task::TaskRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::feed::Size;
use crate::handle::PoolHandle;
use crate::imap::{Imap, ImapUnordered};
use crate::result::AsyncResult;

/// Tasks that use what their worker keeps, made by [`PoolBuilder::state`](crate::PoolBuilder::state):
/// a model, a connection, a cache.
///
/// Each worker has its own, and lends it to one task at a time. A task that panics leaves it as it is
/// at that moment.
///
/// ```
/// use multiproc_pool::Pool;
///
/// struct Model {
///     factor: f64,
/// }
///
/// let pool = Pool::builder().workers(2).state(|factor| Model { factor }, 0.5).build()?;
/// let halves = pool.map_with(|model: &mut Model, n: f64| model.factor * n, [1.0, 2.0])?;
/// assert_eq!(halves, [0.5, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<S: 'static> PoolHandle<S> {
    /// As [`PoolHandle::apply`].
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub fn apply_with<A, R>(&self, f: fn(&mut S, A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.apply_async_with(f, argument).get()
    }

    /// As [`PoolHandle::apply_async`].
    pub fn apply_async_with<A, R>(&self, f: fn(&mut S, A) -> R, argument: A) -> AsyncResult<R>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.one(TaskRef::of_with(f), &argument)
    }

    /// As [`PoolHandle::map`].
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub fn map_with<A, R, I>(&self, f: fn(&mut S, A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.all(TaskRef::of_with(f), items)
    }

    /// As [`PoolHandle::map_each`].
    pub fn map_each_with<A, R, I>(
        &self,
        f: fn(&mut S, A) -> R,
        items: I,
    ) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.each(TaskRef::of_with(f), items.into_iter())
    }

    /// As [`PoolHandle::map_async`].
    pub fn map_async_with<A, R, I>(&self, f: fn(&mut S, A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.later(TaskRef::of_with(f), items)
    }

    /// As [`PoolHandle::imap`].
    pub fn imap_with<A, R, I>(&self, f: fn(&mut S, A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.feed(TaskRef::of_with(f), items, Size::Fixed(1), true))
    }

    /// As [`PoolHandle::imap_unordered`].
    pub fn imap_unordered_with<A, R, I>(
        &self,
        f: fn(&mut S, A) -> R,
        items: I,
    ) -> ImapUnordered<A, R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self.feed(TaskRef::of_with(f), items, Size::Fixed(1), true))
    }
}
