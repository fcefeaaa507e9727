//! The committed corpora of the fuzz targets, without a fuzzer: what was found once stays found.

use std::fs;
use std::path::Path;

use uringspec::case::parse;
use uringspec::draft::Draft;
use uringspec::fuzzed::{any_fields, mixed_on_kernel, mixed_on_models, on_kernel, on_log, on_model, seed_of};
use uringspec::mixed::draft::MixedDraft;

/// Runs `target` on each file of its corpus.
#[track_caller]
fn check(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let entries = fs::read_dir(folder).expect("every target has a corpus");
    let files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    assert!(files.len() >= 8, "{name} has {} files", files.len());
    files.iter().for_each(|file| target(&fs::read(file).expect("files can be read")));
}

#[test]
fn cases() {
    check("case_text", |bytes| {
        let text = std::str::from_utf8(bytes).expect("cases are text");
        parse("corpus", text).unwrap_or_else(|error| panic!("{}", error.page(false)));
    });
}

#[test]
fn logs() {
    check("log", on_log);
}

#[test]
fn simulations() {
    check("simulate_check", |bytes| on_model(&Draft::from_bytes(bytes).resolve(), seed_of(bytes)));
    check("checker", |bytes| on_model(&Draft::from_bytes(bytes).resolve(), seed_of(bytes)));
}

#[test]
fn programs_on_the_kernel() {
    check("side_by_side", |bytes| on_kernel(&Draft::from_bytes(bytes).resolve()));
    check("sqe_fields", |bytes| on_kernel(&any_fields(bytes)));
}

#[test]
fn mixed_sends() {
    check("mixed", |bytes| {
        let meant = MixedDraft::of_bytes(bytes).resolve();
        mixed_on_models(&meant, seed_of(bytes));
        mixed_on_kernel(&meant);
    });
}
