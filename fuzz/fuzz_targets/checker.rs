//! Judging never panics and never hangs, whatever a trace says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uringspec::draft::Draft;
use uringspec_model::check::check;
use uringspec_model::cqe::Cqe;
use uringspec_model::profile::Profile;
use uringspec_model::program::RingId;
use uringspec_model::trace::{Ending, RingCqe, Seen, Trace, What};

fuzz_target!(|input: (Draft, Vec<(u8, u8, u8, i32, u8)>)| {
    let (draft, lines) = input;
    let seen = lines.into_iter().map(|(step, ring, user_data, res, flags)| {
        let cqe = Cqe { user_data: user_data.into(), res, flags: flags.into() };
        let what = if flags > 200 {
            What::Returned(res.into())
        } else {
            What::Cqe(RingCqe { ring: RingId(ring), cqe })
        };
        Seen { step: step.into(), what }
    });
    let trace = Trace { seen: seen.collect(), end: Ending::Cut };
    let _ = check(&draft.resolve(), &Profile::v6_18(), &trace);
});
