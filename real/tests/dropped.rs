//! Senders that are dropped while the kernel is at work: what it took arrives as it was lent, though everybody
//! writes over memory that is free; nothing stays mapped but what must, and no descriptor stays open.
//!
//! A process of its own, so that its descriptors and mappings are counted alone.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use uringspec_model::choices::{Choices, Seeded};
use uringspec_real::mixed::{
    Arena, ArenaSize, Event, Kernel, Lease, LocalRing, Outcome, OwnRing, Payload, Policy, Sender, SocketKey,
    Thresholds, Ticket,
};

const SIZE: ArenaSize =
    ArenaSize { header_slots: 256, small_bytes: 1 << 16, paged_bytes: 4 << 20, leases_max: 256 };
const CONNECTIONS: usize = 3;
const PAYLOADS: [usize; 5] = [10, 3000, 4096, 60_000, 200_000];

fn byte(stream: usize, offset: usize) -> u8 {
    ((stream * 0x1_0001 + offset).wrapping_mul(0x9e37_79b9) >> 13) as u8
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    (near, listener.accept().expect("somebody connects").0)
}

/// Queues messages on all streams, and hands over now and then: where each ends in its stream.
fn load<K: Kernel>(
    sender: &mut Sender<K>,
    keys: &[SocketKey],
    choices: &mut Seeded,
) -> HashMap<Ticket, (usize, usize)> {
    let mut ends = HashMap::new();
    let mut queued = vec![0; keys.len()];
    for _ in 0..5 + choices.pick(30) {
        let stream = choices.pick(keys.len());
        let (start, len) = (queued[stream], PAYLOADS[choices.pick(PAYLOADS.len())]);
        let bytes = |from: usize, len: usize| (from..from + len).map(move |offset| byte(stream, offset));
        let header: Vec<u8> = bytes(start, 24).collect();
        let data: Vec<u8> = bytes(start + 24, len).collect();
        let payload: Option<Payload> = match choices.pick(4) {
            0 => Some(data.into()),
            1 => sender.lease_behind(24, len).map(|mut lease| {
                lease.copy_from_slice(&data);
                lease.into()
            }),
            _ => sender.lease(len).map(|mut lease| {
                lease.copy_from_slice(&data);
                lease.into()
            }),
        };
        let Some(payload) = payload else { continue };
        if let Ok(ticket) = sender.send(keys[stream], &header, payload) {
            queued[stream] += 24 + len;
            ends.insert(ticket, (stream, queued[stream]));
        }
        if choices.pick(3) == 0 {
            sender.flush().expect("the ring is there");
        }
    }
    ends
}

/// Writes over all that an allocator would give out, in the heap and in mappings of an arena's size.
fn scribble() -> Vec<Lease> {
    let heap: Vec<Vec<u8>> = PAYLOADS.iter().flat_map(|len| vec![vec![0xee; *len]; 20]).collect();
    std::hint::black_box(&heap);
    let mut leases = Vec::new();
    for _ in 0..3 {
        let mut arena = Arena::map(SIZE).expect("a few megabytes can be mapped");
        while let Some(mut lease) = arena.lease(1 << 18) {
            lease.fill(0xee);
            leases.push(lease);
        }
    }
    leases
}

/// One sender that is dropped; what its peers read.
fn drop_under_load<K>(ring: K, seed: u64)
where
    K: Kernel<Socket = OwnedFd>,
{
    let mut choices = Seeded::new(seed);
    let always = || Thresholds::always();
    let policy = Policy { fixed: always(), plain: always(), requests_max: 64, ..Policy::default() };
    let mut sender =
        Sender::new(ring, Arena::map(SIZE).expect("it can be mapped"), policy).expect("a page is there");
    let (mut keys, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let (near, far) = tcp();
        keys.push(sender.add(near.into()).expect("it is a socket"));
        peers.push(far);
    }
    let ends = load(&mut sender, &keys, &mut choices);
    let mut events: Vec<Event> = std::iter::from_fn(|| sender.next_event()).collect();
    match choices.pick(3) {
        0 => drop(sender),
        1 => {
            let closed = sender.close();
            let of_none = closed.unfinished.is_empty() && closed.lent_bytes > 0;
            assert!(!of_none, "{} bytes are lent, and for no message", closed.lent_bytes);
            events.extend(closed.events);
        }
        _ => {
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _sender = sender;
                std::panic::resume_unwind(Box::new("under load"));
            }));
            assert!(dropped.is_err());
        }
    }
    let scribbled = scribble();
    // up to where messages ended whole everything must arrive, and nothing behind the last one
    let (mut least, mut most) = ([0; CONNECTIONS], [0; CONNECTIONS]);
    for (stream, end) in ends.values() {
        most[*stream] = most[*stream].max(*end);
    }
    for event in events {
        if let Event::Ended(ticket, Outcome::Whole) = event {
            let (stream, end) = ends[&ticket];
            least[stream] = least[stream].max(end);
        }
    }
    for (stream, mut peer) in peers.into_iter().enumerate() {
        let mut got = Vec::new();
        match peer.read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        let within = (least[stream]..=most[stream]).contains(&got.len());
        assert!(within, "seed {seed}: {} of {} to {} bytes", got.len(), least[stream], most[stream]);
        let wrong = got.iter().enumerate().find(|(offset, got)| **got != byte(stream, *offset));
        assert_eq!(wrong, None, "seed {seed}, stream {stream}: what arrives is what was lent");
    }
    drop(scribbled);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a process sees its descriptors").count()
}

/// Bytes that are mapped with access, of mappings that are as large as an arena.
fn arenas_mapped() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a process sees its mappings");
    let is_arena = |line: &&str| {
        let (range, rest) = line.split_once(' ').expect("a range, and more");
        let (from, to) = range.split_once('-').expect("from and to");
        let number = |text| usize::from_str_radix(text, 16).expect("a number");
        rest.starts_with('r') && number(to) - number(from) >= SIZE.total_bytes()
    };
    maps.lines().filter(is_arena).count()
}

#[test]
fn what_is_lent_stays_as_it_is_when_a_sender_is_dropped() {
    if let Err(skip) = uringspec_real::probe() {
        return eprintln!("skipped: {skip}");
    }
    let ring = || -> io::Result<LocalRing> { LocalRing::new(32, 64) };
    drop_under_load(ring().expect("it was probed"), 0);
    let (open, mapped) = (descriptors(), arenas_mapped());
    for seed in 1..40 {
        drop_under_load(ring().expect("it was probed"), seed);
        drop_under_load(OwnRing::new(32, 64).expect("it was probed"), seed);
    }
    assert_eq!(descriptors(), open, "no descriptor is left open");
    assert!(arenas_mapped() <= mapped, "no arena is left mapped");
}
