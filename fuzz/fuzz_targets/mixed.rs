//! Mixed sends in every way keep their contract, on the models of all kernels and on this kernel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::fuzzed::{mixed_on_kernel, mixed_on_models, seed_of};
use uringspec::mixed::draft::MixedDraft;

fuzz_target!(|bytes: &[u8]| {
    let meant = MixedDraft::of_bytes(bytes).resolve();
    mixed_on_models(&meant, seed_of(bytes));
    mixed_on_kernel(&meant);
});
