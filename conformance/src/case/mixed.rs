//! Mixed sends in cases: `#1 mixed A [copy H 0..24, zc K 0..4000 reg 0] msg=WAITALL`.
//!
//! An entry of the proposal, which no kernel takes. On a kernel such a case is run in every lowering that
//! the kernel has, or in those that a `via` line names.

use uringspec_model::mixed::entry::as_iovec;
use uringspec_model::mixed::{self, Memory as Whose, Transfer};
use uringspec_model::program::Iovec;
use winnow::Result;

use super::Segment;
use super::error::Refusal;
use super::place::Memory;
use super::token::{self, Input, eat, eat_word, here, keyword, number};

/// The most segments that a line is written out to: enough for one more than a kernel takes.
const SEGMENTS_MAX: u64 = 2048;

/// Segments of a mixed send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whether they are lent.
    pub lent: bool,
    /// The bytes.
    pub segment: Segment,
    /// The registered buffer in which they lie.
    pub register: Option<u16>,
    /// Bytes of each segment, where there are several.
    pub by: Option<u64>,
}

/// Segments in brackets, commas between them.
pub(super) fn parts(i: &mut Input<'_>) -> Result<Vec<Part>, Refusal> {
    let open = here(i);
    if !eat(i, '[') {
        return Err(Refusal::new(open, "a mixed send needs its segments")
            .expecting(["a list such as [copy H 0..24, zc K 0..4000 reg 0]", "[]"]));
    }
    let mut parts = Vec::new();
    if eat(i, ']') {
        return Ok(parts);
    }
    loop {
        parts.push(part(i)?);
        if eat(i, ']') {
            return Ok(parts);
        }
        let at = here(i);
        if !eat(i, ',') {
            return Err(Refusal::new(at, "the list does not end").expecting(["reg 0", "by 1", ",", "]"]));
        }
    }
}

fn part(i: &mut Input<'_>) -> Result<Part, Refusal> {
    let lent = keyword(i, "transfer", &[("copy", false), ("zc", true)])?;
    let segment = token::segment(i)?;
    let register = if eat_word(i, "reg") {
        Some(number(i, "an index of a buffer", u16::MAX.into())? as u16)
    } else {
        None
    };
    let at = here(i);
    let by = if eat_word(i, "by") { Some(number(i, "bytes of a segment", u32::MAX.into())?) } else { None };
    let bytes = segment.to - segment.from;
    if by.is_some_and(|by| by == 0 || bytes / by > SEGMENTS_MAX) {
        return Err(Refusal::new(at, "these are too many segments")
            .expecting([format!("bytes of a segment that make at most {SEGMENTS_MAX}")]));
    }
    if bytes > u32::MAX.into() {
        return Err(Refusal::new(segment.at, format!("{bytes} bytes are too many for a segment"))
            .expecting([format!("at most {}", u32::MAX)]));
    }
    Ok(Part { lent, segment, register, by })
}

/// A part in words.
pub(super) fn part_words(part: &Part) -> String {
    let transfer = if part.lent { "zc" } else { "copy" };
    let mut words = format!("{transfer} {}", super::print::segment_words(&part.segment));
    if let Some(index) = part.register {
        words.push_str(&format!(" reg {index}"));
    }
    if let Some(by) = part.by {
        words.push_str(&format!(" by {by}"));
    }
    words
}

/// The elements of a mixed send, as an array of iovecs holds them.
pub(super) fn elements(parts: &[Part], memory: &Memory) -> Result<Vec<Iovec>, Refusal> {
    let mut elements = Vec::new();
    for part in parts {
        let Iovec { addr, len_bytes } = memory.iovec(&part.segment)?;
        let by = part.by.unwrap_or(len_bytes).max(1);
        let mut from = 0;
        loop {
            let len_bytes = by.min(len_bytes - from);
            elements.push(as_iovec(&mixed::Segment {
                addr: addr.wrapping_add(from),
                len_bytes: len_bytes as u32,
                memory: part.register.map_or(Whose::Plain, Whose::Registered),
                transfer: if part.lent { Transfer::ZeroCopy } else { Transfer::Copy },
            }));
            from += len_bytes;
            if from >= part.segment.to - part.segment.from {
                break;
            }
        }
    }
    Ok(elements)
}
