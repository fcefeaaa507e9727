//! Vectored sends of the same bytes in other pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use uringspec::case::{lower, parse};
use uringspec_model::program::{Program, Step};
use uringspec_model::trace::{Run, Trace, What};

/// Bytes of the buffer.
const BUFFER: u64 = 8192;

/// The same bytes in two ways of cutting them.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    opcode: &'static str,
    /// Ranges of the buffer.
    pieces: Vec<(u64, u64)>,
    /// Where each is cut in two.
    cuts: Vec<u64>,
}

pub(crate) fn splits() -> impl Strategy<Value = Split> {
    let piece = (0..BUFFER, 0..BUFFER / 2).prop_map(|(from, len)| (from, (from + len).min(BUFFER)));
    let opcode = prop::sample::select(vec!["sendmsg", "sendmsg_zc", "writev"]);
    (opcode, vec(piece, 1..4), vec(0..BUFFER, 4)).prop_map(|(opcode, pieces, cuts)| Split {
        opcode,
        pieces,
        cuts,
    })
}

impl Split {
    /// One program with the pieces, one with each cut in two.
    pub(crate) fn programs(&self) -> Vec<Program> {
        let cut = |((from, to), cut): (&(u64, u64), &u64)| {
            let at = from + cut % (to - from + 1);
            [(*from, at), (at, *to)]
        };
        let halves: Vec<(u64, u64)> = self.pieces.iter().zip(&self.cuts).flat_map(cut).collect();
        [&self.pieces, &halves].map(|pieces| self.program(pieces)).into()
    }

    fn program(&self, pieces: &[(u64, u64)]) -> Program {
        let pieces: Vec<String> = pieces.iter().map(|(from, to)| format!("K {from}..{to}")).collect();
        let text = format!(
            "# A split.\nrings plain\nsocket A B tcp\nbuffer K {BUFFER}\nsubmit\n  #1 {} A [{}]\nsettle\n",
            self.opcode,
            pieces.join(", ")
        );
        let case = parse("split", &text).unwrap_or_else(|error| panic!("{}", error.page(false)));
        let mut lowered =
            lower("split", &text, &case).unwrap_or_else(|error| panic!("{}", error.page(false)));
        lowered.swap_remove(0).program
    }

    /// Whether the peer read the bytes of the pieces, one behind the other.
    pub(crate) fn delivered(&self, program: &Program, trace: &Trace) -> Result<(), String> {
        let region = uringspec_model::memory::RegionId(0);
        let byte = |at| program.regions[0].byte(region, Default::default(), at);
        let sent: Vec<u8> = self.pieces.iter().flat_map(|(from, to)| *from..*to).map(byte).collect();
        let runs = trace.seen.iter().filter_map(|seen| match &seen.what {
            What::Received(received) => Some(&received.runs),
            _ => None,
        });
        let bytes =
            |run: &Run| (0..run.len_bytes()).map(|at| run.byte(&program.regions, at)).collect::<Vec<_>>();
        let read: Vec<u8> = runs.flatten().flat_map(bytes).collect();
        debug_assert!(program.steps.contains(&Step::Settle));
        match sent == read {
            true => Ok(()),
            false => Err(format!("{} bytes were sent, {} were read, or others", sent.len(), read.len())),
        }
    }
}
