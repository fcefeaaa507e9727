//! A mixed send on the command line: `copy 24, zc 65536 reg 0`.

use winnow::Result;

use super::error::{CaseError, Refusal};
use super::text::At;
use super::token::{self, Input, eat, eat_word, here, keyword, number};

/// The most segments that a kernel takes (`UIO_MAXIOV`).
const SEGMENTS_MAX: usize = 1024;
/// The largest index of a buffer that is explained; each has memory of its own.
const REGISTER_MAX: u64 = 15;
/// The most bytes of one segment.
const BYTES_MAX: u64 = 64 << 20;

/// A segment that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether it is lent.
    pub lent: bool,
    /// Bytes.
    pub bytes: u32,
    /// The registered buffer in which it lies.
    pub register: Option<u16>,
}

/// Reads segments.
pub fn parse(text: &str) -> std::result::Result<Vec<Wanted>, CaseError> {
    let whole = At { start: 0, end: text.len() };
    segments(&mut token::input(text, whole)).map_err(|refusal| refusal.of("segments", text))
}

fn segments(i: &mut Input<'_>) -> Result<Vec<Wanted>, Refusal> {
    let mut all = Vec::new();
    loop {
        let lent = keyword(i, "transfer", &[("copy", false), ("zc", true)])?;
        let bytes = number(i, "number of bytes", BYTES_MAX)? as u32;
        let register = if eat_word(i, "reg") {
            Some(number(i, "index of a buffer", REGISTER_MAX)? as u16)
        } else {
            None
        };
        all.push(Wanted { lent, bytes, register });
        let at = here(i);
        if token::at_end(i) {
            return Ok(all);
        }
        if !eat(i, ',') {
            return Err(Refusal::new(at, "the segment does not end").expecting(["reg 0", ",", "the end"]));
        }
        if all.len() == SEGMENTS_MAX {
            return Err(Refusal::new(at, "these are too many segments")
                .expecting([format!("at most {SEGMENTS_MAX}")]));
        }
    }
}
