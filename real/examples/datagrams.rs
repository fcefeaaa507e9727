//! Packets as a relay sends them: a header of its own for each receiver, and one payload that all are lent.
//!
//! `cargo run --release -p uringspec-real --example datagrams [PACKETS]`

use std::io;
use std::net::UdpSocket;

use uringspec_real::mixed::{Arena, ArenaSize, Event, LocalRing, Outcome, Policy, Sender};

const RECEIVERS: usize = 4;
const HEADER_BYTES: usize = 12;
const PAYLOAD_BYTES: usize = 1200;

fn header(receiver: usize, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(receiver as u32).to_be_bytes());
    header[4..].copy_from_slice(&number.to_be_bytes());
    header
}

fn main() -> io::Result<()> {
    let packets = std::env::args().nth(1).map_or(500, |n| n.parse().expect("a number is expected"));
    let policy = Policy::default();
    let ring = LocalRing::new(64, policy.requests_max as u32)?;
    let mut sender = Sender::new(ring, Arena::map(ArenaSize::default())?, policy)?;

    // one socket to all receivers: each message says where it goes
    let key = sender.add(UdpSocket::bind("127.0.0.1:0")?.into())?;
    let mut receivers = Vec::new();
    for _ in 0..RECEIVERS {
        receivers.push(UdpSocket::bind("127.0.0.1:0")?);
    }

    let mut whole = 0;
    for number in 0..packets {
        let mut payload = sender.lease(PAYLOAD_BYTES).expect("leases come back");
        payload.fill(number as u8);
        let payload = payload.share();
        for (id, receiver) in receivers.iter().enumerate() {
            let message = sender.message(key).copy(&header(id, number)).lend(payload.clone());
            let queued = message.to(receiver.local_addr()?).queue();
            queued.map_err(|refused| io::Error::other(refused.why))?;
        }
        drop(payload);
        while sender.owed() > 0 || sender.has_work() {
            sender.turn(1)?;
            while let Some(event) = sender.next_event() {
                if let Event::Ended(_, outcome) = event {
                    assert_eq!(outcome, Outcome::Whole);
                    whole += 1;
                }
            }
        }
        for (id, receiver) in receivers.iter().enumerate() {
            let mut packet = [0; 2 * PAYLOAD_BYTES];
            let len = receiver.recv(&mut packet)?;
            assert_eq!(packet[..HEADER_BYTES], header(id, number));
            assert!(packet[HEADER_BYTES..len].iter().all(|byte| *byte == number as u8));
            assert_eq!(len, HEADER_BYTES + PAYLOAD_BYTES);
        }
    }
    let counters = sender.counters();
    println!(
        "{whole} packets to {RECEIVERS} receivers, {} bytes, {} calls",
        counters.sent_bytes, counters.enters
    );
    Ok(())
}
