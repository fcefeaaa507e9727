//! No borrow of a lease outlives its being sent.
use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let mut lease = sender.lease(100).expect("there is room");
    let first = &mut lease[0];
    let _ = sender.send(peer, b"header", lease);
    *first = 1;
}

fn main() {}
