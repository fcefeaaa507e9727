//! The random work of `faults` on this machine's kernel, over loopback.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use uringspec_model::abi::{msg, op};
use uringspec_model::cqe::Cqe;
use uringspec_model::profile::Profile;
use uringspec_model::sqe::Sqe;
use uringspec_real::mixed::{Kernel, LocalRing, Sender, SocketTraits};

use crate::faults::{self, Outside, Tally, Work};
use crate::{held, skip_if_refused, workload};

/// This kernel, whose sends are short on demand: without `MSG_WAITALL` they end where the send buffer does.
struct Short {
    ring: LocalRing,
    short: Rc<Cell<bool>>,
}

// SAFETY: completions are those of the ring, each handed out once.
unsafe impl Kernel for Short {
    type Socket = OwnedFd;

    fn profile(&self) -> &Profile {
        self.ring.profile()
    }

    fn descriptor(&self, socket: &OwnedFd) -> i32 {
        self.ring.descriptor(socket)
    }

    fn traits(&self, socket: &OwnedFd) -> io::Result<SocketTraits> {
        self.ring.traits(socket)
    }

    fn reset(&mut self, socket: &OwnedFd) -> io::Result<()> {
        self.ring.reset(socket)
    }

    unsafe fn register(&mut self, base: *const u8, len_bytes: usize) -> io::Result<u16> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.ring.register(base, len_bytes) }
    }

    unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        let is_send = matches!(sqe.opcode, op::SEND | op::SEND_ZC | op::SENDMSG | op::SENDMSG_ZC);
        let waits = if is_send && self.short.get() { msg::WAITALL } else { 0 };
        // SAFETY: the caller's promise is the same.
        unsafe { self.ring.push(&Sqe { op_flags: sqe.op_flags & !waits, ..*sqe }) }
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        self.ring.enter(wanted)
    }

    fn next(&mut self) -> Option<Cqe> {
        self.ring.next()
    }
}

impl AsFd for Short {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// What a peer reads from.
enum Far {
    Stream(TcpStream),
    Datagrams(UdpSocket, Vec<Vec<u8>>),
}

/// The far ends, and the descriptors of the near ones.
struct Here {
    near: Vec<RawFd>,
    far: Vec<Option<Far>>,
    got: Vec<Vec<u8>>,
    ring: RawFd,
    short: Rc<Cell<bool>>,
}

/// What descriptor `at` stands for becomes what `other` does.
fn replace(at: RawFd, other: &impl AsRawFd) {
    // SAFETY: `at` is open, and stays so; no memory is concerned.
    let ret = unsafe { libc::dup2(other.as_raw_fd(), at) };
    assert_eq!(ret, at, "{}", io::Error::last_os_error());
}

impl Outside for Here {
    fn read(&mut self, socket: usize, bytes: usize) {
        let mut part = vec![0; 1 << 16];
        match &mut self.far[socket] {
            None => {}
            // nothing there now ends it, or a reset
            Some(Far::Stream(far)) => {
                let mut left = bytes;
                while left > 0 {
                    let most = left.min(part.len());
                    let n = far.read(&mut part[..most]).unwrap_or(0);
                    if n == 0 {
                        break;
                    }
                    self.got[socket].extend_from_slice(&part[..n]);
                    left -= n;
                }
            }
            Some(Far::Datagrams(far, got)) => {
                while let Ok(n) = far.recv(&mut part) {
                    got.push(part[..n].to_vec());
                }
            }
        }
    }

    fn trouble(&mut self, short: bool, _copied: bool, _slow: bool) {
        self.short.set(short);
    }

    fn reset(&mut self, socket: usize) {
        if let Some(Far::Stream(far)) = self.far[socket].take_if(|far| matches!(far, Far::Stream(_))) {
            held::set_linger(far.as_fd());
        }
    }

    fn close_under(&mut self, socket: usize) {
        // SAFETY: the call makes a descriptor and touches no memory.
        let fresh = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        assert!(fresh >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor was just made and is nobody else's.
        let fresh = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fresh) };
        replace(self.near[socket], &fresh);
    }

    fn lose_ring(&mut self) {
        replace(self.ring, &File::open("/dev/null").expect("it is everywhere"));
    }

    fn datagrams(&mut self, socket: usize) -> Option<Vec<Vec<u8>>> {
        self.read(socket, usize::MAX);
        match &mut self.far[socket] {
            Some(Far::Datagrams(_, got)) => Some(std::mem::take(got)),
            Some(Far::Stream(_)) | None => None,
        }
    }

    fn received(&mut self, socket: usize) -> Vec<u8> {
        if let Some(Far::Stream(mut far)) = self.far[socket].take() {
            far.set_nonblocking(false).expect("sockets can be that");
            // to the end, or to a reset
            let _ = far.read_to_end(&mut self.got[socket]);
        }
        std::mem::take(&mut self.got[socket])
    }
}

/// A datagram socket, and the one that it is connected to.
fn udp() -> (OwnedFd, UdpSocket) {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let (near, far) = (bind(), bind());
    near.connect(far.local_addr().expect("it is bound")).expect("datagram sockets connect at once");
    (near.into(), far)
}

fn run(work: &Work, tally: &mut Tally) {
    let (entries, requests) = (work.cq_entries / 2, work.cq_entries / 2);
    let Some(ring) = skip_if_refused(LocalRing::new(entries, requests)) else { return };
    let short = Rc::new(Cell::new(false));
    let kernel = Short { ring, short: Rc::clone(&short) };
    let mut sender = Sender::new(kernel, Work::arena(), work.policy()).expect("a page can be mapped");
    let ring = sender.as_raw_fd();
    let (mut here, mut keys) = (Here { near: vec![], far: vec![], got: vec![], ring, short }, vec![]);
    for at in 0..work.sockets {
        let (near, far) = if at == 2 {
            let (near, far) = udp();
            far.set_nonblocking(true).expect("sockets can be that");
            (near, Far::Datagrams(far, Vec::new()))
        } else {
            let (near, far) = workload::tcp(if at == 0 { "::1" } else { "127.0.0.1" });
            // so small that a few messages fill it
            held::set(near.as_fd(), libc::SO_SNDBUF, 30_000);
            far.set_nonblocking(true).expect("sockets can be that");
            (near, Far::Stream(far))
        };
        here.near.push(near.as_raw_fd());
        here.far.push(Some(far));
        here.got.push(Vec::new());
        keys.push(sender.add(near).expect("it is a socket"));
    }
    work.run(sender, &keys, &mut here, tally);
}

#[test]
fn random_work_on_this_kernel_accounts_for_every_byte() {
    if let Err(skip) = uringspec_real::probe() {
        return eprintln!("skipped: {skip}");
    }
    let tally = faults::check("sender-kernel", 120, run);
    eprintln!("{tally:?}");
    let Tally { outcomes, resumed, fixed, copied, overdue, withdrawn, datagrams, .. } = tally;
    assert!(outcomes.iter().all(|n| *n > 0), "every outcome comes about: {outcomes:?}");
    assert!([resumed, fixed, copied, overdue, withdrawn, datagrams].iter().all(|n| *n > 0), "{tally:?}");
}
