//! The caller's own memory cannot be freed or grown while it is lent.
use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let mut own = vec![0; 100];
    let _ = sender.send(peer, b"header", own);
    own.reserve(1000);
    drop(own);
}

fn main() {}
