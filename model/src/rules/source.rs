//! What a rule stands on.

use std::fmt;

/// What a rule stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A manual page and a heading in it.
    Man(&'static str, &'static str),
    /// A kernel source file and the function in it, as of the release named last.
    Kernel(&'static str, &'static str, &'static str),
    /// A kernel header and a symbol in it.
    Header(&'static str, &'static str),
    /// Seen on these releases, and in no document.
    Observed(&'static str),
    /// Assumed, for this reason.
    Assumed(&'static str),
    /// A promise of this project's own, about what no kernel has: the text that explains it.
    Contract(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Man(page, heading) => {
                let (name, section) = page.rsplit_once('.').unwrap_or((page, "?"));
                write!(f, "{name}({section}), {heading}")
            }
            Source::Kernel(file, function, release) => write!(f, "{file} {function}, {release}"),
            Source::Header(file, symbol) => write!(f, "{file} {symbol}"),
            Source::Observed(releases) => write!(f, "observed on {releases}"),
            Source::Assumed(reason) => write!(f, "assumed: {reason}"),
            Source::Contract(text) => write!(f, "our own: {text}"),
        }
    }
}
