//! What the starter tells the process that becomes the child, and what it hears back: the wire form.
//!
//! Both ends are the same program, so the forms have no versions; the boot record, which is read
//! before that is known, is fixed and has a magic number.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use multiproc_shm::{Handle, MemberId};
use multiproc_sys::Errno;
use multiproc_sys::child::Changes;
use multiproc_sys::image::Identity;
use multiproc_wire::codec;
use multiproc_wire::task::TaskRef;
use serde::{Deserialize, Serialize};

use crate::builder::Lifetime;
use crate::{context, log};

/// No request is larger: names are limited, everything else is small or bounded by the kernel.
pub(crate) const MOST_BYTES: usize = 4 * 1024;

/// Longer names are refused: a packet must hold them.
pub(crate) const MOST_NAME: usize = 1024;

/// One child, as its starter wants it. Descriptors beside it: standard output, standard error, and as
/// far as `beside` says so standard input, the working directory, the environment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    member: u64,
    task: TaskRef,
    argument: [u64; 3],
    outbox: [u64; 3],
    pub(crate) name: String,
    pub(crate) parent_name: String,
    pub(crate) lifetime: Lifetime,
    pub(crate) beside: Beside,
    pub(crate) settings: Settings,
    changes: WireChanges,
}

/// Which descriptors come along, in this order, behind the two that always do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    pub(crate) input: bool,
    pub(crate) directory: bool,
    pub(crate) environment: bool,
}

/// What a process that starts another hands on of its own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    method: u8,
    log: u8,
}

impl Settings {
    pub(crate) fn of_this_process() -> Settings {
        Settings {
            method: context::code(context::get_start_method()),
            log: log::printed(),
        }
    }

    /// Makes them this process's.
    pub(crate) fn apply(self) {
        context::set_start_method(context::from_code(self.method));
        log::print(self.log);
    }
}

/// [`Changes`] with the traits for the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(remote = "Changes")]
struct ChangesForm {
    mask: u64,
    ignored: Option<u64>,
    nice: Option<i32>,
    affinity: Vec<u8>,
    limits: Vec<(u32, u64, u64)>,
    oom_score_adj: Option<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireChanges(#[serde(with = "ChangesForm")] Changes);

/// The parts of a request that do not depend on how the child comes about.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) member: MemberId,
    pub(crate) task: TaskRef,
    pub(crate) argument: Handle,
    pub(crate) outbox: Handle,
    pub(crate) name: String,
    pub(crate) parent_name: String,
    pub(crate) lifetime: Lifetime,
}

impl Request {
    pub(crate) fn new(plan: &Plan, changes: Changes, beside: Beside) -> Request {
        Request {
            member: plan.member.bits(),
            task: plan.task,
            argument: plan.argument.to_words(),
            outbox: plan.outbox.to_words(),
            name: plan.name.clone(),
            parent_name: plan.parent_name.clone(),
            lifetime: plan.lifetime,
            beside,
            settings: Settings::of_this_process(),
            changes: WireChanges(changes),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self).expect("numbers and text encode").bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Request> {
        codec::decode(bytes, &[]).ok()
    }

    pub(crate) fn member(&self) -> Option<MemberId> {
        MemberId::from_bits(self.member)
    }

    pub(crate) fn task(&self) -> TaskRef {
        self.task
    }

    pub(crate) fn argument(&self) -> Handle {
        Handle::from_words(self.argument)
    }

    pub(crate) fn outbox(&self) -> Handle {
        Handle::from_words(self.outbox)
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes.0
    }
}

/// What a fork server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A copy.
    OneMore,
    /// To call this before it makes copies.
    Preload(TaskRef),
}

impl Wanted {
    pub(crate) const MOST_BYTES: usize = 1 + 3 * 8;

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Wanted::OneMore => vec![0],
            Wanted::Preload(task) => {
                let words = task.to_words().map(u64::to_le_bytes);
                [&[1], words.as_flattened()].concat()
            }
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Wanted> {
        let (kind, words) = bytes.split_first()?;
        let (words, rest) = words.as_chunks::<8>();
        match (kind, words, rest) {
            (0, [], []) => Some(Wanted::OneMore),
            (1, &[descriptor, function, seal], []) => {
                let words = [descriptor, function, seal].map(u64::from_le_bytes);
                Some(Wanted::Preload(TaskRef::from_words(words)))
            }
            _ => None,
        }
    }
}

/// The answer of a fork server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A copy is ready. Its descriptor comes along, and the socket that leads to it.
    Born(u32),
    /// There is none.
    Refused(Errno),
}

impl Reply {
    pub(crate) const SIZE: usize = 5;

    pub(crate) fn to_bytes(self) -> [u8; Reply::SIZE] {
        let (kind, word) = match self {
            Reply::Born(pid) => (0, pid),
            Reply::Refused(errno) => (1, errno as u32),
        };
        let mut bytes = [kind; Reply::SIZE];
        bytes[1..].copy_from_slice(&word.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Reply> {
        let (kind, word) = bytes.split_first()?;
        let word = u32::from_le_bytes(word.try_into().ok()?);
        match kind {
            0 => Some(Reply::Born(word)),
            1 => Some(Reply::Refused(Errno::from_raw(word as i32))),
            _ => None,
        }
    }
}

/// The first packet from a process we made by exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// It is this program and waits for requests.
    Ready,
    /// It is this program, but the kernel does not let it make sound copies of itself.
    CannotCopy(String),
    /// It is not this program, or cannot be of the family; it has ended.
    Refused(String),
}

impl Hello {
    pub(crate) const MOST_BYTES: usize = 1024;

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (kind, text) = match self {
            Hello::Ready => (0, ""),
            Hello::CannotCopy(text) => (1, text.as_str()),
            Hello::Refused(text) => (2, text.as_str()),
        };
        let text = &text.as_bytes()[..text.len().min(Hello::MOST_BYTES - 1)];
        [&[kind], text].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Hello> {
        let (kind, text) = bytes.split_first()?;
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            0 => Some(Hello::Ready),
            1 => Some(Hello::CannotCopy(text)),
            2 => Some(Hello::Refused(text)),
            _ => None,
        }
    }
}

/// What a process made by exec is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A fork server: copies itself for each child.
    Zygote,
    /// The child of the one request it will get.
    Child,
}

/// The content of the sealed memory file that the boot variable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Ties the variable to the file.
    pub(crate) nonce: u64,
    pub(crate) role: Role,
    /// The process that made it.
    pub(crate) parent: u32,
    /// Descriptor numbers, valid in the new process.
    pub(crate) socket: i32,
    pub(crate) arena: i32,
    pub(crate) exchange: i32,
    /// The parent's program.
    pub(crate) identity: Identity,
}

const MAGIC: &[u8; 8] = b"mp-boot1";
const HEAD: usize = 8 + 8 + 5 * 4;

impl Boot {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let role = match self.role {
            Role::Zygote => 0_u32,
            Role::Child => 1,
        };
        let [socket, arena, exchange] =
            [self.socket, self.arena, self.exchange].map(i32::cast_unsigned);
        let words = [role, self.parent, socket, arena, exchange];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.nonce.to_le_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(self.identity.to_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Boot> {
        let (head, identity) = bytes.split_first_chunk::<HEAD>()?;
        let rest = head.strip_prefix(MAGIC)?;
        let (nonce, words) = rest.split_first_chunk::<8>()?;
        let (words, _) = words.as_chunks::<4>();
        let [role, parent, socket, arena, exchange] =
            [0, 1, 2, 3, 4].map(|i| u32::from_le_bytes(words[i]));
        Some(Boot {
            nonce: u64::from_le_bytes(*nonce),
            role: match role {
                0 => Role::Zygote,
                1 => Role::Child,
                _ => return None,
            },
            parent,
            socket: socket as i32,
            arena: arena as i32,
            exchange: exchange as i32,
            identity: Identity::from_bytes(identity)?,
        })
    }
}

/// An environment in the form the kernel uses, too: `NAME=value`, each with a zero behind it.
pub(crate) fn environment_to_bytes(pairs: &[(OsString, OsString)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The counterpart of [`environment_to_bytes`]. A name may begin with `=`.
pub(crate) fn environment_from_bytes(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    let split = |entry: &[u8]| {
        let at = entry.iter().skip(1).position(|&byte| byte == b'=')? + 1;
        let text = |part: &[u8]| OsString::from_vec(part.to_vec());
        Some((text(&entry[..at]), text(&entry[at + 1..])))
    };
    bytes.split(|&byte| byte == 0).filter_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn boot() -> Boot {
        Boot {
            nonce: 0x1234_5678_9abc_def0,
            role: Role::Child,
            parent: 42,
            socket: 7,
            arena: 9,
            exchange: 10,
            identity: Identity {
                build_id: Some(vec![1, 2, 3]),
                dev: 1,
                ino: 2,
                size: 3,
                mtime_ns: 4,
            },
        }
    }

    #[test]
    fn a_boot_record_comes_back() {
        let bytes = boot().to_bytes();
        assert_eq!(Boot::from_bytes(&bytes), Some(boot()));
        for len in 0..bytes.len() {
            assert_eq!(Boot::from_bytes(&bytes[..len]), None);
        }
    }

    #[test]
    fn replies_and_hellos_come_back() {
        for reply in [Reply::Born(77), Reply::Refused(Errno::EAGAIN)] {
            assert_eq!(Reply::from_bytes(&reply.to_bytes()), Some(reply));
        }
        let task = TaskRef::from_words([1, 2, 3]);
        for wanted in [Wanted::OneMore, Wanted::Preload(task)] {
            assert_eq!(Wanted::from_bytes(&wanted.to_bytes()), Some(wanted));
        }
        for hello in [
            Hello::Ready,
            Hello::CannotCopy("no".into()),
            Hello::Refused("other build".into()),
        ] {
            assert_eq!(Hello::from_bytes(&hello.to_bytes()), Some(hello));
        }
    }

    #[test]
    fn an_environment_comes_back() {
        let pairs = [("A", "1"), ("EMPTY", ""), ("X", "a=b"), ("=odd", "2")];
        let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(environment_from_bytes(&environment_to_bytes(&pairs)), pairs);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Request::from_bytes(&bytes);
            let _ = Boot::from_bytes(&[MAGIC.as_slice(), &bytes].concat());
            let _ = Wanted::from_bytes(&bytes);
            let _ = Reply::from_bytes(&bytes);
            let _ = Hello::from_bytes(&bytes);
            let _ = environment_from_bytes(&bytes);
        }
    }
}
