//! Splits a text into lines and takes their comments off.
//!
//! A comment is a `#` before a blank or the line's end: at the beginning of a line, or behind two
//! blanks. So `#1` is user data everywhere, and a comment is seen at a glance.

use super::text::At;

/// A line without its comment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// What it says, without blanks around it; empty if it has only a comment, or nothing.
    pub(crate) content: &'a str,
    /// Where the content stands.
    pub(crate) at: At,
    /// The comment without `#` and the blank behind it.
    pub(crate) comment: Option<&'a str>,
}

/// The lines of a text. A carriage return before the line feed is not part of a line.
pub(crate) fn split(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for raw in text.split('\n') {
        lines.push(split_line(raw.strip_suffix('\r').unwrap_or(raw), start));
        start += raw.len() + 1;
    }
    lines
}

fn split_line(line: &str, start: usize) -> Line<'_> {
    let (content, comment) = match comment_start(line) {
        Some(hash) => (&line[..hash], Some(line[hash + 1..].trim())),
        None => (line, None),
    };
    let indent = content.len() - content.trim_start().len();
    let content = content.trim();
    Line { content, at: At { start: start + indent, end: start + indent + content.len() }, comment }
}

fn comment_start(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    line.match_indices('#').map(|(i, _)| i).find(|&i| {
        let begins = line[..i].trim().is_empty() || line[..i].ends_with("  ");
        begins && bytes.get(i + 1).is_none_or(u8::is_ascii_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_told_from_user_data() {
        let line = |text| {
            let line = split(text)[0];
            (line.content, line.comment)
        };
        assert_eq!(line("# all"), ("", Some("all")));
        assert_eq!(line("  #1 nop  # note"), ("#1 nop", Some("note")));
        assert_eq!(line("#1 nop # no note"), ("#1 nop # no note", None));
        assert_eq!(line("#"), ("", Some("")));
        assert_eq!(line("lent K until #1 last"), ("lent K until #1 last", None));
        assert_eq!(split("a\r\nb")[0].content, "a");
        assert_eq!(split("é  # x")[0].comment, Some("x"));
    }
}
