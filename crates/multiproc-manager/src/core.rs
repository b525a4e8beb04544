//! The server without sockets and threads: requests in, replies and jobs out.
//!
//! It never waits. A request that must is kept in its object; a function of the user's becomes a
//! [`Job`], which whoever drives the core runs with the core unlocked and brings back to
//! [`Core::finish`]. While a job has an object, requests for that object stand in its queue, and
//! nobody else notices.

mod turns;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use multiproc_sys::image;
use multiproc_wire::Bytes;
use multiproc_wire::task::{Task, TaskRef};

use crate::desk::{Caller, Client, Desk, Done, Outcome};
use crate::host::{Finished, Job, Subject};
use crate::item::Anchor;
use crate::later::Backlog;
use crate::message::{
    Answer, Failure, Hello, Make, NAMES, NO_REPLY, Op, Packed, Reply, Request, Run, ServerOp,
    SetOp, Welcome,
};
use crate::numbers::Numbers;
use crate::store::{Counter, Map, Store, User};

/// One object, and what goes on at it.
#[derive(Debug)]
struct Entry {
    /// `None` while a function has it.
    store: Option<Store>,
    /// Functions reading it now.
    readers: u32,
    /// Whether a function that may change it runs.
    writer: bool,
    /// Who waits until the functions are done.
    queue: VecDeque<(Caller, Op)>,
    /// While it is not there yet, nobody but its maker knows it.
    anchor: Weak<Anchor>,
}

impl Entry {
    /// Of an object that is there, or that a function is about to make.
    fn new(store: Option<Store>, anchor: &Arc<Anchor>) -> Entry {
        Entry {
            writer: store.is_none(),
            store,
            readers: 0,
            queue: VecDeque::new(),
            anchor: Arc::downgrade(anchor),
        }
    }
}

/// What a client may do, besides what every client may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Have functions run.
    pub(crate) functions: bool,
}

#[derive(Debug)]
struct Peer {
    rights: Rights,
    /// Whether it is this program; known once it has said hello.
    same_build: bool,
    greeted: bool,
}

/// What is done with the core unlocked, since it is code of the user's.
#[expect(
    clippy::large_enum_variant,
    reason = "there are few at a time, and nearly all are the large one"
)]
#[derive(Debug)]
pub(crate) enum Work {
    Run(Job),
    /// An object that nobody has any more is dropped.
    Bury(User),
}

#[derive(Debug)]
pub(crate) struct Core {
    server: u64,
    objects: Numbers<Entry>,
    /// Keeps the map of names.
    _names: Arc<Anchor>,
    next_object: u64,
    peers: Numbers<Peer>,
    desk: Desk,
    jobs: VecDeque<Work>,
    backlog: Arc<Backlog>,
    /// Somebody has asked for the end.
    pub(crate) ending: bool,
}

impl Core {
    /// For the server with this number, whose answers have at most `limit` bytes.
    pub(crate) fn new(server: u64, limit: u64, backlog: Arc<Backlog>) -> Core {
        let desk = Desk::new(limit);
        let names = desk.anchors.make(NAMES);
        let entry = Entry::new(Some(Store::Map(Map::default())), &names);
        Core {
            server,
            objects: Numbers::from_iter([(NAMES, entry)]),
            _names: names,
            next_object: NAMES + 1,
            peers: Numbers::default(),
            desk,
            jobs: VecDeque::new(),
            backlog,
            ending: false,
        }
    }

    /// A connection is there and has shown that it knows the key.
    pub(crate) fn welcome(&mut self, client: u64, rights: Rights) {
        let peer = Peer {
            rights,
            same_build: false,
            greeted: false,
        };
        self.peers.insert(client, peer);
        self.desk.clients.insert(client, Client::default());
    }

    /// A connection has ended: what it held goes back at once.
    pub(crate) fn farewell(&mut self, client: u64) {
        self.peers.remove(&client);
        let Some(gone) = self.desk.farewell(client) else {
            return;
        };
        let caller = Caller {
            client,
            seq: NO_REPLY,
        };
        for (&object, entry) in &mut self.objects {
            entry.queue.retain(|(caller, _)| caller.client != client);
            if let Some(store) = &mut entry.store {
                let desk = &mut self.desk;
                let mut at = Counter {
                    desk,
                    object,
                    caller,
                };
                store.forget(gone.pid, &gone.name, &mut at);
            }
        }
        drop(gone);
        self.clear_up();
    }

    /// Replies to be sent, with the connection each is for.
    pub(crate) fn take_replies(&mut self) -> impl Iterator<Item = (u64, Reply)> {
        self.desk.replies.drain(..)
    }

    /// Answers what functions had promised.
    pub(crate) fn redeem(&mut self) {
        for finished in self.backlog.take() {
            self.finish(finished);
        }
    }

    /// The objects of the user's, when the server ends.
    pub(crate) fn take_users(&mut self) -> Vec<Arc<User>> {
        let stores = self.objects.values_mut().map(|entry| entry.store.take());
        let users = stores.filter_map(|store| match store {
            Some(Store::User(user)) => Some(user),
            _ => None,
        });
        users.collect()
    }

    pub(crate) fn next_job(&mut self) -> Option<Work> {
        self.jobs.pop_front()
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.desk.next_due()
    }

    /// Ends the waits whose time is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((object, caller)) = self.desk.due(now) {
            let Some(entry) = self.objects.get_mut(&object) else {
                continue;
            };
            match &mut entry.store {
                Some(Store::Condition(condition)) => {
                    if let Some(waiter) = condition.take_one(caller) {
                        self.relock(caller, waiter, false);
                    }
                }
                Some(store) => {
                    let desk = &mut self.desk;
                    store.expire(&mut Counter {
                        desk,
                        object,
                        caller,
                    });
                }
                None => {}
            }
        }
        self.desk.expire_estates(now);
        self.clear_up();
    }

    /// Takes a request of `client`.
    pub(crate) fn handle(&mut self, client: u64, request: Request) {
        let caller = Caller {
            client,
            seq: request.seq,
        };
        let greeted = self.peers.get(&client).is_some_and(|peer| peer.greeted);
        let done = match request.op {
            Op::Server(op) if greeted || matches!(op, ServerOp::Hello(_)) => {
                self.server_op(caller, op)
            }
            _ if !greeted => Some(Err(Failure::Refused("say hello first".into()))),
            op => self.object_op(caller, request.object, op),
        };
        if let Some(outcome) = done {
            self.desk.answer(caller, outcome);
        }
        self.clear_up();
    }

    fn server_op(&mut self, caller: Caller, op: ServerOp) -> Done {
        let client = caller.client;
        Some(match op {
            ServerOp::Hello(hello) => self.hello(client, hello),
            ServerOp::Create(make) => return self.create(caller, make),
            ServerOp::Release { object, count } => {
                self.desk.release(client, object, count);
                Ok(Answer::Unit)
            }
            ServerOp::Lend { object, loan } => {
                self.desk.lend(client, object, loan);
                Ok(Answer::Unit)
            }
            ServerOp::Adopt { object, loan } => {
                self.desk.adopt(client, object, loan).map(|()| Answer::Unit)
            }
            ServerOp::Census => {
                let (objects, clients) = (self.objects.len(), self.peers.len());
                Ok(Answer::Counts(vec![objects as u64, clients as u64]))
            }
            ServerOp::Shutdown => {
                self.ending = true;
                Ok(Answer::Unit)
            }
        })
    }

    fn hello(&mut self, client: u64, hello: Hello) -> Outcome {
        if let Some(peer) = self.peers.get_mut(&client) {
            peer.greeted = true;
            peer.same_build = is_this_build(&hello.build);
        }
        if let Some(known) = self.desk.clients.get_mut(&client) {
            known.pid = hello.pid;
            known.name = hello.name;
        }
        Ok(Answer::Welcome(Welcome {
            server: self.server,
            client,
        }))
    }

    fn create(&mut self, caller: Caller, make: Make) -> Done {
        let object = self.next_object;
        self.next_object += 1;
        let (store, job) = match make {
            Make::User { task, argument } => match self.task(caller.client, task) {
                Ok(task) => (None, Some((task, argument))),
                Err(failure) => return Some(Err(failure)),
            },
            make => match Store::make(make, &self.desk) {
                Ok(store) => (Some(store), None),
                Err(failure) => return Some(Err(failure)),
            },
        };
        let anchor = self.desk.anchors.make(object);
        let entry = Entry::new(store, &anchor);
        self.objects.insert(object, entry);
        self.desk.hold(caller.client, anchor, 1);
        match job {
            None => Some(Ok(Answer::Count(object))),
            Some((task, argument)) => {
                self.push_job(object, caller, Subject::Nothing, true, task, argument);
                None
            }
        }
    }

    /// The function a client names, if the client may have functions run.
    fn task(&self, client: u64, words: [u64; 3]) -> Result<Task, Failure> {
        let peer = self.peers.get(&client).ok_or(Failure::NotFound)?;
        if !peer.rights.functions {
            return Err(Failure::Refused(
                "this server runs functions for its family and for programs of the same user on \
                 this machine only"
                    .into(),
            ));
        }
        if !peer.same_build {
            return Err(Failure::Build);
        }
        let task = TaskRef::from_words(words).resolve();
        task.map_err(|error| Failure::Refused(error.to_string()))
    }

    fn push_job(
        &mut self,
        object: u64,
        caller: Caller,
        subject: Subject,
        exclusive: bool,
        task: Task,
        argument: Packed,
    ) {
        self.jobs.push_back(Work::Run(Job {
            object,
            caller,
            exclusive,
            subject,
            task,
            argument,
            server: self.server,
            anchors: Arc::clone(&self.desk.anchors),
            backlog: Arc::clone(&self.backlog),
        }));
    }

    fn object_op(&mut self, caller: Caller, object: u64, op: Op) -> Done {
        let Some(entry) = self.objects.get_mut(&object) else {
            return Some(Err(Failure::NotFound));
        };
        if entry.store.is_none() || !entry.queue.is_empty() {
            entry.queue.push_back((caller, op));
            return None;
        }
        self.admit(caller, object, op)
    }

    /// Carries out a request for an object that nobody stands in front of.
    fn admit(&mut self, caller: Caller, object: u64, op: Op) -> Done {
        match op {
            Op::Run(run) => self.run(caller, object, run),
            Op::Condition(op) => self.condition_op(caller, object, op),
            Op::Lock(op) => self.lock_op(caller, object, op),
            Op::Set(SetOp::Combine { with, how }) => self.combine(object, with, how),
            op => {
                let store = self.objects.get_mut(&object)?.store.as_mut()?;
                let desk = &mut self.desk;
                store.handle(
                    op,
                    &mut Counter {
                        desk,
                        object,
                        caller,
                    },
                )
            }
        }
    }

    fn run(&mut self, caller: Caller, object: u64, run: Run) -> Done {
        let task = match self.task(caller.client, run.task) {
            Ok(task) => task,
            Err(failure) => return Some(Err(failure)),
        };
        let entry = self.objects.get_mut(&object)?;
        let subject = match &entry.store {
            Some(Store::User(user)) if user.is_poisoned() => {
                return Some(Err(Failure::Poisoned));
            }
            Some(Store::User(user)) => {
                let free = !entry.writer && (!run.exclusive || entry.readers == 0);
                if !free {
                    entry.queue.push_back((caller, Op::Run(run)));
                    return None;
                }
                match run.exclusive {
                    true => entry.writer = true,
                    false => entry.readers += 1,
                }
                Subject::User(Arc::clone(user))
            }
            // The others wait in their lines by what the object is, which must not leave.
            Some(Store::Map(_) | Store::List(_) | Store::Set(_)) => {
                entry.writer = true;
                Subject::Whole(entry.store.take()?)
            }
            _ => return Some(Err(Failure::WrongKind)),
        };
        let exclusive = run.exclusive || matches!(subject, Subject::Whole(_));
        self.push_job(object, caller, subject, exclusive, task, run.argument);
        None
    }

    /// Takes back what a function had, replies, and lets the next ones in.
    pub(crate) fn finish(&mut self, finished: Finished) {
        let Finished {
            object,
            caller,
            exclusive,
            subject,
            result,
            kept,
        } = finished;
        let mut result = result.and_then(|packed| {
            let links = packed.links.iter().map(|&link| self.desk.anchors.get(link));
            let links = links.collect::<Option<Vec<_>>>().ok_or(Failure::NotFound)?;
            for anchor in links {
                self.desk.hold(caller.client, anchor, 1);
            }
            Ok(Answer::Value(Some(packed)))
        });
        if let Some(entry) = self.objects.get_mut(&object) {
            let made = entry.store.is_none();
            match exclusive {
                true => entry.writer = false,
                false => entry.readers -= 1,
            }
            match subject {
                Subject::Whole(store) => entry.store = Some(store),
                Subject::User(user) if made => {
                    entry.store = Some(Store::User(user));
                    result = result.map(|_| Answer::Count(object));
                }
                Subject::User(_) | Subject::Stayed => {}
                // Its maker failed: it never was.
                Subject::Nothing => {
                    self.desk.release(caller.client, object, 1);
                    self.objects.remove(&object);
                }
            }
        } else if let Subject::User(user) = subject {
            self.bury(user);
        }
        self.desk.answer(caller, result);
        self.let_in(object);
        drop(kept);
        self.clear_up();
    }

    /// Carries out what waited at an object, as far as it goes.
    fn let_in(&mut self, object: u64) {
        while let Some(entry) = self.objects.get_mut(&object) {
            let waits = entry.queue.front().is_some_and(|(_, op)| match op {
                Op::Run(run) => entry.writer || (run.exclusive && entry.readers > 0),
                _ => entry.store.is_none(),
            });
            if waits || entry.store.is_none() {
                return;
            }
            let Some((caller, op)) = entry.queue.pop_front() else {
                return;
            };
            if let Some(outcome) = self.admit(caller, object, op) {
                self.desk.answer(caller, outcome);
            }
        }
    }

    /// An object that is in no table any more is dropped with its last user.
    fn bury(&mut self, user: Arc<User>) {
        if let Some(user) = Arc::into_inner(user) {
            self.jobs.push_back(Work::Bury(user));
        }
    }

    fn combine(&mut self, object: u64, with: u64, how: crate::message::Algebra) -> Done {
        let set = |object: u64| match self.objects.get(&object) {
            None => Err(Failure::NotFound),
            Some(entry) => match &entry.store {
                Some(Store::Set(set)) => Ok(set),
                Some(_) => Err(Failure::WrongKind),
                None => Err(Failure::Refused("a function has the other set".into())),
            },
        };
        let combined = || Ok(set(object)?.combine(&set(with)?.keys, how));
        Some(combined())
    }

    /// Removes the objects that nobody holds any more, and those that only they held.
    fn clear_up(&mut self) {
        loop {
            let dropped = self.desk.anchors.take_dropped();
            if dropped.is_empty() {
                return;
            }
            for object in dropped {
                // A handle may have been asked for since.
                let entry = self.objects.get(&object);
                if entry.is_some_and(|entry| entry.anchor.strong_count() == 0)
                    && let Some(entry) = self.objects.remove(&object)
                {
                    for (caller, _) in entry.queue {
                        self.desk.answer(caller, Err(Failure::NotFound));
                    }
                    if let Some(Store::User(user)) = entry.store {
                        self.bury(user);
                    }
                }
            }
        }
    }
}

/// What says that a program is this one: functions are known by it. The linker's build id, or, where
/// it wrote none, which file the program is.
pub(crate) fn build_id() -> Bytes {
    static BUILD: OnceLock<Bytes> = OnceLock::new();
    let build = BUILD.get_or_init(|| match (image::main().build_id(), image::identity()) {
        (Some(id), _) => Bytes::from(id),
        (None, Ok(identity)) => Bytes::from(&identity.to_bytes()[..]),
        (None, Err(_)) => Bytes::default(),
    });
    build.clone()
}

fn is_this_build(build: &Bytes) -> bool {
    !build.is_empty() && *build == build_id()
}

// A user's object is shared between the threads that run functions.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<User>();
};
