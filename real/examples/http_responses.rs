//! Responses as a web server writes them: a head that is made for each, and one body that all are lent.
//!
//! `cargo run --release -p uringspec-real --example http_responses [REQUESTS]`

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use uringspec_real::mixed::{Arena, ArenaSize, Event, LocalRing, Outcome, Policy, Sender, Shared};

const BODY_BYTES: usize = 100_000;

fn body_byte(offset: usize) -> u8 {
    b"0123456789abcdef"[offset % 16]
}

/// Asks once, and checks the response.
fn ask(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"GET /body HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.ends_with("\r\n\r\n") {
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(line.starts_with("HTTP/1.1 200 OK\r\n"), "{line}");
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    assert!(body.len() == BODY_BYTES && (0..).zip(&body).all(|(i, byte)| *byte == body_byte(i)));
    Ok(())
}

/// Reads a request up to its empty line.
fn read_request(stream: &TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
    Ok(request)
}

/// Answers one request: the head is copied, the body is lent.
fn answer(sender: &mut Sender<LocalRing>, stream: TcpStream, body: &Shared) -> io::Result<()> {
    let request = read_request(&stream)?;
    let found = request.starts_with("GET /body ");
    let (status, length) = if found { ("200 OK", body.len()) } else { ("404 Not Found", 0) };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let key = sender.add(stream.into())?;
    let message = sender.message(key).copy(head.as_bytes());
    let message = if found { message.lend(body.clone()) } else { message };
    message.queue().map_err(|refused| io::Error::other(refused.why))?;
    Ok(())
}

fn main() -> io::Result<()> {
    let requests = std::env::args().nth(1).map_or(50, |n| n.parse().expect("a number is expected"));
    let policy = Policy::default();
    let ring = LocalRing::new(64, policy.requests_max as u32)?;
    let mut sender = Sender::new(ring, Arena::map(ArenaSize::default())?, policy)?;

    let mut body = sender.lease(BODY_BYTES).expect("nothing else is leased");
    (0..).zip(body.iter_mut()).for_each(|(i, byte)| *byte = body_byte(i));
    let body = body.share();

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = listener.local_addr()?;
    let client = thread::spawn(move || (0..requests).try_for_each(|_| ask(server)));
    for _ in 0..requests {
        answer(&mut sender, listener.accept()?.0, &body)?;
        while sender.owed() > 0 || sender.has_work() {
            sender.turn(1)?;
            while let Some(event) = sender.next_event() {
                if let Event::Ended(ticket, outcome) = event {
                    assert_eq!(outcome, Outcome::Whole);
                    // closed when its last byte was taken; what is lent comes back all the same
                    drop(sender.remove(ticket.socket));
                }
            }
        }
    }
    client.join().expect("every byte is right")?;
    let counters = sender.counters();
    println!(
        "{requests} responses, {} bytes, of which {} were heads",
        counters.sent_bytes, counters.staged_bytes
    );
    Ok(())
}
