//! The server's threads and sockets around the [`Core`].
//!
//! One thread leads: it waits for the sockets, hands requests to the core, writes replies, and runs
//! the users' functions itself, since handing a short function to another thread costs more than the
//! function. A function may take long, though, so a second thread, the *understudy*, looks each
//! millisecond whether the leader is still in the same function, and if so has another thread lead.
//! The former leader brings its function's result and leaves. The understudy sleeps while no
//! functions come.
//!
//! The invariant: the state is only touched under its lock, and the lock is never held while a
//! function runs or a socket is waited for. Two threads that both take themselves for the leader are
//! therefore harmless; they only wake twice.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use multiproc_pipe::stranger::bound::Bound;
use multiproc_pipe::stranger::gate::Gate;
use multiproc_pipe::{Address, Key};
use multiproc_process::guard;
use multiproc_shm::{Hope, family};
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll::{Bell, Watch};
use multiproc_sys::{Errno, processors, random, stream};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::attention::Attended;
use crate::client::{Client, Door};
use crate::conn::Conn;
use crate::core::{Core, Rights, Work};
use crate::later::Backlog;
use crate::link::{End, PROTOCOL};
use crate::numbers::Numbers;
use crate::store::User;
use crate::tls::{self, Tls};

/// How long one function may keep the leader from the others.
const TICK: Duration = Duration::from_millis(1);

/// How many ticks without a function until the understudy sleeps.
const CALM: u32 = 100;

/// The most threads. With so many functions running, the next one waits for one of them.
const MOST_THREADS: usize = 512;

/// How long the last replies may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// While lanes are attended to, sockets are looked at each so many rounds: every 20 µs or so.
const SOCKETS_EACH: u32 = 16;

/// How long the leader stays awake for sockets where that has paid off. It must be longer than it takes a
/// client to be woken by its answer, and to ask again.
const AWAKE: Duration = Duration::from_micros(20);

const GATE: u64 = 0;
const BELL: u64 = 1;
const FIRST_CLIENT: u64 = 2;

/// How a server is to be.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    pub(crate) key: Key,
    pub(crate) max_frame: u64,
    pub(crate) max_clients: usize,
    pub(crate) accept_functions: bool,
    /// Needed beyond this machine.
    pub(crate) tls: Option<Tls>,
    /// After how many answers a client of the family is offered lanes.
    pub(crate) lanes_after: u64,
}

struct State {
    core: Core,
    /// Gone when the server ends.
    gate: Option<Gate>,
    conns: Numbers<Conn>,
    next_client: u64,
    /// Clients with something to be written.
    dirty: Vec<u64>,
    attended: Attended,
    settings: Settings,
}

/// Odd while a function runs; every change is the leader's.
#[derive(Debug, Default)]
struct Pulse(AtomicU64);

struct Shared {
    watch: Watch,
    /// Whether it pays off to stay awake for sockets.
    hope: Hope,
    bell: Arc<Bell>,
    state: Mutex<State>,
    /// The leader's pulse; another one when there is another leader.
    lead: Mutex<Arc<Pulse>>,
    /// Whether the understudy looks on.
    looking: AtomicBool,
    wake_understudy: Condvar,
    understudy: Mutex<()>,
    threads: AtomicUsize,
    /// Once the server has ended: the objects of the user's, to be dropped.
    ended: Mutex<Option<Vec<Arc<User>>>>,
    wake_owner: Condvar,
}

/// A server that listens.
pub(crate) struct Server {
    shared: Arc<Shared>,
    address: Address,
}

/// How this process, being a server, reaches itself: proxies in values that functions work on.
static OWN: OnceLock<(u64, Door)> = OnceLock::new();

/// A client of this process's own server.
pub(crate) fn own_client() -> Option<Arc<Client>> {
    let (server, door) = OWN.get()?;
    Client::of(*server, || door.clone()).ok()
}

impl Server {
    /// Listens.
    pub(crate) fn bind(settings: Settings) -> Result<Server, String> {
        let address = match (settings.address.clone(), &settings.tls) {
            (address, None) => address
                .within_machine()
                .map_err(|error| error.to_string())?,
            (address @ Address::Tcp(_), Some(_)) => address,
            (other, Some(_)) => return Err(format!("`{other}`: certificates are for TCP")),
        };
        let mut bound = Bound::bind(&address).map_err(|error| error.to_string())?;
        if let Some(tls) = settings.tls.clone() {
            bound.set_passage(Box::new(move |fd| tls.accept(fd)));
        }
        let address = bound.address().clone();
        let number = random::u64();
        // A process is one server, for itself; of several, the first.
        let _ = OWN.set((
            number,
            Door {
                address: address.clone(),
                key: settings.key.clone(),
                tls: settings.tls.clone(),
            },
        ));
        let shared = Server::share(bound, number, settings);
        let shared = shared.map_err(|errno| errno.desc().to_owned())?;
        Ok(Server {
            shared: Arc::new(shared),
            address,
        })
    }

    fn share(bound: Bound, number: u64, settings: Settings) -> Result<Shared, Errno> {
        let gate = Gate::new(bound, PROTOCOL, settings.key.clone())?;
        let (watch, bell) = (Watch::new()?, Arc::new(Bell::new()?));
        watch.add(gate.as_fd(), GATE)?;
        watch.add(bell.as_fd(), BELL)?;
        let state = State {
            core: Core::new(
                number,
                settings.max_frame,
                Arc::new(Backlog::new(Arc::clone(&bell))),
            ),
            gate: Some(gate),
            conns: Numbers::default(),
            next_client: FIRST_CLIENT,
            dirty: Vec::new(),
            attended: Attended::default(),
            settings,
        };
        Ok(Shared {
            watch,
            hope: Hope::default(),
            bell,
            state: Mutex::new(state),
            lead: Mutex::default(),
            looking: AtomicBool::new(false),
            wake_understudy: Condvar::new(),
            understudy: Mutex::new(()),
            threads: AtomicUsize::new(0),
            ended: Mutex::default(),
            wake_owner: Condvar::new(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until a client asks for the end. Functions that still run are left behind.
    pub(crate) fn run(self) {
        let shared = &self.shared;
        let understudy = Arc::clone(shared);
        let started = std::thread::Builder::new()
            .name("mp-understudy".into())
            .spawn(move || understudy.look_on());
        // Without one, a long function holds up the others, and nothing else is wrong.
        drop(started);
        let pulse = Arc::clone(&shared.lead.lock());
        let leader = Arc::clone(shared);
        shared.threads.fetch_add(1, Ordering::Relaxed);
        let first = std::thread::Builder::new()
            .name("mp-manager".into())
            .spawn(move || leader.lead(&pulse));
        if first.is_err() {
            return;
        }
        let mut ended = shared.ended.lock();
        let users = loop {
            match ended.take() {
                Some(users) => break users,
                None => shared.wake_owner.wait(&mut ended),
            }
        };
        drop(ended);
        tls::drain(FAREWELL);
        for user in users {
            bury(user);
        }
    }
}

/// Drops an object of the user's, which may do anything.
fn bury<U>(user: U) {
    // What a panic said has been printed; there is nobody to tell.
    let _ = guard::catch(std::panic::AssertUnwindSafe(|| drop(user)));
}

impl Shared {
    /// Leads, as long as `pulse` is the leader's.
    fn lead(&self, pulse: &Arc<Pulse>) {
        let mut tokens = Vec::new();
        let mut deadline = Deadline::NOW;
        let mut rounds = 0_u32;
        while Arc::ptr_eq(pulse, &self.lead.lock()) {
            tokens.clear();
            // Beside lanes, sockets are looked at now and then.
            rounds = rounds.wrapping_add(1);
            let looks = deadline != Deadline::NOW || rounds.is_multiple_of(SOCKETS_EACH);
            if looks && self.await_sockets(&mut tokens, deadline).is_err() {
                break;
            }
            let mut state = self.state.lock();
            self.turn(&mut state, &tokens);
            let is_quiet = !self.attend(&mut state);
            loop {
                self.run_jobs(&mut state, pulse);
                self.flush(&mut state);
                // What had room again may have brought functions.
                if !state.core.has_jobs() {
                    break;
                }
            }
            if state.core.ending {
                self.end(&mut state);
                break;
            }
            deadline = state.deadline();
            if is_quiet && !state.attended.is_empty() {
                drop(state);
                // Others may be waiting for this processor, clients among them.
                std::thread::yield_now();
            }
        }
        // Whoever leads now waits by the deadlines it knew.
        self.bell.ring();
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until a socket is ready. While answers are asked for one after the other, it stays awake for
    /// the next: whoever sends need not wake it then, which takes both longer than the call itself.
    fn await_sockets(&self, tokens: &mut Vec<u64>, deadline: Deadline) -> Result<(), Errno> {
        if deadline != Deadline::NOW && processors::online() > 1 && self.hope.next() {
            let began = Instant::now();
            loop {
                self.watch.wait(tokens, Deadline::NOW)?;
                if !tokens.is_empty() {
                    self.hope.learn(true);
                    return Ok(());
                }
                if began.elapsed() > AWAKE {
                    self.hope.learn(false);
                    break;
                }
                // Whoever is to ask may be waiting for this processor.
                std::thread::yield_now();
            }
        }
        self.watch.wait(tokens, deadline)
    }

    /// Looks after every descriptor that is ready, and every wait that is over.
    fn turn(&self, state: &mut State, tokens: &[u64]) {
        for &token in tokens {
            match token {
                GATE => self.admit(state),
                BELL => {
                    self.bell.silence();
                    state.core.redeem();
                }
                client => self.hear(state, client),
            }
        }
        if let Some(due) = state.core.next_due() {
            let now = Instant::now();
            if due <= now {
                state.core.tick(now);
            }
        }
        if let Some(gate) = &state.gate
            && gate.next_limit().has_passed()
        {
            self.admit(state);
        }
        state.stow_replies();
    }

    /// Looks at the lanes that are attended to; whether something had come.
    fn attend(&self, state: &mut State) -> bool {
        if state.attended.is_empty() {
            return false;
        }
        let mut come = Vec::new();
        state.attended.look(&mut state.conns, &mut come);
        for &client in &come {
            self.serve(state, client);
        }
        !come.is_empty()
    }

    /// Carries out what a client has asked for, as long as there is room for the answers.
    fn serve(&self, state: &mut State, client: u64) {
        if state.serve(client).is_err() {
            self.part(state, client);
        } else if let Some(conn) = state.conns.get_mut(&client) {
            state.attended.remember(client, conn);
        }
    }

    /// Runs what functions there are, with the state unlocked.
    fn run_jobs(&self, state: &mut MutexGuard<'_, State>, pulse: &Arc<Pulse>) {
        while let Some(job) = state.core.next_job() {
            // Pulse first, then the look at `looking`: the understudy does the reverse before it sleeps.
            pulse.0.fetch_add(1, Ordering::SeqCst);
            if !self.looking.load(Ordering::SeqCst) {
                self.looking.store(true, Ordering::SeqCst);
                let _asleep = self.understudy.lock();
                self.wake_understudy.notify_one();
            }
            let finished = MutexGuard::unlocked(state, || match job {
                Work::Run(job) => job.run(),
                Work::Bury(user) => {
                    bury(user);
                    None
                }
            });
            pulse.0.fetch_add(1, Ordering::SeqCst);
            if let Some(finished) = finished {
                state.core.finish(finished);
            }
            state.stow_replies();
        }
    }

    /// The understudy's life.
    fn look_on(self: &Arc<Shared>) {
        let mut seen = 0;
        let mut calm = 0;
        loop {
            {
                let mut asleep = self.understudy.lock();
                if calm >= CALM {
                    calm = 0;
                    self.looking.store(false, Ordering::SeqCst);
                    if self.lead.lock().0.load(Ordering::SeqCst) != seen {
                        self.looking.store(true, Ordering::SeqCst);
                    }
                }
                if self.looking.load(Ordering::SeqCst) {
                    self.wake_understudy.wait_for(&mut asleep, TICK);
                } else {
                    self.wake_understudy.wait(&mut asleep);
                }
            }
            let mut lead = self.lead.lock();
            let now = lead.0.load(Ordering::SeqCst);
            let in_function = now % 2 == 1;
            calm = if now == seen && !in_function {
                calm + 1
            } else {
                0
            };
            if in_function && now == seen && self.threads.load(Ordering::Relaxed) < MOST_THREADS {
                let pulse = Arc::new(Pulse::default());
                self.threads.fetch_add(1, Ordering::Relaxed);
                let leader = Arc::clone(self);
                let its_pulse = Arc::clone(&pulse);
                let started = std::thread::Builder::new()
                    .name("mp-manager".into())
                    .spawn(move || leader.lead(&its_pulse));
                match started {
                    Ok(_) => *lead = pulse,
                    // The old one goes on when its function is done.
                    Err(_) => drop(self.threads.fetch_sub(1, Ordering::Relaxed)),
                }
                seen = 0;
            } else {
                seen = now;
            }
        }
    }

    /// Lets in those who came through the gate.
    fn admit(&self, state: &mut State) {
        let Some(gate) = &mut state.gate else {
            return;
        };
        if gate.turn().is_err() {
            // No descriptors are left: those who wait outside will be seen when some are. The gate
            // stays readable, and must not keep the leader busy meanwhile.
            std::thread::sleep(TICK);
        }
        let mut entered = Vec::new();
        while let Some(fd) = gate.enter() {
            entered.push(fd);
        }
        for fd in entered {
            if state.conns.len() >= state.settings.max_clients {
                continue;
            }
            let client = state.next_client;
            // The near end of a tunnel says nothing of who is at the far one.
            let local = matches!(state.settings.address, Address::Unix(_))
                && stream::peer_user(fd.as_fd()).is_ok_and(|user| user == Some(stream::user()));
            let stream = TcpStream::from(fd);
            if self.watch.add(stream.as_fd(), client).is_err() {
                continue;
            }
            state.next_client += 1;
            let functions = local || state.settings.accept_functions;
            state.core.welcome(client, Rights { functions });
            // Where this process is of no family, its memory is nobody else's.
            let lanes_after =
                (local && family::me().is_some()).then_some(state.settings.lanes_after);
            let conn = Conn::new(stream, state.settings.max_frame, lanes_after);
            state.conns.insert(client, conn);
        }
    }

    /// Reads what a client has sent, and writes if it waits for that.
    fn hear(&self, state: &mut State, client: u64) {
        let Some(conn) = state.conns.get_mut(&client) else {
            return;
        };
        if conn.waiting() > 0 {
            state.dirty.push(client);
        }
        if !conn.watched.0 {
            return;
        }
        match conn.read() {
            Ok(_) => {
                state.attended.consider(client, conn);
                self.serve(state, client);
            }
            Err(End::Gone) => {
                // What it had sent before its end is in its lane.
                while state.conns.get(&client).is_some_and(Conn::has_come)
                    && state.serve(client).is_ok()
                {}
                self.part(state, client);
            }
            Err(End::Protocol) => self.part(state, client),
        }
    }

    /// A connection is over.
    fn part(&self, state: &mut State, client: u64) {
        if let Some(conn) = state.conns.remove(&client) {
            self.watch.remove(conn.as_fd());
            state.attended.forget(client);
            state.core.farewell(client);
            state.stow_replies();
        }
    }

    /// Writes what can be written without waiting.
    fn flush(&self, state: &mut State) {
        while let Some(client) = state.dirty.pop() {
            let Some(conn) = state.conns.get_mut(&client) else {
                continue;
            };
            if conn.write().is_err() {
                self.part(state, client);
                continue;
            }
            if conn.has_room() && conn.has_requests() {
                self.serve(state, client);
                state.dirty.push(client);
                continue;
            }
            let wanted = conn.wanted();
            if wanted != conn.watched {
                let watched = self.watch.change(conn.as_fd(), client, wanted.0, wanted.1);
                conn.watched = wanted;
                if watched.is_err() {
                    self.part(state, client);
                }
            }
        }
    }

    /// Ends the server: nobody can connect any more, and whoever is connected has had its replies.
    fn end(&self, state: &mut State) {
        drop(state.gate.take());
        for conn in state.conns.values_mut() {
            conn.finish(FAREWELL);
        }
        state.conns.clear();
        *self.ended.lock() = Some(state.core.take_users());
        self.wake_owner.notify_all();
    }
}

impl State {
    fn deadline(&self) -> Deadline {
        if !self.attended.is_empty() {
            return Deadline::NOW;
        }
        let gate = self.gate.as_ref().map_or(Deadline::NEVER, Gate::next_limit);
        let core = self.core.next_due().map_or(Deadline::NEVER, Deadline::at);
        gate.earlier(core)
    }

    /// Carries out what a client has asked for, as long as there is room for the answers.
    fn serve(&mut self, client: u64) -> Result<(), End> {
        while let Some(conn) = self.conns.get_mut(&client)
            && conn.has_room()
            && let Some(request) = conn.next_request()?
        {
            self.core.handle(client, request);
            self.stow_replies();
        }
        Ok(())
    }

    /// Moves replies from the core to the connections.
    fn stow_replies(&mut self) {
        let limit = self.settings.max_frame;
        for (client, reply) in self.core.take_replies() {
            let Some(conn) = self.conns.get_mut(&client) else {
                continue;
            };
            if conn.waiting() == 0 {
                self.dirty.push(client);
            }
            conn.put(reply, limit);
        }
    }
}
