//! The words of a line: keywords, names, numbers, ranges, segments.
//!
//! Every parser here looks at the next word once and either takes it or says what would have been
//! accepted in its place.

use uringspec_model::abi;
use winnow::Parser;
use winnow::Result;
use winnow::combinator::{eof, opt};
use winnow::error::ParserError;
use winnow::stream::{AsChar, LocatingSlice, Location, Stateful, Stream};
use winnow::token::{one_of, take_while};

use super::error::Refusal;
use super::text::At;
use super::{Name, Place, Segment};

/// A line that is being read; the state is where in the text it begins.
pub(crate) type Input<'a> = Stateful<LocatingSlice<&'a str>, usize>;

impl<'a> ParserError<Input<'a>> for Refusal {
    type Inner = Refusal;

    fn from_input(input: &Input<'a>) -> Refusal {
        Refusal::new(here(input), "this cannot be read")
    }

    fn into_inner(self) -> Result<Refusal, Refusal> {
        Ok(self)
    }
}

/// The line of `at` in `text` as an input.
pub(crate) fn input(content: &str, at: At) -> Input<'_> {
    Stateful { input: LocatingSlice::new(content), state: at.start }
}

/// The place of the next word, blanks before it left out.
pub(crate) fn here(i: &Input<'_>) -> At {
    let rest: &str = i.input.as_ref();
    let blanks = rest.len() - rest.trim_start().len();
    let start = i.state + i.input.current_token_start() + blanks;
    let word = rest[blanks..].split(char::is_whitespace).next().unwrap_or("");
    At { start, end: start + word.len() }
}

/// The rest of the line, unread.
pub(crate) fn rest<'a>(i: &Input<'a>) -> &'a str {
    i.input.as_ref()
}

/// Whether nothing is left.
pub(crate) fn at_end(i: &mut Input<'_>) -> bool {
    blanks(i);
    i.eof_offset() == 0
}

/// The end of the line, or what is accepted instead.
pub(crate) fn end(i: &mut Input<'_>, accepted: &[&str]) -> Result<(), Refusal> {
    blanks(i);
    let refusal = Refusal::new(here(i), "nothing more is expected here")
        .expecting(accepted.iter().copied().chain(["the end of the line"]));
    eof::<_, Refusal>.void().parse_next(i).map_err(|_| refusal)
}

/// Blanks, if there are any.
pub(crate) fn blanks(i: &mut Input<'_>) {
    let _ = take_while::<_, _, Refusal>(0.., char::is_whitespace).parse_next(i);
}

/// The next word: everything up to a blank, a comma, or a bracket.
pub(crate) fn word<'a>(i: &mut Input<'a>) -> &'a str {
    blanks(i);
    take_while::<_, _, Refusal>(0.., |c: char| !c.is_whitespace() && !",[]".contains(c))
        .parse_next(i)
        .unwrap_or("")
}

/// The next word, unread.
pub(crate) fn peek_word<'a>(i: &mut Input<'a>) -> &'a str {
    let start = i.checkpoint();
    let taken = word(i);
    i.reset(&start);
    taken
}

/// Takes `text` if it comes next as a whole word.
pub(crate) fn eat_word(i: &mut Input<'_>, text: &str) -> bool {
    let same = peek_word(i) == text;
    if same {
        word(i);
    }
    same
}

/// Takes one character if it comes next, blanks before it left out.
pub(crate) fn eat(i: &mut Input<'_>, c: char) -> bool {
    blanks(i);
    matches!(opt(one_of::<_, _, Refusal>(c)).parse_next(i), Ok(Some(_)))
}

/// The rest of `word` behind `key=`, if the next word begins so; the key is taken.
pub(crate) fn eat_key(i: &mut Input<'_>, key: &str) -> bool {
    blanks(i);
    let start = i.checkpoint();
    let found = take_while::<_, _, Refusal>(1.., |c: char| c.is_alphanum() || "_.".contains(c))
        .parse_next(i)
        .is_ok_and(|k| k == key)
        && opt(one_of::<_, _, Refusal>('=')).parse_next(i).is_ok_and(|c| c.is_some());
    if !found {
        i.reset(&start);
    }
    found
}

/// One of several words, each standing for a value.
pub(crate) fn keyword<T: Copy>(i: &mut Input<'_>, what: &str, table: &[(&str, T)]) -> Result<T, Refusal> {
    let at = here(i);
    let text = peek_word(i);
    match abi::value_of(table, text) {
        Some(value) => {
            word(i);
            Ok(value)
        }
        None => Err(Refusal::new(at, format!("{} is no {what}", shown(text)))
            .expecting(table.iter().map(|(name, _)| *name))),
    }
}

/// A name: a letter, then letters, digits, `-` and `_`.
pub(crate) fn name(i: &mut Input<'_>, what: &str) -> Result<Name, Refusal> {
    let at = here(i);
    let start = i.checkpoint();
    let text = word(i);
    match is_name(text) {
        true => Ok(Name { text: text.into(), at: At { start: at.start, end: at.start + text.len() } }),
        false => {
            i.reset(&start);
            Err(Refusal::new(at, format!("{} is no {what}", shown(text)))
                .expecting([format!("{what}: a letter, then letters, digits, - or _")]))
        }
    }
}

/// Whether this can name a ring, a socket or a buffer.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// A number of at most `max`: decimal digits, or `0x` and hexadecimal ones.
pub(crate) fn number(i: &mut Input<'_>, what: &str, max: u64) -> Result<u64, Refusal> {
    let at = here(i);
    blanks(i);
    let text = take_while::<_, _, Refusal>(0.., |c: char| c.is_ascii_alphanumeric()).parse_next(i)?;
    let digits = text.strip_prefix("0x").map(|hex| (hex, 16)).unwrap_or((text, 10));
    let is_number = !digits.0.is_empty() && digits.0.chars().all(|c| c.is_digit(digits.1));
    if !is_number {
        let word = if text.is_empty() { first_word(rest(i)) } else { text };
        return Err(Refusal::new(at, format!("{} is no {what}", shown(word))).expecting([format!(
            "{what}: a number up to {max}, in digits or as 0x and hexadecimal digits"
        )]));
    }
    match u64::from_str_radix(digits.0, digits.1) {
        Ok(value) if value <= max => Ok(value),
        _ => Err(Refusal::new(at, format!("{} is too much for {what}", cut(text)))
            .expecting([format!("a number up to {max}")])),
    }
}

/// The most bytes that a limit says.
const SIZE_MAX: u64 = 1 << 40;

/// A number of bytes: digits, and `K` or `M` for so many times 1024 or 1024 * 1024.
pub(crate) fn size(i: &mut Input<'_>) -> Result<u64, Refusal> {
    let at = here(i);
    let text = word(i);
    let (digits, unit) = match (text.strip_suffix('K'), text.strip_suffix('M')) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        (None, None) => (text, 1),
    };
    let plain = digits.chars().all(|c| c.is_ascii_digit());
    let bytes = digits.parse::<u64>().ok().filter(|_| plain).and_then(|n| n.checked_mul(unit));
    bytes.filter(|bytes| *bytes <= SIZE_MAX).ok_or_else(|| {
        Refusal::new(at, format!("{} is no number of bytes", shown(text)))
            .expecting([format!("a number up to {SIZE_MAX}"), "a number with K or M such as 64K".into()])
    })
}

/// User data: `#` and a number.
pub(crate) fn user_data(i: &mut Input<'_>) -> Result<u64, Refusal> {
    let at = here(i);
    if !eat(i, '#') {
        return Err(Refusal::new(at, format!("{} is no user data", shown(first_word(rest(i)))))
            .expecting(["user data such as #1"]));
    }
    number(i, "user data", u64::MAX)
}

/// Two numbers with `..` between them, the first not above the second.
pub(crate) fn range(i: &mut Input<'_>) -> Result<(u64, u64), Refusal> {
    let at = here(i);
    let from = number(i, "the first byte", u64::MAX)?;
    dots(i)?;
    let to = number(i, "the byte behind the last", u64::MAX)?;
    ordered(at, from, to)
}

/// The `..` of a range.
pub(crate) fn dots(i: &mut Input<'_>) -> Result<(), Refusal> {
    let at = here(i);
    "..".void().parse_next(i).map_err(|_: Refusal| {
        Refusal::new(at, "a range needs two dots").expecting(["a range such as 0..4000"])
    })
}

pub(crate) fn ordered(at: At, from: u64, to: u64) -> Result<(u64, u64), Refusal> {
    match from <= to {
        true => Ok((from, to)),
        false => Err(Refusal::new(at, format!("{from}..{to} ends before it begins"))
            .expecting([format!("{to}..{from}")])),
    }
}

/// A segment: a place and a range of it.
pub(crate) fn segment(i: &mut Input<'_>) -> Result<Segment, Refusal> {
    let at = here(i);
    let place = match peek_word(i) {
        "NULL" => Place::Null,
        "hole" => Place::Hole,
        "kernel" => Place::Kernel,
        "wrap" => Place::Wrap,
        text if is_name(text) => Place::Buffer(name(i, "buffer")?),
        text => {
            return Err(Refusal::new(at, format!("{} is no place in memory", shown(text))).expecting([
                "the name of a buffer",
                "NULL",
                "hole",
                "kernel",
                "wrap",
            ]));
        }
    };
    if !matches!(place, Place::Buffer(_)) {
        word(i);
    }
    let (from, to) = range(i)?;
    let end = i.state + i.input.current_token_start();
    Ok(Segment { place, from, to, at: At { start: at.start, end } })
}

/// Segments in brackets, commas between them.
pub(crate) fn vector(i: &mut Input<'_>) -> Result<Vec<Segment>, Refusal> {
    let open = here(i);
    if !eat(i, '[') {
        return Err(Refusal::new(open, format!("{} is no list of segments", shown(first_word(rest(i)))))
            .expecting(["a list such as [K 0..4000, P 0..100]", "[]"]));
    }
    let mut segments = Vec::new();
    if eat(i, ']') {
        return Ok(segments);
    }
    loop {
        segments.push(segment(i)?);
        if eat(i, ']') {
            return Ok(segments);
        }
        let at = here(i);
        if !eat(i, ',') {
            return Err(Refusal::new(at, "the list does not end").expecting([",", "]"]));
        }
    }
}

/// Names joined by `|`, as bits. A number is taken for bits without a name.
pub(crate) fn bits<T>(i: &mut Input<'_>, what: &str, table: &[(&str, T)]) -> Result<u64, Refusal>
where
    T: Copy + Into<u64>,
{
    let at = here(i);
    let mut bits = 0;
    for part in word(i).split('|') {
        let known = abi::value_of(table, part).map(Into::into);
        let hex = part.strip_prefix("0x").and_then(|d| u64::from_str_radix(d, 16).ok());
        bits |= known.or(hex).ok_or_else(|| {
            Refusal::new(at, format!("{} is no {what}", shown(part))).expecting(
                table.iter().map(|(name, _)| (*name).to_string()).chain(["bits such as 0x40".into()]),
            )
        })?;
    }
    Ok(bits)
}

/// A word as a message shows it.
pub(crate) fn shown(word: &str) -> String {
    if word.is_empty() { "the end of the line".into() } else { format!("`{}`", cut(word)) }
}

pub(crate) fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("")
}

/// At most 40 characters of a word, so that no message is longer than its line.
fn cut(word: &str) -> String {
    match word.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.into(),
    }
}

/// Words that have a meaning where a name could stand.
const RESERVED: &[&str] = &[
    "NULL",
    "hole",
    "kernel",
    "wrap",
    "closed",
    "all",
    "nothing",
    "returns",
    "if",
    "or",
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "unix",
    "not-a-socket",
    "LINK",
    "HARDLINK",
    "DRAIN",
    "ASYNC",
    "SKIP_SUCCESS",
    "empty",
    "files",
    "file",
    "sparse",
    "overflow",
    "BUFFER_SELECT",
];

/// A name that is given here, so it must not be a word of the form itself.
pub(crate) fn new_name(i: &mut Input<'_>, what: &str) -> Result<Name, Refusal> {
    let name = name(i, what)?;
    match RESERVED.contains(&name.text.as_str()) {
        true => Err(Refusal::new(name.at, format!("`{}` has a meaning of its own", name.text))
            .expecting([format!("another name for the {what}")])),
        false => Ok(name),
    }
}
