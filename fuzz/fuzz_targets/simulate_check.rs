//! The model accepts what it does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::draft::Draft;
use uringspec::fuzzed::{on_model, seed_of};

fuzz_target!(|bytes: &[u8]| on_model(&Draft::from_bytes(bytes).resolve(), seed_of(bytes)));
