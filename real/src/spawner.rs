//! One thread that starts all workers.
//!
//! A worker asks to be ended with its parent, and to the kernel the parent is the thread that started it.
//! A thread that only runs some programs may be gone long before the process is; this one is not.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// A command and where its process is wanted.
type Order = (Command, Sender<io::Result<Child>>);

/// Starts a process that lives at most as long as this one.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts workers has ended");
    let (reply, answer) = mpsc::channel();
    let orders = ORDERS.get_or_init(|| Mutex::new(start()));
    // Sending cannot leave the sender half changed.
    let sender = orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
    sender.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn start() -> Sender<Order> {
    let (orders, incoming) = mpsc::channel::<Order>();
    // Without a thread nobody receives, which the first order finds out.
    let _ = thread::Builder::new().name("worker spawner".into()).spawn(move || {
        for (mut command, reply) in incoming {
            // Who ordered may have gone; then the child is dropped and ends with its input.
            let _ = reply.send(command.spawn());
        }
    });
    orders
}
