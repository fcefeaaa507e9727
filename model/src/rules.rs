//! The rules: what is promised, each in one sentence with its source.
//!
//! A rule is written here once and named everywhere else by its id. `RULES.md` is this table in
//! print. Ids are `area.short-claim`, never numbered and never reused.

use std::fmt;

use serde::{Deserialize, Serialize};

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
}

macro_rules! rules {
    ($($(#[doc = $text:literal])+ $name:ident = $id:literal, $source:expr;)*) => {
        /// A promise. Its documentation is its text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Rule { $($(#[doc = $text])+ #[serde(rename = $id)] $name,)* }

        impl Rule {
            /// Every rule, in the order of the table.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// The name in cases and reports.
            pub fn id(self) -> &'static str {
                match self { $(Rule::$name => $id,)* }
            }

            /// The sentence.
            pub fn text(self) -> &'static str {
                match self { $(Rule::$name => concat!($($text,)+).trim_ascii(),)* }
            }

            /// What it stands on.
            pub fn source(self) -> Source {
                use Source::*;
                match self { $(Rule::$name => $source,)* }
            }
        }
    };
}

rules! {
    /// A request posts one result, neither none nor two.
    OneResult = "life.one-result", Man("io_uring.7", "DESCRIPTION");

    /// Once its last completion is posted, a request posts nothing more.
    RetiredIsSilent = "life.retired-is-silent", Man("io_uring_prep_send_zc.3", "DESCRIPTION");

    /// A notification never comes before the result of its request.
    NotifAfterResult = "zc.notif-after-result", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
}

impl Rule {
    /// The rule with this id.
    pub fn from_id(id: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|r| r.id() == id)
    }

    /// The part of the id before the dot.
    pub fn area(self) -> &'static str {
        self.id().split_once('.').map_or(self.id(), |(area, _)| area)
    }
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
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
