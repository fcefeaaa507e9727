//! A reference model of io_uring sends and zero-copy notifications.

pub mod abi;
pub mod check;
pub mod choices;
pub mod cqe;
pub mod deviation;
pub mod memory;
pub mod net;
pub mod profile;
pub mod program;
pub mod rules;
pub mod simulate;
pub mod sqe;
pub mod trace;
pub mod verdict;
