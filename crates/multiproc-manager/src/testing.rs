//! The server without its sockets, for tests that throw bytes at it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc_pipe::stranger::handshake::Protocol;
use multiproc_wire::{Bytes, codec};

use crate::core::{Core, Rights};
use crate::link;
use crate::message::{
    Algebra, BarrierOp, ConditionOp, EventOp, Hello, ListOp, LockOp, Make, MapOp, Op, Packed,
    QueueOp, Request, Run, SemaphoreOp, ServerOp, SetOp, Wait,
};

/// What the server's handshake is about.
pub const PROTOCOL: Protocol = link::PROTOCOL;

/// The kind of the frames that hold messages.
pub const MESSAGE: u8 = link::MESSAGE;

/// A server's core with some clients, all of whom have said hello.
#[derive(Debug)]
pub struct Bare {
    core: Core,
    clients: u64,
}

impl Bare {
    /// With so many clients, and one object of each kind: numbers 2 to 11.
    pub fn new(clients: u64) -> Bare {
        let mut core = Core::new(1, link::LIMIT, Arc::default());
        for client in 0..clients {
            core.welcome(client, Rights::default());
            let hello = Hello {
                build: Bytes::default(),
                pid: 1,
                name: "thrower".into(),
            };
            let op = Op::Server(ServerOp::Hello(hello));
            core.handle(client, request(0, op));
        }
        let items = vec![packed(1), packed(2)];
        let fixed = false;
        let kinds = [
            Make::Map,
            Make::List { items, fixed },
            Make::Set,
            Make::Queue { capacity: 2 },
            Make::Lock { reentrant: false },
            Make::Lock { reentrant: true },
            Make::Semaphore {
                permits: 1,
                most: 2,
            },
            Make::Condition,
            Make::Event,
            Make::Barrier { parties: 2 },
        ];
        for make in kinds {
            core.handle(0, request(0, Op::Server(ServerOp::Create(make))));
        }
        Bare { core, clients }
    }

    /// Takes a message of a client; whether it was a request. Checks that each reply is to somebody
    /// who is there, and can be encoded.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn take(&mut self, client: u64, bytes: &[u8]) -> bool {
        let Ok(request) = codec::decode::<Request>(bytes, &[]) else {
            return false;
        };
        self.core.handle(client % self.clients, request);
        for (client, reply) in self.core.take_replies() {
            assert!(client < self.clients, "a reply to nobody");
            codec::encode(&reply).expect("a reply can be encoded");
        }
        assert!(
            self.core.next_job().is_none(),
            "no client here may run functions"
        );
        true
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.core.tick(Instant::now() + time);
        drop(self.core.take_replies());
    }

    /// Has a client end, and come again.
    pub fn reconnect(&mut self, client: u64) {
        let client = client % self.clients;
        self.core.farewell(client);
        self.core.welcome(client, Rights::default());
    }
}

fn packed(n: u8) -> Packed {
    Packed {
        bytes: vec![n].into(),
        links: Vec::new(),
    }
}

fn request(object: u64, op: Op) -> Request {
    Request { seq: 1, object, op }
}

/// A hello, and requests of every kind to the objects of [`Bare::new`], encoded.
pub fn seeds() -> Vec<Vec<u8>> {
    let key = || Bytes::from(vec![7]);
    let wait = Wait(Some(1000));
    let (lock, thread) = (6, 1);
    let mut linked = packed(3);
    linked.links.push(3);
    let hello = Hello {
        build: key(),
        pid: 2,
        name: "x".into(),
    };
    let run = Run {
        task: [1, 2, 3],
        exclusive: true,
        argument: packed(1),
    };
    let all = [
        (0, Op::Server(ServerOp::Hello(hello))),
        (0, Op::Server(ServerOp::Create(Make::Map))),
        (
            0,
            Op::Server(ServerOp::Release {
                object: 2,
                count: 1,
            }),
        ),
        (0, Op::Server(ServerOp::Lend { object: 3, loan: 9 })),
        (0, Op::Server(ServerOp::Adopt { object: 3, loan: 9 })),
        (
            2,
            Op::Map(MapOp::Insert {
                key: key(),
                value: linked,
            }),
        ),
        (
            2,
            Op::Map(MapOp::GetMany {
                keys: vec![key(), key()],
            }),
        ),
        (
            2,
            Op::Map(MapOp::Page {
                after: Some(key()),
                most: 3,
            }),
        ),
        (
            3,
            Op::List(ListOp::Insert {
                index: 1,
                value: packed(5),
            }),
        ),
        (3, Op::List(ListOp::Page { from: 1, most: 9 })),
        (3, Op::List(ListOp::Remove { index: 0 })),
        (
            4,
            Op::Set(SetOp::Insert {
                values: vec![key()],
            }),
        ),
        (
            4,
            Op::Set(SetOp::Combine {
                with: 4,
                how: Algebra::Union,
            }),
        ),
        (
            5,
            Op::Queue(QueueOp::Put {
                value: packed(6),
                wait,
            }),
        ),
        (5, Op::Queue(QueueOp::GetMany { most: 2, wait })),
        (5, Op::Queue(QueueOp::TaskDone)),
        (6, Op::Lock(LockOp::Acquire { thread, wait })),
        (6, Op::Lock(LockOp::Recover { thread, wait })),
        (6, Op::Lock(LockOp::Release { thread })),
        (7, Op::Lock(LockOp::Acquire { thread, wait })),
        (8, Op::Semaphore(SemaphoreOp::Acquire { wait })),
        (8, Op::Semaphore(SemaphoreOp::Release { permit: None })),
        (9, Op::Condition(ConditionOp::Wait { lock, thread, wait })),
        (9, Op::Condition(ConditionOp::Notify { count: 2 })),
        (10, Op::Event(EventOp::Wait { wait })),
        (10, Op::Event(EventOp::Set)),
        (11, Op::Barrier(BarrierOp::Wait { wait })),
        (11, Op::Barrier(BarrierOp::Reset)),
        (2, Op::Run(run)),
    ];
    let encode = |(object, op)| {
        codec::encode(&request(object, op))
            .expect("a request")
            .bytes
    };
    all.map(encode).into()
}
