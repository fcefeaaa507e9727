//! Where headers are copied to: before the first payload of a flush, and beside each other for the others.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use uringspec_model::abi::{op, send_flag};
use uringspec_model::cqe::Cqe;
use uringspec_model::kernels::named;
use uringspec_model::profile::Profile;
use uringspec_model::sqe::Sqe;
use uringspec_real::mixed::{
    Arena, ArenaSize, Kernel, LocalRing, Outcome, Policy, Refusal, SLOT_BYTES, Sender, SocketTraits,
};

use crate::workload::{self, Book, Shape};
use crate::{always, held, lends, local};

/// A request: where its pieces are, and how long.
type Pieces = Vec<(usize, usize)>;

/// A ring of which is written down what its requests carry.
struct Watched {
    ring: LocalRing,
    requests: Rc<RefCell<Vec<Pieces>>>,
}

// SAFETY: completions are those of the ring, each handed out once.
unsafe impl Kernel for Watched {
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
        let at = sqe.addr as usize;
        let is_array = sqe.opcode == op::SEND_ZC && sqe.ioprio & send_flag::VECTORIZED != 0;
        let (iovecs, count) = match sqe.opcode {
            op::SEND_ZC if is_array => (std::ptr::with_exposed_provenance(at), sqe.len as usize),
            op::SENDMSG | op::SENDMSG_ZC => {
                // SAFETY: the address is that of a message header, which the caller keeps as it is.
                let header = unsafe { std::ptr::with_exposed_provenance::<libc::msghdr>(at).read() };
                (header.msg_iov.cast_const(), header.msg_iovlen)
            }
            _ => (std::ptr::null(), 0),
        };
        let mut pieces: Pieces = (0..count)
            .map(|index| {
                // SAFETY: so are the iovecs that it or the entry names.
                let iovec = unsafe { iovecs.add(index).read() };
                (iovec.iov_base.addr(), iovec.iov_len)
            })
            .collect();
        if matches!(sqe.opcode, op::SEND | op::SEND_ZC) && !is_array {
            pieces.push((at, sqe.len as usize));
        }
        self.requests.borrow_mut().push(pieces);
        // SAFETY: the caller's promise is the same.
        unsafe { self.ring.push(sqe) }
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        self.ring.enter(wanted)
    }

    fn next(&mut self) -> Option<Cqe> {
        self.ring.next()
    }
}

const HEADER: usize = 24;
const PAYLOAD: usize = 5000;

/// Sends flushes of four messages, whose payloads have room in front: what the requests carried.
fn flushes_of_four(policy: Policy, as_on: Option<&str>) -> Option<Vec<Pieces>> {
    let mut ring = local(&policy).filter(|_| lends())?;
    if let Some(older) = as_on {
        let profile = uringspec_real::probe().ok()?;
        let features = named(older).expect("it is known").features;
        let features = features.intersection(&profile.features).copied().collect();
        ring = ring.pretend(Profile { features, ..profile });
    }
    let requests = Rc::new(RefCell::new(Vec::new()));
    let kernel = Watched { ring, requests: Rc::clone(&requests) };
    let mut sender = Sender::new(kernel, crate::arena(), policy).expect("an arena can be mapped");
    let (near, far) = workload::tcp("127.0.0.1");
    let key = sender.add(near).expect("it is a socket");
    let shape = Shape { header: HEADER, payload: PAYLOAD, memory: 5 };
    let peer = workload::stream_peer(far, 0, vec![shape; 12]);
    let mut book = Book::default();
    for number in 0..12 {
        workload::queue(&mut sender, key, (0, number), shape, &mut book).expect("there is room");
        if number % 4 == 3 {
            workload::settle(&mut sender, &mut book);
        }
    }
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    assert_eq!((sender.counters().staged_bytes, book.released.len()), (12 * HEADER as u64, 12));
    drop(sender.remove(key).expect("nothing is under way"));
    peer.join().expect("every byte is right");
    Some(requests.take())
}

#[test]
fn headers_of_a_flush_lie_beside_each_other() {
    let (whole, split) = (vec![HEADER + PAYLOAD], vec![HEADER, PAYLOAD]);
    for (headroom_messages, before) in [(0, 0), (1, 1), (3, 3), (u64::MAX, 4)] {
        let Some(requests) = flushes_of_four(Policy { headroom_messages, ..always() }, None) else { return };
        let wanted = [vec![&whole; before], vec![&split; 4 - before]].concat();
        let wanted: Vec<usize> = wanted.into_iter().flatten().copied().collect();
        assert_eq!(requests.len(), 3, "a flush is a request");
        for pieces in requests {
            let lens: Vec<usize> = pieces.iter().map(|(_, len)| *len).collect();
            assert_eq!(lens, wanted, "{headroom_messages} before");
            let headers = pieces.iter().filter(|(_, len)| *len == HEADER);
            let mut slots: Vec<usize> = headers.map(|(at, _)| at / SLOT_BYTES).collect();
            slots.sort_unstable();
            assert!(slots.windows(2).all(|two| two[1] == two[0] + 1), "{slots:x?}");
        }
    }
}

#[test]
fn where_only_ranges_are_lent_every_header_is_before_its_payload() {
    let Some(requests) = flushes_of_four(always(), Some("6.0")) else { return };
    assert!(requests.iter().all(|pieces| pieces.len() == 1), "{requests:?}");
    assert_eq!(requests.len(), 12);
}

/// How the messages of a round end.
#[derive(Clone, Copy, Debug)]
enum End {
    Whole,
    Withdrawn,
    Aborted,
    AbortedUnderWay,
    Reset,
}

#[test]
fn slots_come_back_however_a_message_ends() {
    const SLOTS: u32 = 4;
    let size = ArenaSize { header_slots: SLOTS, small_bytes: 1 << 16, paged_bytes: 4 << 20, leases_max: 64 };
    let policy = always();
    let Some(ring) = local(&policy) else { return };
    let arena = Arena::map(size).expect("a few megabytes can be mapped");
    let mut sender = Sender::new(ring, arena, policy).expect("a page can be mapped");
    // twice, so that what one leaves is seen by all the others
    let ends = [End::Whole, End::Withdrawn, End::Aborted, End::AbortedUnderWay, End::Reset];
    for (round, end) in ends.into_iter().chain(ends).enumerate() {
        let (near, far) = workload::tcp("127.0.0.1");
        held::set(near.as_fd(), libc::SO_SNDBUF, 30_000);
        let key = sender.add(near).expect("it is a socket");
        let shape = Shape { header: HEADER, payload: 100_000, memory: 5 };
        let (mut book, mut tickets) = (Book::default(), Vec::new());
        let add = |sender: &mut Sender<LocalRing>, book: &mut Book, number| {
            workload::try_queue(sender, key, (round as u32, number), shape, book)
        };
        // the first needs none
        for number in 0..=u64::from(SLOTS) {
            let ticket = add(&mut sender, &mut book, number);
            tickets.push(ticket.unwrap_or_else(|why| panic!("{end:?}, round {round}: {why}")));
        }
        assert_eq!(add(&mut sender, &mut book, 9).err(), Some(Refusal::Full), "all slots are taken");
        match end {
            End::Whole => {
                let peer = workload::stream_peer(far, round as u32, vec![shape; tickets.len()]);
                workload::settle(&mut sender, &mut book);
                assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
                drop(sender.remove(key).expect("nothing is under way"));
                peer.join().expect("every byte is right");
                continue;
            }
            End::Withdrawn => {
                let withdraw = |sender: &mut Sender<LocalRing>, ticket| {
                    assert_eq!(sender.withdraw(ticket).map(|payloads| payloads.len()), Some(1));
                };
                // also behind one that is still queued
                let first = tickets.remove(0);
                tickets.into_iter().for_each(|ticket| withdraw(&mut sender, ticket));
                let again = add(&mut sender, &mut book, 9).expect("its slot is there again");
                withdraw(&mut sender, first);
                withdraw(&mut sender, again);
            }
            End::Aborted => sender.abort(key),
            End::AbortedUnderWay => {
                sender.flush().expect("the ring is there");
                sender.abort(key);
                held::set_linger(far.as_fd());
            }
            End::Reset => {
                sender.flush().expect("the ring is there");
                held::set_linger(far.as_fd());
            }
        }
        drop(far);
        workload::settle(&mut sender, &mut book);
        // what fits the peer's buffer may be whole
        let not_whole = book.ended.values().filter(|outcome| **outcome != Outcome::Whole).count();
        assert!(not_whole > 0 || matches!(end, End::Withdrawn), "{end:?}: {:?}", book.ended);
        drop(sender.remove(key).expect("nothing is under way"));
    }
    assert_eq!((sender.counters().lent_bytes, sender.counters().strays), (0, 0));
    assert!(sender.close().unfinished.is_empty());
}
