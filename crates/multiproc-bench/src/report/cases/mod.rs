//! What is compared with what, and what ours is held to: a file for each kind of thing.

mod deaths;
mod locks;
mod managers;
mod messages;
mod pools;
mod starts;

use super::case::{Case, Goal, Group, limit, own, part, peer};

pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "Starting a process",
        cases: starts::CASES,
    },
    Group {
        title: "Locks and events",
        cases: locks::CASES,
    },
    Group {
        title: "Messages, one way",
        cases: messages::ONE_WAY,
    },
    Group {
        title: "Messages, there and back",
        cases: messages::ROUND_TRIPS,
    },
    Group {
        title: "A map in another process",
        cases: managers::CASES,
    },
    Group {
        title: "Pools",
        cases: pools::CASES,
    },
    Group {
        title: "When a process is killed",
        cases: deaths::CASES,
    },
];
