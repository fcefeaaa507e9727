//! The mixed send on the model: every small one, lowered in every way, keeps its contract.

mod flush;
mod heard;
mod proof;
mod space;
mod wrong;
