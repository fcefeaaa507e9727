//! What somebody else may free cannot be lent.
use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let own = [0; 100];
    let _ = sender.send(peer, b"header", &own[..]);
}

fn main() {}
