//! Runs programs on the real kernel.
