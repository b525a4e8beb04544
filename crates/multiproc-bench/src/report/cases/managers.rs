//! A map that another process holds.

use super::{Case, limit, own, peer};

pub(super) const CASES: &[Case] = &[
    Case::rate(
        "dict get in the family, 1 client",
        "map-ops --clients 1",
        "ops_per_s",
    )
    .beside(&[peer("redis").at_least(6.0), own("ours-socket")])
    .note(FAMILY),
    Case::rate(
        "dict get in the family, 4 clients",
        "map-ops --clients 4",
        "ops_per_s",
    )
    .beside(&[peer("redis").at_least(2.5), own("ours-socket")])
    .note(FAMILY),
    Case::rate(
        "dict get over a socket, 1 client",
        "map-ops --clients 1",
        "ops_per_s",
    )
    .ours("ours-socket")
    .beside(&[peer("redis").at_least(1.3), limit("echo")])
    .note(SOCKET),
    Case::rate(
        "dict get over a socket, 4 clients",
        "map-ops --clients 4",
        "ops_per_s",
    )
    .ours("ours-socket")
    .beside(&[peer("redis").at_least(1.3), limit("echo")])
    .note(SOCKET),
    Case::rate(
        "dict get in the family beside 1,000 idle clients",
        "map-ops --clients 1 --idle 1000",
        "ops_per_s",
    )
    .beside(&[own("ours-plain").at_least(0.67)])
    .note("`ours-plain` is the same without the idle ones."),
    Case::rate(
        "dict get over a socket beside 1,000 idle clients",
        "map-ops --clients 1 --idle 1000",
        "ops_per_s",
    )
    .ours("ours-socket")
    .beside(&[own("ours-socket-plain").at_least(0.67)])
    .note("`ours-socket-plain` is the same without the idle ones."),
    Case::rate(
        "dict insert over a socket, 1 client",
        "map-ops --clients 1 --op set",
        "ops_per_s",
    )
    .ours("ours-socket")
    .beside(&[peer("redis"), own("ours")]),
    Case::rate(
        "dict update by a function, 1 client",
        "map-ops --clients 1 --op update",
        "ops_per_s",
    )
    .beside(&[own("ours-set").at_least(0.9), own("ours-socket")])
    .note(
        "Held to the speed of an insert (`ours-set`; a tenth is the noise of a run). The request is \
         longer by the function and its argument, and the entry is decoded, changed and encoded under \
         its lock: {ours:ns_per_op} ns beside {ours-set:ns_per_op}.",
    ),
    Case::rate(
        "dict get, 100 under way",
        "map-ops --clients 1 --depth 100",
        "ops_per_s",
    )
    .asked(super::Goal::AtLeast(1.5))
    .beside(&[own("ours-socket"), peer("redis")])
    .note(
        "{ours:ns_per_op} ns for a call, all in all. Redis' client here writes the same hundred requests in \
         one call and looks for the end of the answers only; ours encodes, numbers and answers each call \
         by itself.",
    ),
    Case::micros("a proxy made and dropped", "map-proxy", "ns_per_op")
        .beside(&[own("get").at_most(1.5)])
        .note("One round trip, as a `get` is; the farewell is not waited for."),
    Case::amount(
        "memory for each of 1,000,000 entries",
        "map-memory",
        "bytes_each",
    )
    .shown("B", 1.0)
    .beside(&[peer("hashmap").at_most(2.0)])
    .note("Entries in the order of their keys, each with its encoded key and value."),
];

const FAMILY: &str = "Calls and answers go through shared memory: {ours:ns_per_op} ns for a client's call, beside \
    {ours-socket:ns_per_op} by a socket. With more clients than processors, each waits for its turn to run.";

const SOCKET: &str = "`echo` is a process that answers as many bytes on such a socket and does nothing else: \
    what two system calls and two wakes each way take.";
