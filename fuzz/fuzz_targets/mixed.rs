//! Mixed sends in every lowering keep their contract: on the model, and, where `URINGSPEC` names the command,
//! on this kernel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::mixed::draft::{MixedDraft, on_the_kernel, on_the_model};

fuzz_target!(|draft: MixedDraft| {
    on_the_model(&draft);
    on_the_kernel(&draft);
});
