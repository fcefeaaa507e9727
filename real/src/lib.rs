//! Runs programs on the real kernel.
//!
//! A program runs in a worker, a process of its own, so that limits, credentials, namespaces, signals
//! and hung rings are nobody else's. What the interface carries is data: a `Program` goes in, a
//! `Trace` comes out, or a `Skip` that says why this machine cannot run it.
//!
//! * `pool`: the parent's side: `Worker`, `Pool`, `run`;
//! * `worker`: the body of a worker process, which some binary has to call;
//! * `probe`: what this kernel can do;
//! * `device` and `declared`: sends that nothing copies, through a device that drops them, and TCP
//!   connections whose peer speaks when it is told to;
//! * `mixed`: the mixed vectored send, as a library; `bench`: what it costs beside other ways;
//! * the rest is how a worker runs a program: `stage` runs one after the other, `admit` refuses what is
//!   not safe to run, `steps` takes one step after the other, `window`, `sockets`, `lanes`, `peer` and
//!   `ring` are what they act on, `tally` and `chains` know what is still owed, `runs` names the memory that received
//!   bytes came from.
//!
//! This is the only crate with unsafe code.

mod admit;
pub mod bench;
mod chains;
mod declared;
mod device;
mod lanes;
mod limits;
pub mod mixed;
mod namespace;
mod netlink;
mod packet;
mod peer;
pub mod pool;
pub mod probe;
mod raw_ring;
mod reads;
mod ring;
pub mod runs;
mod sentinel;
pub mod shared_ring;
mod skip;
mod sockets;
mod spawner;
mod stage;
mod steps;
mod sys;
mod tally;
mod tap;
mod targets;
mod window;
mod wire;
pub mod worker;

pub use admit::may_run;
pub use declared::Declared;
pub use device::Device;
pub use pool::{Options, Pool, RunError, Worker, WorkerCommand, run};
pub use probe::probe;
pub use skip::Skip;
pub use targets::Aim;
