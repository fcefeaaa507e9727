//! Any bytes are a log or a clear error, what is a log is written back the same, and judging it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::fuzzed::on_log;

fuzz_target!(|bytes: &[u8]| on_log(bytes));
