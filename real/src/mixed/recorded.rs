//! A kernel whose dealings with a sender are written down as a program and a trace, so that the model can
//! judge them.
//!
//! Of the path of the bytes nothing is assumed (`Lane::Unknown`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use uringspec_model::cqe::{Completion, Cqe, Res};
use uringspec_model::memory::{Generation, HexBytes};
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    Amount, End, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup, SocketState,
    Step, Until, fd_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Received, RingCqe, Run, Seen, Trace, What};

use super::kernel::{Kernel, SocketTraits};
use super::translation::{HEADERS, Range, Translation, regions, registered};

/// A kernel that is written down.
pub struct Recorded<K: Kernel> {
    kernel: K,
    log: Recording,
    completions: VecDeque<Cqe>,
}

/// What was written down. A copy is the same record.
#[derive(Clone)]
pub struct Recording(Rc<RefCell<Log>>);

struct Log {
    program: Program,
    trace: Trace,
    translation: Translation,
    /// The descriptors of the sockets, in the order in which they came.
    fds: Vec<i32>,
    pushed: Vec<Sqe>,
    /// By user data the socket of a request that is not over.
    sockets: BTreeMap<u64, usize>,
    /// What the kernel took for each socket, in order.
    taken: Vec<VecDeque<Range>>,
}

const RING: RingId = RingId(0);

impl<K: Kernel> Recorded<K> {
    /// Writes `kernel` down, whose ring was made as `ring` says.
    pub fn new(kernel: K, ring: RingSetup) -> (Recorded<K>, Recording) {
        let program = Program { rings: vec![ring], regions: regions(), ..Program::default() };
        let log = Log {
            program,
            trace: Trace::default(),
            translation: Translation::default(),
            fds: Vec::new(),
            pushed: Vec::new(),
            sockets: BTreeMap::new(),
            taken: Vec::new(),
        };
        let log = Recording(Rc::new(RefCell::new(log)));
        (Recorded { kernel, log: log.clone(), completions: VecDeque::new() }, log)
    }
}

impl<K: Kernel> Drop for Recorded<K> {
    fn drop(&mut self) {
        // copies of the record must not look at memory any more
        self.log.0.borrow_mut().translation.end();
    }
}

impl Recording {
    /// The peer of the sender's `socket`th socket has read these bytes of its stream.
    pub fn received(&self, socket: u16, bytes: &[u8]) {
        let mut log = self.0.borrow_mut();
        log.step(Step::Drain { socket: SocketId(socket), amount: Amount::Everything });
        let mut left = bytes;
        let mut runs = Vec::new();
        while !left.is_empty() {
            let range = log.taken[usize::from(socket)].pop_front();
            let expected = range.map(|range| log.translation.bytes(range)).unwrap_or_default();
            let (Some(range), true) = (range, left.starts_with(&expected)) else {
                runs.push(Run::Bytes(HexBytes(left.to_vec())));
                break;
            };
            left = &left[expected.len()..];
            let Range { region, offset, len_bytes } = range;
            runs.push(Run::Stamped { region, generation: Generation(0), offset, len_bytes });
        }
        log.see(What::Received(Received { socket: SocketId(socket), runs }));
    }

    /// The peer of the sender's `socket`th socket ends the connection with a reset now: to be told before it does.
    pub fn reset_peer(&self, socket: u16) {
        self.0.borrow_mut().step(Step::ResetPeer { socket: SocketId(socket) });
    }

    /// What was done and seen so far.
    pub fn program_and_trace(&self) -> (Program, Trace) {
        let log = self.0.borrow();
        (log.program.clone(), log.trace.clone())
    }

    /// Lent memory that was changed before the kernel let go of it: a mistake of whoever lent it.
    pub fn changed(&self) -> Vec<String> {
        self.0.borrow().translation.changed.clone()
    }
}

impl Log {
    fn step(&mut self, step: Step) {
        self.program.steps.push(step);
    }

    fn see(&mut self, what: What) {
        let step = self.program.steps.len().saturating_sub(1) as u32;
        self.trace.seen.push(Seen { step, what });
    }

    fn take(&mut self, cqe: Cqe) {
        let user_data = cqe.user_data;
        if let (Some(Completion::Result { res: Res::Bytes(count), .. }), Some(socket)) =
            (cqe.completion(), self.sockets.get(&user_data))
        {
            let mut left = count;
            for range in self.translation.ranges(user_data) {
                let len_bytes = range.len_bytes.min(left);
                left -= len_bytes;
                if len_bytes > 0 {
                    self.taken[*socket].push_back(Range { len_bytes, ..*range });
                }
            }
        }
        if !matches!(cqe.completion(), Some(Completion::Result { more: true, .. })) {
            self.translation.over(user_data);
            self.sockets.remove(&user_data);
        }
        self.see(What::Cqe(RingCqe { ring: RING, cqe }));
    }
}

// SAFETY: completions are those of the kernel that is written down, each handed out once.
unsafe impl<K: Kernel> Kernel for Recorded<K> {
    type Socket = K::Socket;

    fn profile(&self) -> &Profile {
        self.kernel.profile()
    }

    fn descriptor(&self, socket: &K::Socket) -> i32 {
        self.kernel.descriptor(socket)
    }

    fn traits(&self, socket: &K::Socket) -> io::Result<SocketTraits> {
        // the model knows no control messages
        let traits = SocketTraits { segments: false, ..self.kernel.traits(socket)? };
        let mut log = self.log.0.borrow_mut();
        let kind = match (traits.keeps_messages, traits.zero_copy) {
            (true, _) => SocketKind::Udp4,
            (false, true) => SocketKind::Tcp4,
            (false, false) => SocketKind::UnixStream,
        };
        let (lane, state) = (Lane::Unknown, SocketState::Connected);
        log.program.sockets.push(SocketSetup { kind, lane, state, sndbuf_bytes: None, rcvbuf_bytes: None });
        log.fds.push(self.kernel.descriptor(socket));
        log.taken.push(VecDeque::new());
        Ok(traits)
    }

    fn reset(&mut self, socket: &K::Socket) -> io::Result<()> {
        self.kernel.reset(socket)
    }

    unsafe fn register(&mut self, base: *const u8, len_bytes: usize) -> io::Result<u16> {
        // SAFETY: the caller's promise is the same.
        let index = unsafe { self.kernel.register(base, len_bytes) }?;
        let mut log = self.log.0.borrow_mut();
        log.step(Step::Register { ring: RING, what: Register::Buffers(vec![registered()]) });
        log.see(What::Returned(0));
        Ok(index)
    }

    unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        // SAFETY: the caller's promise is the same.
        if !unsafe { self.kernel.push(sqe) } {
            return false;
        }
        let mut log = self.log.0.borrow_mut();
        let Log { program, translation, fds, sockets, pushed, .. } = &mut *log;
        let headers = &mut program.regions[usize::from(HEADERS.0)];
        let append = |bytes: &[u8]| headers.append(bytes).expect("the region of headers holds bytes");
        // SAFETY: the caller keeps what the entry names as it is until its last completion was handed out,
        // and `over` is called before that.
        let mut written = unsafe { translation.entry(sqe, append) };
        if let Some(socket) = fds.iter().rposition(|fd| *fd == sqe.fd) {
            written.fd = fd_of(SocketId(socket as u16), End::Near);
            sockets.insert(sqe.user_data, socket);
        }
        pushed.push(written);
        true
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        {
            let mut log = self.log.0.borrow_mut();
            let sqes = std::mem::take(&mut log.pushed);
            if !sqes.is_empty() {
                let count = sqes.len() as i64;
                log.step(Step::Submit { ring: RING, sqes });
                log.see(What::Returned(count));
            }
        }
        self.kernel.enter(wanted)?;
        let mut log = self.log.0.borrow_mut();
        log.step(Step::Reap { ring: RING, until: Until::Now });
        while let Some(cqe) = self.kernel.next() {
            log.take(cqe);
            self.completions.push_back(cqe);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Cqe> {
        self.completions.pop_front()
    }
}
