//! Which lanes the leader looks at by itself, instead of being woken through the socket: those by which
//! requests came a moment ago.
//!
//! The invariant: **a lane that is not attended to says so in its state**, so its client wakes the
//! server; and attention ends a short while after the last request, so a server without calls sleeps.

use std::time::{Duration, Instant};

use multiproc_sys::processors;

use crate::conn::Conn;
use crate::numbers::Numbers;

/// The most lanes. Looking at more of them would take longer than a wake.
const MOST: usize = 64;

/// How long the server stays awake after the last request. It must be longer than it takes a client to be
/// woken, and to ask again.
const QUIET: Duration = Duration::from_micros(20);

/// How often one lane may be looked at in vain while others are in use.
const VAIN: u32 = 2_000;

/// Looks in one round.
const LOOKS: u32 = 24;

/// The lanes that are attended to.
#[derive(Debug, Default)]
pub(crate) struct Attended {
    /// Whose, and how often each was looked at in vain.
    lanes: Vec<(u64, u32)>,
    quiet_since: Option<Instant>,
}

impl Attended {
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// A client has woken the server: whether its lane gets attention from now on.
    pub(crate) fn consider(&mut self, client: u64, conn: &mut Conn) {
        if processors::online() > 1 && self.lanes.len() < MOST && conn.wants_attention() {
            self.give(client);
        }
    }

    /// A client has been served, as far as it was its turn.
    pub(crate) fn remember(&mut self, client: u64, conn: &mut Conn) {
        if conn.needs_attention() {
            self.give(client);
        }
    }

    fn give(&mut self, client: u64) {
        self.lanes.push((client, 0));
        self.quiet_since = None;
    }

    /// Looks for a moment; the clients to be served are appended to `come`.
    pub(crate) fn look(&mut self, conns: &mut Numbers<Conn>, come: &mut Vec<u64>) {
        for _ in 0..LOOKS {
            for (client, vain) in &mut self.lanes {
                let has_come = conns.get(client).is_some_and(Conn::has_come);
                *vain = if has_come { 0 } else { *vain + 1 };
                if has_come {
                    come.push(*client);
                }
            }
            if !come.is_empty() {
                self.quiet_since = None;
                return self.leave(conns, come, VAIN);
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        let since = *self.quiet_since.get_or_insert(now);
        if now - since > QUIET {
            self.leave(conns, come, 0);
        }
    }

    /// No longer looks at those that were in vain so often. They are to be served once more, by which
    /// their clients are told.
    fn leave(&mut self, conns: &mut Numbers<Conn>, come: &mut Vec<u64>, most: u32) {
        self.lanes.retain(|&(client, vain)| {
            let stays = vain <= most;
            if !stays && let Some(conn) = conns.get_mut(&client) {
                conn.lose_attention();
                come.push(client);
            }
            stays
        });
    }

    /// A connection is over.
    pub(crate) fn forget(&mut self, client: u64) {
        self.lanes.retain(|&(other, _)| other != client);
    }
}
