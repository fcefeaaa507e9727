//! This kernel does what the model allows, with any values in the fields of entries that may be run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::fuzzed::{any_fields, on_kernel};

fuzz_target!(|bytes: &[u8]| on_kernel(&any_fields(bytes)));
