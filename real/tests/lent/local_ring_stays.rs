//! A ring of one thread stays there.
use uringspec_real::mixed::{LocalRing, Sender};

fn send(sender: Sender<LocalRing>) {
    std::thread::spawn(move || drop(sender));
}

fn main() {}
