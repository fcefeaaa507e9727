//! The mixed vectored send as a library: headers are copied, payloads are lent, registered memory is used
//! where it is, and each message has one end.
//!
//! A server leases memory, fills it, and sends it behind a header. Everything queued on one socket goes to
//! the kernel as one request. A message ends when the kernel has taken it; its memory comes back when the
//! kernel has let go of it, which on a network is when the peer has acknowledged it.
//!
//! ```no_run
//! use std::net::TcpStream;
//! use std::os::fd::OwnedFd;
//! use uringspec_real::mixed::{Arena, ArenaSize, Event, LocalRing, Policy, Sender};
//!
//! let policy = Policy::default();
//! let ring = LocalRing::new(256, 1024)?;
//! let mut sender = Sender::new(ring, Arena::map(ArenaSize::default())?, policy)?;
//! let peer = sender.add(OwnedFd::from(TcpStream::connect("127.0.0.1:7000")?))?;
//!
//! let mut payload = sender.lease(100_000).expect("nothing is leased yet");
//! payload.fill(7);
//! let ticket = sender.send(peer, b"100000 bytes follow:", payload).expect("nothing is queued yet");
//! while sender.owed() > 0 || sender.has_work() {
//!     sender.turn(1)?;
//!     while let Some(event) = sender.next_event() {
//!         match event {
//!             Event::Ended(ended, outcome) => println!("{} {outcome:?}", ended == ticket),
//!             Event::Released(_, payload) => drop(payload), // leased again from now on
//!             Event::Overdue(_) => {}
//!         }
//!     }
//! }
//! # std::io::Result::Ok(())
//! ```
//!
//! * `arena` leases memory, `payload` is what can be lent;
//! * `message` writes a message, `sender` is what a caller calls, `policy` its choices as data, `outcome`
//!   what it tells, `events` what of it was not taken yet;
//! * `connection` knows the messages of one socket (`queue`, `record`) and `piece` what they are made of,
//!   `release` gives their memory back, `batch` says which of them go together (`fresh` at once, where it is
//!   all), `ways` how, `requests` what is with the kernel; `flush` hands over, `completions` takes results,
//!   `ending` gives up;
//! * `kernel` is what it needs of a kernel: `own_ring` is one, `guest` a ring of the caller's, `simulated` the
//!   model, with trouble on demand, `recorded` any of them, written down (`translation` gives what is sent
//!   addresses of its own);
//! * `tokio` (with the feature of that name) lets tasks await their sends;
//! * `memory` and `returns` are what the rest stands on.

mod arena;
mod batch;
mod completions;
mod connection;
mod encoded;
mod ending;
mod events;
mod flush;
mod fresh;
mod guest;
mod kernel;
mod memory;
mod message;
mod outcome;
mod own_ring;
mod payload;
mod piece;
mod policy;
mod queue;
mod record;
mod recorded;
mod release;
mod requests;
#[doc(hidden)]
pub mod returns;
mod sender;
mod simulated;
#[cfg(feature = "tokio")]
pub mod tokio;
mod translation;
mod ways;

pub use arena::{Arena, ArenaSize, Lease, SLOT_BYTES, Shared};
pub use ending::Closed;
pub use guest::Guest;
pub use kernel::{Kernel, SocketTraits};
pub use message::Message;
pub use outcome::{Counters, Event, Outcome, Refusal, Refused, SocketKey, Ticket};
pub use own_ring::{LocalRing, OwnRing};
pub use payload::Payload;
pub use policy::{CopiedPolicy, Policy, Thresholds};
pub use recorded::{Recorded, Recording};
pub use sender::Sender;
pub use simulated::{Outside, Simulated, SimulatedSocket, Simulation, Trouble};
pub use ways::lowerings;
