//! Programs leave nothing behind.

pub(crate) const TESTS: &[(&str, fn())] = &[];
