//! Places in the text of a case.

use std::ops::Range;

/// Where something stands: bytes of the text. Two cases that differ in nothing but where their
/// words stand are equal, so all places are.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

impl PartialEq for At {
    fn eq(&self, _: &At) -> bool {
        true
    }
}

impl Eq for At {}

impl From<Range<usize>> for At {
    fn from(range: Range<usize>) -> At {
        At { start: range.start, end: range.end }
    }
}

impl At {
    /// The number of the line, from 1.
    pub fn line(self, text: &str) -> u32 {
        let before = &text.as_bytes()[..self.start.min(text.len())];
        1 + before.iter().filter(|b| **b == b'\n').count() as u32
    }
}
