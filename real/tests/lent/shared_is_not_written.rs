//! What is shared cannot be written, as a copy of it may be lent.
use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let mut shared = sender.lease(100).expect("there is room").share();
    let _ = sender.send(peer, b"header", shared.clone());
    shared.fill(1);
}

fn main() {}
