//! Workers that hang, die or cannot be had.

pub(crate) const TESTS: &[(&str, fn())] = &[];
