//! Random messages, and peers that know every byte to come.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use uringspec_model::choices::{Choices, Seeded};
use uringspec_real::mixed::{Event, Kernel, Outcome, Payload, Refusal, Sender, SocketKey, Ticket};

/// The byte at `offset` of message `number` on socket `socket`.
pub(crate) fn byte(socket: u32, number: u64, offset: usize) -> u8 {
    let x = (u64::from(socket) << 40) ^ (number << 20) ^ (offset as u64);
    (x.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// All bytes of a message.
pub(crate) fn bytes(socket: u32, number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|offset| byte(socket, number, offset)).collect()
}

/// A message: a header that is copied, and a payload that is lent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) header: usize,
    pub(crate) payload: usize,
    /// Whose memory the payload is.
    pub(crate) memory: usize,
}

impl Shape {
    pub(crate) fn draw(choices: &mut Seeded, payload_max: usize) -> Shape {
        let header = [24, 24, 24, 1, 64, 65, 300][choices.pick(7)];
        let size = [0, 1, 200, 4000, 4096, 5000, 20_000, 70_000, 300_000, 524_288][choices.pick(10)];
        Shape { header, payload: size.min(payload_max), memory: choices.pick(6) }
    }

    pub(crate) fn len(&self) -> usize {
        self.header + self.payload
    }
}

/// What a run should come to.
#[derive(Default)]
pub(crate) struct Book {
    /// Socket, number and shape of what was queued.
    pub(crate) sent: BTreeMap<Ticket, (u32, u64, Shape)>,
    pub(crate) ended: BTreeMap<Ticket, Outcome>,
    pub(crate) released: BTreeMap<Ticket, usize>,
    pub(crate) overdue: Vec<SocketKey>,
}

impl Book {
    /// Takes the events that are there; each ticket ends once, and nothing is released before.
    pub(crate) fn take<K: Kernel>(&mut self, sender: &mut Sender<K>) {
        while let Some(event) = sender.next_event() {
            self.note(event);
        }
    }

    pub(crate) fn note(&mut self, event: Event) {
        match event {
            Event::Ended(ticket, outcome) => {
                assert_eq!(self.ended.insert(ticket, outcome), None, "{ticket:?} ended twice");
            }
            Event::Released(ticket, payload) => {
                assert!(self.ended.contains_key(&ticket), "{ticket:?} was released before its end");
                let (socket, number, shape) = self.sent[&ticket];
                let lent = &bytes(socket, number, shape.len())[shape.header..];
                assert!(payload.bytes() == lent, "what {ticket:?} lent comes back as it was");
                *self.released.entry(ticket).or_default() += 1;
            }
            Event::Overdue(key) => self.overdue.push(key),
        }
    }
}

/// The payload of a message, in the memory that its shape says; `None` while there is no room.
fn payload<K: Kernel>(sender: &mut Sender<K>, shape: Shape, data: &[u8]) -> Option<Payload> {
    match shape.memory {
        3 => return Some(data.to_vec().into()),
        4 => return Some(std::sync::Arc::<[u8]>::from(data).into()),
        _ => {}
    }
    let headroom = if shape.memory == 5 { shape.header } else { 0 };
    let mut lease = sender.lease_behind(headroom, data.len())?;
    lease.copy_from_slice(data);
    Some(if shape.memory == 2 { lease.share().into() } else { lease.into() })
}

/// Queues one message, if there is room.
pub(crate) fn try_queue<K: Kernel>(
    sender: &mut Sender<K>,
    key: SocketKey,
    (socket, number): (u32, u64),
    shape: Shape,
    book: &mut Book,
) -> Result<Ticket, Refusal> {
    let all = bytes(socket, number, shape.len());
    let (header, data) = all.split_at(shape.header);
    let payload = payload(sender, shape, data).ok_or(Refusal::Full)?;
    let ticket = sender.send(key, header, payload).map_err(|refused| {
        assert!(
            refused.payloads.len() == 1 && refused.payloads[0].bytes() == data,
            "what was refused comes back"
        );
        refused.why
    })?;
    book.sent.insert(ticket, (socket, number, shape));
    Ok(ticket)
}

/// Queues one message, driving the sender as long as it is full.
pub(crate) fn queue<K: Kernel>(
    sender: &mut Sender<K>,
    key: SocketKey,
    id: (u32, u64),
    shape: Shape,
    book: &mut Book,
) -> Result<Ticket, Refusal> {
    loop {
        match try_queue(sender, key, id, shape, book) {
            Err(Refusal::Full) => {}
            other => return other,
        }
        assert!(sender.owed() > 0 || sender.has_work(), "full, and nothing to wait for");
        sender.turn(1).map_err(|_| Refusal::Gone)?;
        book.take(sender);
    }
}

/// Runs until every message has ended and all memory is back.
pub(crate) fn settle<K: Kernel>(sender: &mut Sender<K>, book: &mut Book) {
    while sender.owed() > 0 || sender.has_work() {
        sender.turn(1).expect("the ring is there");
        book.take(sender);
    }
    book.take(sender);
}

/// Reads everything from a stream and compares it with the messages that were to come, in order.
pub(crate) fn stream_peer(
    mut from: impl Read + Send + 'static,
    socket: u32,
    shapes: Vec<Shape>,
) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut total = 0;
        for (number, shape) in shapes.iter().enumerate() {
            let mut got = vec![0; shape.len()];
            from.read_exact(&mut got).expect("the whole message comes");
            assert!(got == bytes(socket, number as u64, shape.len()), "message {number} of socket {socket}");
            total += got.len() as u64;
        }
        assert_eq!(
            from.read(&mut [0; 16]).expect("the stream ends"),
            0,
            "nothing comes behind the last message"
        );
        total
    })
}

/// A connection over loopback: the sending end, and the end that reads.
pub(crate) fn tcp(address: &str) -> (OwnedFd, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind((address, 0)).expect("loopback has free ports");
    let near = std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (far, _) = listener.accept().expect("somebody connects");
    (near.into(), far)
}
