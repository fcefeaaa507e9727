//! The parts of an `Arc` that are lent cannot be reached for writing while a copy is held.
use std::sync::Arc;

use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let own: Arc<[u8]> = Arc::from([0; 100]);
    let _ = sender.send(peer, b"header", Arc::clone(&own));
    own[0] = 1;
}

fn main() {}
