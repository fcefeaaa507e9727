//! A server under tokio, on one thread: each connection is a task that awaits its sends, and one task drives the
//! ring for all of them. Clients check every byte.
//!
//! `cargo run --release -p uringspec-real --example tokio_server [CLIENTS [MESSAGES]]`

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use uringspec_real::mixed::tokio::Sends;
use uringspec_real::mixed::{Arena, ArenaSize, LocalRing, Outcome, Policy, Sender};

const HEADER_BYTES: usize = 16;

fn payload_bytes(client: u64, number: u64) -> usize {
    [100, 20_000, 1, 300_000, 4096][((client * 3 + number) % 5) as usize]
}

fn payload_byte(client: u64, number: u64, offset: usize) -> u8 {
    (client * 31 + number * 17 + offset as u64 * 5) as u8
}

fn header(client: u64, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&client.to_le_bytes());
    header[8..].copy_from_slice(&number.to_le_bytes());
    header
}

/// Asks for messages by saying who it is, and checks each of them.
async fn client(server: std::net::SocketAddr, client: u64, messages: u64) -> io::Result<u64> {
    let mut stream = TcpStream::connect(server).await?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &client.to_le_bytes()).await?;
    let (mut head, mut data, mut total) = ([0; HEADER_BYTES], Vec::new(), 0);
    for number in 0..messages {
        stream.read_exact(&mut head).await?;
        assert_eq!(head, header(client, number), "client {client} reads message {number}");
        data.resize(payload_bytes(client, number), 0);
        stream.read_exact(&mut data).await?;
        let right = |(offset, byte): (usize, &u8)| *byte == payload_byte(client, number, offset);
        assert!(data.iter().enumerate().all(right), "client {client}, payload of message {number}");
        total += (HEADER_BYTES + data.len()) as u64;
    }
    assert_eq!(stream.read(&mut head).await?, 0, "nothing comes behind the last message");
    Ok(total)
}

/// Answers one client. Its messages go in order: each is awaited before the next.
async fn serve(sends: Sends<LocalRing>, mut stream: TcpStream, messages: u64) -> io::Result<()> {
    let id = stream.read_u64_le().await?;
    let key = sends.with(|sender| sender.add(OwnedFd::from(stream.into_std()?)))?;
    for number in 0..messages {
        let mut payload = sends.lease(payload_bytes(id, number)).await;
        for (offset, byte) in payload.iter_mut().enumerate() {
            *byte = payload_byte(id, number, offset);
        }
        match sends.send(key, &header(id, number), payload).await {
            Ok(Outcome::Whole) => {}
            Ok(outcome) => return Err(io::Error::other(format!("message {number} ended {outcome:?}"))),
            Err(refused) => return Err(io::Error::other(refused.why)),
        }
    }
    drop(sends.with(|sender| sender.remove(key)));
    Ok(())
}

async fn run(clients: u64, messages: u64) -> io::Result<()> {
    let policy = Policy::default();
    let ring = LocalRing::new(64, policy.requests_max as u32)?;
    let (sends, drive) = Sends::new(Sender::new(ring, Arena::map(ArenaSize::default())?, policy)?)?;
    let driven = spawn_local(drive.run());

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (mut readers, mut servers) = (JoinSet::new(), JoinSet::new());
    for id in 0..clients {
        readers.spawn_local(client(listener.local_addr()?, id, messages));
    }
    for _ in 0..clients {
        servers.spawn_local(serve(sends.clone(), listener.accept().await?.0, messages));
    }
    while let Some(served) = servers.join_next().await {
        served??;
    }
    let mut read = 0;
    while let Some(reader) = readers.join_next().await {
        read += reader??;
    }
    let counters = sends.with(|sender| sender.counters());
    assert_eq!(read, counters.sent_bytes);
    drop(sends);
    driven.await??;
    println!("{clients} clients read {read} bytes in {} messages, and every byte is right", counters.whole);
    Ok(())
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|n| n.parse::<u64>().expect("numbers are expected"));
    let clients = arguments.next().unwrap_or(16);
    let messages = arguments.next().unwrap_or(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(LocalSet::new().run_until(run(clients, messages)))
}
