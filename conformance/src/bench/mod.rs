//! What a mixed send costs: which cells are measured, in a process for each lane, and what follows from it.
//!
//! * `order` is what such a process is told and what it tells, `plan` the cells and `schedule` their order;
//! * `judge` makes ratios and intervals of the pairs, `table` and `plot` show them.

pub mod judge;
pub mod order;
pub mod plan;
pub mod plot;
pub mod schedule;
pub mod table;
