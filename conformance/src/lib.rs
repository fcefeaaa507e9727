//! Cases about sends, judged on the model and on the kernel side by side.
//!
//! A `case` is text; lowered, it is a program and a list of what may be seen. `side_by_side` runs
//! the program on both sides, `expect` compares what was seen with the list, `report` prints what
//! went wrong. The command in `main.rs` is the way in from outside.

#![forbid(unsafe_code)]

pub mod allowed;
pub mod bench;
pub mod campaign;
pub mod case;
pub mod catalog;
pub mod cli;
pub mod commands;
pub mod draft;
pub mod expect;
pub mod explain;
pub mod export;
pub mod fields;
pub mod fuzzed;
pub mod given;
pub mod keep;
pub mod kernel;
pub mod log;
pub mod marks;
pub mod mixed;
pub mod outcome;
pub mod output;
pub mod repeat;
pub mod report;
pub mod shrink;
pub mod side_by_side;
pub mod sightings;
pub mod simulated;
pub mod token;
pub mod words;
