//! A reference model of io_uring sends and zero-copy notifications.
//!
//! It says what the Linux kernel may do with the sends that a program submits: which completions
//! come, in which order, with which results, and when memory is the caller's again. It does no I/O,
//! has no clock and draws no random numbers; what the kernel may choose is a `Decision`, and who
//! takes it is given from outside.
//!
//! A tour, in the order of reading:
//!
//! * `program` and `trace`: what a user does and what was seen, as plain data;
//! * `request` and `notice`: the two lives of a send, each a small machine;
//! * `rules` and `deviation`: every promise, in one sentence with its source, and where kernels are
//!   known to break one;
//! * `world`: one possible state of the kernel. `begin` does what a step does for certain, `after`
//!   takes one decision or names the rule it breaks;
//! * `simulate` and `check`: the drivers. One lets `choices` decide and writes a trace, the other
//!   reads the decisions from a trace and keeps a `frontier` of the worlds that explain it;
//! * `live`: the model as a kernel that is asked step by step, to test a runtime on;
//! * `account`: the same judgement, observation by observation, with what is open in the end.
//!
//! ```
//! use uringspec_model::check::check;
//! use uringspec_model::choices::Seeded;
//! use uringspec_model::profile::Profile;
//! use uringspec_model::program::Program;
//! use uringspec_model::simulate::simulate;
//!
//! let program = Program::default();
//! let kernel = Profile::v6_18();
//! let trace = simulate(&program, &kernel, &mut Seeded::new(1));
//! assert!(check(&program, &kernel, &trace).is_accepted());
//! ```

pub mod abi;
pub mod account;
pub mod buffers;
pub mod check;
pub mod choices;
pub mod cqe;
pub mod deviation;
pub mod enter;
pub mod fragments;
pub mod frontier;
pub mod kernels;
pub mod live;
pub mod may;
pub mod memory;
pub mod mixed;
pub mod mutation;
pub mod net;
pub mod notice;
pub mod prepare;
pub mod profile;
pub mod program;
mod received;
pub mod request;
pub mod rules;
mod setup;
pub mod simulate;
pub mod space;
pub mod sqe;
pub mod trace;
pub mod verdict;
mod walk;
pub mod words;
pub mod world;
