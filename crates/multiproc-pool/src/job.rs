//! A call's outcomes as they arrive: bytes, not values.
//!
//! A job is filled by whoever collects and emptied by the thread that made the call, which also
//! decodes: no user code runs while results are collected. That each item is answered once is
//! decided before ([`Chunk`](crate::book::Chunk)); here answers are only kept and counted.

use std::sync::Arc;
use std::time::Duration;

use multiproc_shm::{Object, parcel};
use multiproc_wire::{Attachment, DecodeError, codec};
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;

use crate::chunk;
use crate::error::{TaskError, TaskErrorKind};
use crate::outcome::RECORD;
use crate::turn::Waiter;

/// One call of the pool.
pub(crate) struct Job {
    /// Tells chunks of different jobs apart, in workers too.
    pub(crate) id: u64,
    pub(crate) manner: Manner,
    state: Mutex<State>,
}

/// How the items of a job are to be run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Whether the caller wants to hear of each result at once.
    pub(crate) eager: bool,
    /// How long one of them may run.
    pub(crate) timeout: Option<Duration>,
    /// How often one may be begun again after a death.
    pub(crate) retries: u32,
    /// Whether somebody draws a timeline.
    pub(crate) traced: bool,
}

/// What has come so far. Reached by [`Job::lock`].
#[derive(Default)]
pub(crate) struct State {
    arrived: Batch,
    kept: Option<Arc<Batch>>,
    answered: usize,
    failures: usize,
    cancelled: bool,
    waiters: Vec<(usize, Arc<Waiter>)>,
    /// To be called when so many items are answered, by whoever collects: brief, and no user code.
    at_end: Vec<(usize, Box<dyn FnOnce() + Send>)>,
    abandoned: bool,
    /// What is open of it is not to be begun any more.
    withdrawn: bool,
    /// How long one task takes, as far as measured.
    pub(crate) task_time: Option<Duration>,
    /// Chunks handed in and not yet answered to the end.
    pub(crate) chunks: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
}

/// Outcomes in the order of their arrival, with one buffer for all small bodies.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) outcomes: Vec<Outcome>,
    bytes: Vec<u8>,
}

/// How one item ended.
pub(crate) struct Outcome {
    pub(crate) index: usize,
    what: What,
}

enum What {
    Inline { start: usize, len: usize },
    Stored(Object),
    Failed(TaskError),
}

/// An outcome on its way in.
pub(crate) enum Answer<'a> {
    /// An encoded value.
    Value(&'a [u8]),
    /// A record with an encoded value, in an object of its own.
    Stored(Object),
    /// No value, after so many attempts.
    Failed(TaskErrorKind, u32),
}

impl Job {
    pub(crate) fn new(id: u64, manner: Manner) -> Arc<Job> {
        Arc::new(Job {
            id,
            manner,
            state: Mutex::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether `target` items have been answered.
    pub(crate) fn has_reached(&self, target: usize) -> bool {
        self.lock().answered >= target
    }

    /// Whether every answer so far was a value.
    pub(crate) fn is_successful(&self) -> bool {
        self.lock().failures == 0
    }

    /// Whether some answer was that it was cancelled.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Nobody wants the outcomes any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.arrived = Batch::default();
    }

    /// Moves what has arrived into `batch`, which must be used up.
    pub(crate) fn take(&self, batch: &mut Batch) {
        batch.outcomes.clear();
        batch.bytes.clear();
        std::mem::swap(&mut self.lock().arrived, batch);
    }

    /// All outcomes, kept for the next time. To be called when the last has arrived.
    pub(crate) fn keep(&self) -> Arc<Batch> {
        let mut state = self.lock();
        if let Some(kept) = &state.kept {
            return Arc::clone(kept);
        }
        let mut batch = std::mem::take(&mut state.arrived);
        batch.outcomes.sort_by_key(|outcome| outcome.index);
        Arc::clone(state.kept.insert(Arc::new(batch)))
    }
}

impl State {
    /// Takes in one outcome.
    pub(crate) fn answer(&mut self, index: usize, answer: Answer<'_>) {
        self.answered += 1;
        if let Answer::Failed(kind, _) = &answer {
            self.failures += 1;
            self.cancelled |= matches!(kind, TaskErrorKind::Cancelled);
        }
        if !self.abandoned {
            self.arrived.push(index, answer);
        }
        self.progressed();
    }

    /// Takes in the value of one item of several; [`State::progressed`] must follow.
    #[inline]
    pub(crate) fn value(&mut self, index: usize, body: &[u8]) {
        self.answered += 1;
        if !self.abandoned {
            self.arrived.push_value(index, body);
        }
    }

    /// Tells those whose target is reached.
    pub(crate) fn progressed(&mut self) {
        if !self.waiters.is_empty() || !self.at_end.is_empty() {
            self.poke_reached();
        }
    }

    #[cold]
    fn poke_reached(&mut self) {
        let answered = self.answered;
        self.waiters.retain(|(target, waiter)| {
            let waits_on = answered < *target;
            if !waits_on {
                waiter.poke();
            }
            waits_on
        });
        for (_, call) in self
            .at_end
            .extract_if(.., |(target, _)| answered >= *target)
        {
            call();
        }
    }

    /// Has `call` called when `target` items are answered; now, if they are. Under the job's lock.
    pub(crate) fn when_reached(&mut self, target: usize, call: Box<dyn FnOnce() + Send>) {
        if self.answered >= target {
            call();
        } else {
            self.at_end.push((target, call));
        }
    }

    /// From now on what comes back from a death is answered as cancelled, and not begun again.
    pub(crate) fn withdraw(&mut self) {
        self.withdrawn = true;
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// A chunk has been answered to its end.
    pub(crate) fn chunk_done(&mut self, bytes: usize) {
        self.chunks -= 1;
        self.bytes -= bytes;
    }

    /// A chunk of `items` items took `time`.
    pub(crate) fn measured(&mut self, items: u32, time: Duration) {
        self.task_time = Some(chunk::blend(self.task_time, items, time));
    }

    /// Has `waiter` poked when `target` items are answered. `false`: they are already.
    #[must_use = "nobody pokes a waiter whose target is reached"]
    pub(crate) fn subscribe(&mut self, target: usize, waiter: &Arc<Waiter>) -> bool {
        let waits = self.answered < target;
        if waits {
            self.waiters.push((target, Arc::clone(waiter)));
        }
        waits
    }

    /// Forgets `waiter`.
    pub(crate) fn unsubscribe(&mut self, waiter: &Arc<Waiter>) {
        self.waiters
            .retain(|(_, other)| !Arc::ptr_eq(other, waiter));
    }
}

impl Batch {
    fn push(&mut self, index: usize, answer: Answer<'_>) {
        let what = match answer {
            Answer::Value(bytes) => return self.push_value(index, bytes),
            Answer::Stored(object) => What::Stored(object),
            Answer::Failed(kind, attempts) => {
                What::Failed(TaskError::new(kind, index).after(attempts))
            }
        };
        self.outcomes.push(Outcome { index, what });
    }

    #[inline]
    fn push_value(&mut self, index: usize, bytes: &[u8]) {
        let (start, len) = (self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        let what = What::Inline { start, len };
        self.outcomes.push(Outcome { index, what });
    }

    /// The value of `outcome`, decoded anew, or why there is none.
    pub(crate) fn read<R>(&self, outcome: &Outcome) -> Result<R, TaskError>
    where
        R: DeserializeOwned + 'static,
    {
        let value = match &outcome.what {
            What::Failed(error) => return Err(error.clone()),
            What::Inline { start, len } => {
                let bytes = &self.bytes[*start..*start + *len];
                codec::decode(bytes, &[])
            }
            What::Stored(object) => {
                let read = |frame: &[u8], attachments: &[Attachment]| {
                    codec::decode(frame.get(RECORD..).unwrap_or_default(), attachments)
                };
                parcel::with_bytes(object, read).unwrap_or_else(|error| {
                    Err(DecodeError::new(std::any::type_name::<R>(), error))
                })
            }
        };
        value.map_err(|error| TaskError::new(TaskErrorKind::Decode(error), outcome.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multiproc_sys::clock::Deadline;

    fn answer(job: &Job, index: usize, value: u32) {
        let parcel = codec::encode(&value).unwrap();
        job.lock().answer(index, Answer::Value(&parcel.bytes));
    }

    fn read_all(batch: &Batch) -> Vec<(usize, u32)> {
        let read = |outcome: &Outcome| (outcome.index, batch.read(outcome).unwrap());
        batch.outcomes.iter().map(read).collect()
    }

    #[test]
    fn what_is_taken_is_gone() {
        let job = Job::new(1, Manner::default());
        let mut batch = Batch::default();
        answer(&job, 1, 10);
        answer(&job, 0, 20);
        job.take(&mut batch);
        assert_eq!(read_all(&batch), [(1, 10), (0, 20)]);
        answer(&job, 2, 30);
        job.take(&mut batch);
        assert_eq!(read_all(&batch), [(2, 30)]);
        assert!(job.has_reached(3) && !job.has_reached(4));
    }

    #[test]
    fn what_is_kept_stays_and_is_in_order() {
        let job = Job::new(1, Manner::default());
        answer(&job, 1, 10);
        answer(&job, 0, 20);
        for _ in 0..2 {
            assert_eq!(read_all(&job.keep()), [(0, 20), (1, 10)]);
        }
    }

    #[test]
    fn a_failure_is_an_outcome_with_its_index() {
        let job = Job::new(1, Manner::default());
        job.lock()
            .answer(7, Answer::Failed(TaskErrorKind::Cancelled, 0));
        assert!(!job.is_successful());
        let batch = job.keep();
        let error = batch.read::<u32>(&batch.outcomes[0]).unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(error.index(), 7);
    }

    #[test]
    fn a_value_of_another_type_is_a_decode_error() {
        let job = Job::new(1, Manner::default());
        answer(&job, 0, 300);
        let batch = job.keep();
        let error = batch.read::<String>(&batch.outcomes[0]).unwrap_err();
        assert!(error.is_decode());
        assert!(error.to_string().contains("String"), "{error}");
    }

    #[test]
    fn waiters_are_poked_at_their_target() {
        let job = Job::new(1, Manner::default());
        let waiter = Arc::new(Waiter::default());
        assert!(job.lock().subscribe(2, &waiter));
        answer(&job, 0, 0);
        assert!(!waiter.park(Deadline::NOW).poked);
        answer(&job, 1, 0);
        assert!(waiter.park(Deadline::NOW).poked);
        assert!(!job.lock().subscribe(2, &waiter), "it is there already");
    }

    #[test]
    fn an_abandoned_job_keeps_nothing() {
        let job = Job::new(1, Manner::default());
        answer(&job, 0, 0);
        job.abandon();
        answer(&job, 1, 0);
        assert!(job.keep().outcomes.is_empty());
        assert!(job.has_reached(2));
    }
}
