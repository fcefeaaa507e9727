//! This kernel does what the model allows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::draft::Draft;
use uringspec::fuzzed::on_kernel;

fuzz_target!(|bytes: &[u8]| on_kernel(&Draft::from_bytes(bytes).resolve()));
