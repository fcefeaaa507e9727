//! A lease that was sent is not there to be written.
use uringspec_real::mixed::{LocalRing, Sender, SocketKey};

fn send(sender: &mut Sender<LocalRing>, peer: SocketKey) {
    let mut lease = sender.lease(100).expect("there is room");
    let _ = sender.send(peer, b"header", lease);
    lease[0] = 1;
}

fn main() {}
