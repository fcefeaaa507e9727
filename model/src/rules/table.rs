//! What a table of rules is made into.

/// Makes an enum of the rules, with what each of them says.
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
