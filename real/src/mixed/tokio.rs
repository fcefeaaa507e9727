//! A sender under tokio: sends are awaited, and nothing has a thread of its own.
//!
//! One future drives the ring (`Drive::run`): it hands over what was queued and waits for the ring's eventfd. All that other tasks queue before its turn comes goes with one call.
//!
//! ```no_run
//! use uringspec_real::mixed::tokio::Sends;
//! use uringspec_real::mixed::{Arena, ArenaSize, LocalRing, Outcome, Policy, Sender};
//!
//! # async fn serve(stream: std::net::TcpStream) -> std::io::Result<()> {
//! let sender = Sender::new(LocalRing::new(256, 1024)?, Arena::map(ArenaSize::default())?, Policy::default())?;
//! let (sends, drive) = Sends::new(sender)?;
//! tokio::task::spawn_local(drive.run());
//!
//! let peer = sends.with(|sender| sender.add(stream.into()))?;
//! let mut payload = sends.lease(100_000).await;
//! payload.fill(7);
//! let outcome = sends.send(peer, b"100000 bytes follow:", payload).await;
//! assert_eq!(outcome.expect("the connection is there"), Outcome::Whole);
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::arena::Lease;
use super::kernel::Kernel;
use super::outcome::{Event, Outcome, Refusal, Refused, SocketKey, Ticket};
use super::payload::Payload;
use super::sender::Sender;

/// A sender that many tasks use. A copy is the same one.
pub struct Sends<K: Kernel>(Arc<Shared<K>>);

/// What drives it.
#[must_use = "nothing is sent unless it runs"]
pub struct Drive<K: Kernel>(Arc<Shared<K>>);

struct Shared<K: Kernel> {
    /// What the kernel counts up when completions may be there. Nobody reads it: each time is an edge.
    signal: AsyncFd<OwnedFd>,
    inner: Mutex<Inner<K>>,
    /// Something was queued.
    queued: Notify,
    /// Memory came back, or a message ended.
    room: Notify,
}

struct Inner<K: Kernel> {
    sender: Sender<K>,
    waiting: HashMap<Ticket, Waiting>,
}

/// Who waits for the end of a message.
enum Waiting {
    For(Option<Waker>),
    Ended(Outcome),
}

/// Takes the wait for a ticket back when whoever waits is dropped; the message is sent all the same.
struct Wait<'a, K: Kernel> {
    shared: &'a Shared<K>,
    ticket: Ticket,
}

impl<K: Kernel> Drop for Wait<'_, K> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.ticket);
    }
}

impl<K: Kernel> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        // nothing in here is half done when a caller's closure panics
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kernel + AsFd> Sends<K> {
    /// Makes a sender one that tasks of this runtime use, and what drives it.
    pub fn new(sender: Sender<K>) -> io::Result<(Sends<K>, Drive<K>)> {
        // SAFETY: the call makes a descriptor and touches no memory.
        let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and is nobody else's.
        let made = unsafe { OwnedFd::from_raw_fd(made) };
        sender.signal(made.as_fd())?;
        // SAFETY: an `OwnedFd` names the same open descriptor as long as it lives, and it lives in the `AsyncFd`.
        let signal = unsafe { AsyncFd::register_with_interest(made, Interest::READABLE) }?;
        let inner = Mutex::new(Inner { sender, waiting: HashMap::new() });
        let shared = Arc::new(Shared { signal, inner, queued: Notify::new(), room: Notify::new() });
        Ok((Sends(Arc::clone(&shared)), Drive(shared)))
    }

    /// Sends a header, which is copied, and a payload, which is lent until the kernel has let go of it and then
    /// dropped: how that ended. Waits while too much is queued or lent.
    ///
    /// Whoever does not wait for the end does not take the message back.
    pub async fn send(
        &self,
        key: SocketKey,
        header: &[u8],
        payload: impl Into<Payload>,
    ) -> Result<Outcome, Refused> {
        let mut payload = payload.into();
        let ticket = loop {
            // before it is tried, so that nothing that comes back meanwhile is missed
            let room = self.0.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.queue(key, header, payload) {
                Ok(ticket) => break ticket,
                Err(mut refused) if refused.why == Refusal::Full => match refused.payloads.pop() {
                    Some(back) => payload = back,
                    None => return Err(refused),
                },
                Err(refused) => return Err(refused),
            }
            room.await;
        };
        Ok(self.ended(ticket).await)
    }

    fn queue(&self, key: SocketKey, header: &[u8], payload: Payload) -> Result<Ticket, Refused> {
        let mut inner = self.0.lock();
        let ticket = inner.sender.send(key, header, payload)?;
        inner.waiting.insert(ticket, Waiting::For(None));
        self.0.queued.notify_one();
        Ok(ticket)
    }

    async fn ended(&self, ticket: Ticket) -> Outcome {
        let wait = Wait { shared: &self.0, ticket };
        poll_fn(|context| {
            let mut inner = wait.shared.lock();
            match inner.waiting.get_mut(&ticket) {
                Some(Waiting::Ended(outcome)) => Poll::Ready(*outcome),
                Some(Waiting::For(waker)) => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(Outcome::Lost),
            }
        })
        .await
    }

    /// Leases memory of the sender's arena, once there is room.
    pub async fn lease(&self, len_bytes: usize) -> Lease {
        loop {
            let room = self.0.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(lease) = self.0.lock().sender.lease(len_bytes) {
                return lease;
            }
            room.await;
        }
    }

    /// The sender itself: to add sockets, give them up, tell the time or read counters. Its events are taken
    /// by what drives it.
    pub fn with<T>(&self, then: impl FnOnce(&mut Sender<K>) -> T) -> T {
        let result = then(&mut self.0.lock().sender);
        self.0.queued.notify_one();
        result
    }
}

impl<K: Kernel + AsFd> Drive<K> {
    /// Hands over and takes completions, for as long as anybody may send. An error says that the ring is
    /// gone; every message has ended then.
    pub async fn run(self) -> io::Result<()> {
        loop {
            let (turned, owed) = {
                let mut inner = self.0.lock();
                let turned = inner.sender.turn(0);
                inner.deliver();
                (turned, inner.sender.owed())
            };
            self.0.room.notify_waiters();
            turned?;
            if owed == 0 && Arc::strong_count(&self.0) == 1 {
                return Ok(());
            }
            tokio::select! {
                guard = self.0.signal.readable(), if owed > 0 => guard?.clear_ready(),
                () = self.0.queued.notified() => {}
            }
        }
    }
}

impl<K: Kernel> Inner<K> {
    /// Hands events to those who wait for them. What was lent is dropped: a lease is leased again.
    fn deliver(&mut self) {
        while let Some(event) = self.sender.next_event() {
            let Event::Ended(ticket, outcome) = event else { continue };
            let Some(waiting) = self.waiting.get_mut(&ticket) else { continue };
            if let Waiting::For(Some(waker)) = std::mem::replace(waiting, Waiting::Ended(outcome)) {
                waker.wake();
            }
        }
    }
}

impl<K: Kernel> Clone for Sends<K> {
    fn clone(&self) -> Sends<K> {
        Sends(Arc::clone(&self.0))
    }
}

impl<K: Kernel> Drop for Sends<K> {
    fn drop(&mut self) {
        // what drives the ring ends when nobody is left
        self.0.queued.notify_one();
    }
}
