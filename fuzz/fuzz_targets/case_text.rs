//! Any bytes are a case or a clear error, and what is a case is printed back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::case::parse;
use uringspec::case::print::print;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(case) = parse("fuzzed.case", text) {
        let printed = print(&case);
        let again = parse("printed.case", &printed).expect("what was printed is read");
        assert_eq!(print(&again), printed);
    }
});
