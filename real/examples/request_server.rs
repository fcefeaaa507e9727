//! A server of many clients: messages of a 24-byte header, some with a payload of up to 512 KB. Headers are
//! copied, payloads are lent, and each client checks every byte.
//!
//! `cargo run --release -p uringspec-real --example request_server [CLIENTS [MESSAGES]]`

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;

use uringspec_real::mixed::{
    Arena, ArenaSize, Event, LocalRing, Outcome, Policy, Refusal, Sender, SocketKey,
};

const HEADER_BYTES: usize = 24;

/// The payload of a client's message: none for most, long ones now and then.
fn payload_bytes(client: u64, number: u64) -> usize {
    match (client * 7 + number * 13) % 16 {
        0 => 512 << 10,
        1 => 64 << 10,
        2..=4 => 4096,
        5..=6 => 300,
        _ => 0,
    }
}

fn payload_byte(client: u64, number: u64, offset: usize) -> u8 {
    (client * 31 + number * 17 + offset as u64 * 5) as u8
}

fn header(client: u64, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&client.to_le_bytes());
    header[8..16].copy_from_slice(&number.to_le_bytes());
    header[16..].copy_from_slice(&(payload_bytes(client, number) as u64).to_le_bytes());
    header
}

/// Reads all messages of a client and checks them: how many bytes that were.
fn client(mut stream: TcpStream, client: u64, messages: u64) -> io::Result<u64> {
    let (mut head, mut data, mut total) = ([0; HEADER_BYTES], vec![0; 512 << 10], 0);
    for number in 0..messages {
        stream.read_exact(&mut head)?;
        assert_eq!(head, header(client, number), "client {client} reads message {number}");
        let data = &mut data[..payload_bytes(client, number)];
        stream.read_exact(data)?;
        let right = |(offset, byte): (usize, &u8)| *byte == payload_byte(client, number, offset);
        assert!(data.iter().enumerate().all(right), "client {client}, payload of message {number}");
        total += (HEADER_BYTES + data.len()) as u64;
    }
    Ok(total)
}

/// Queues one message; false while there is no room for it.
fn queue(sender: &mut Sender<LocalRing>, key: SocketKey, client: u64, number: u64) -> io::Result<bool> {
    let header = header(client, number);
    let len = payload_bytes(client, number);
    let queued = if len == 0 {
        sender.message(key).copy(&header).queue()
    } else {
        let Some(mut payload) = sender.lease(len) else { return Ok(false) };
        for (offset, byte) in payload.iter_mut().enumerate() {
            *byte = payload_byte(client, number, offset);
        }
        sender.send(key, &header, payload)
    };
    match queued {
        Ok(_) => Ok(true),
        Err(refused) if refused.why == Refusal::Full => Ok(false),
        Err(refused) => Err(io::Error::other(refused.why)),
    }
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|n| n.parse::<u64>().expect("numbers are expected"));
    let clients = arguments.next().unwrap_or(16);
    let messages = arguments.next().unwrap_or(200);

    let policy = Policy::default();
    let ring = LocalRing::new(256, policy.requests_max as u32)?;
    let size = ArenaSize { paged_bytes: 64 << 20, ..ArenaSize::default() };
    let mut sender = Sender::new(ring, Arena::map(size)?, policy)?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut readers, mut keys) = (Vec::new(), Vec::new());
    for id in 0..clients {
        let stream = TcpStream::connect(listener.local_addr()?)?;
        readers.push(thread::spawn(move || client(stream, id, messages)));
        keys.push(sender.add(listener.accept()?.0.into())?);
    }

    let (mut next, mut whole) = (vec![0; keys.len()], 0);
    while whole < clients * messages {
        for (client, key) in keys.iter().enumerate() {
            // a few at a time: what is queued on a socket goes as one request
            for _ in 0..8 {
                if next[client] == messages || !queue(&mut sender, *key, client as u64, next[client])? {
                    break;
                }
                next[client] += 1;
            }
        }
        sender.turn(1)?;
        while let Some(event) = sender.next_event() {
            match event {
                Event::Ended(_, Outcome::Whole) => whole += 1,
                Event::Ended(ticket, outcome) => panic!("{ticket:?} ended {outcome:?}"),
                // dropped, the lease goes back to the arena
                Event::Released(..) | Event::Overdue(_) => {}
            }
        }
    }
    let mut read = 0;
    for reader in readers {
        read += reader.join().expect("every byte is right")?;
    }
    let counters = sender.counters();
    assert_eq!(read, counters.sent_bytes);
    println!("{clients} clients read {read} bytes in {whole} messages, and every byte is right");
    println!(
        "{} messages a request, {} calls, {} of {} requests from registered memory, {} of {} notifications COPIED",
        counters.gathered / (counters.copy_requests + counters.zero_copy_requests).max(1),
        counters.enters,
        counters.fixed_requests,
        counters.copy_requests + counters.zero_copy_requests,
        counters.copied_notifications,
        counters.notifications,
    );
    Ok(())
}
