//! A lease has one holder: it cannot be moved out twice.
use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let lease = sender.lease(100).expect("there is room");
    let _ = sender.send(peer, b"header", lease);
    let _ = sender.send(peer, b"header", lease);
}

fn main() {}
