//! Reads what is expected: `expect` blocks and `received` lines.

use uringspec_model::abi::{self, errno};
use winnow::Result;

use super::error::{Refusal, near};
use super::parse::Lines;
use super::text::At;
use super::token::{self, Input, eat_word, end, first_word, number, shown};
use super::{Arrival, Expect, ExpectLine, Name, Noted, Outcome, Pattern, Piece, ResPattern, Silence, Step};
use super::{Upto, UsagePattern};

/// The largest result: completions carry 32 bits with a sign.
const RES_MAX: u64 = i32::MAX as u64;

/// An `expect` block behind its keyword, or a `peek` block.
pub(super) fn expect(i: &mut Input<'_>, lines: &mut Lines<'_>, peeks: bool) -> Result<Expect, Refusal> {
    let unnamed = token::at_end(i) || peeks && token::peek_word(i) == "overflow";
    let ring = if unnamed { None } else { Some(token::name(i, "ring")?) };
    let peek = peeks.then(|| eat_word(i, "overflow"));
    end(i, if peek == Some(false) { &["overflow"] } else { &[] })?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    while let Some(line) = lines.take_if(&["or", "never", "order", "outcome"]) {
        let i = &mut token::input(line.content, line.at);
        let or = eat_word(i, "or");
        if eat_word(i, "outcome") {
            if or == outcomes.is_empty() {
                let word = if or { "outcome" } else { "or outcome" };
                return Err(Refusal::new(line.at, "outcomes are joined by `or`").expecting([word]));
            }
            end(i, &[])?;
            lines.keep_note(line);
            outcomes.push(Outcome::default());
            continue;
        }
        if outcomes.is_empty() {
            outcomes.push(Outcome::default());
        }
        let outcome = outcomes.last_mut().map(|o| &mut o.lines);
        let Some(outcome) = outcome else { continue };
        if or {
            let alternative = patterns(i)?;
            match outcome.last_mut().map(|last| &mut last.what) {
                Some(ExpectLine::Request(_, alternatives)) => {
                    alternatives.push(lines.noted(line, alternative));
                }
                _ => {
                    return Err(Refusal::new(line.at, "there is nothing to which this is an alternative")
                        .expecting(["a request such as `#1 4100 MORE then 0 NOTIF`", "or outcome"]));
                }
            }
        } else {
            expect_line(i, outcome, line.at).map(|what| {
                let noted = lines.noted(line, what);
                // The comment of a request line belongs to its first alternative.
                outcome.push(match noted.what {
                    ExpectLine::Request(user_data, mut alternatives) => {
                        alternatives[0].above = noted.above;
                        alternatives[0].note = noted.note;
                        alternatives[0].at = noted.at;
                        Noted::plain(ExpectLine::Request(user_data, alternatives))
                    }
                    _ => noted,
                });
            })?;
        }
    }
    // one outcome without a line says what no outcome says
    if outcomes.len() == 1 {
        outcomes.retain(|outcome| !outcome.lines.is_empty());
    }
    Ok(Expect { ring, peek, outcomes })
}

fn expect_line(i: &mut Input<'_>, outcome: &[Noted<ExpectLine>], at: At) -> Result<ExpectLine, Refusal> {
    if eat_word(i, "never") {
        let user_data = token::user_data(i)?;
        let silence = if eat_word(i, "NOTIF") { Silence::Notif } else { Silence::All };
        end(i, &["NOTIF"])?;
        return Ok(ExpectLine::Never(user_data, silence));
    }
    if eat_word(i, "order") {
        let mut order = vec![token::user_data(i)?, token::user_data(i)?];
        while !token::at_end(i) {
            order.push(token::user_data(i)?);
        }
        return Ok(ExpectLine::Order(order));
    }
    let user_data = token::user_data(i)?;
    let taken = |line: &Noted<ExpectLine>| matches!(line.what, ExpectLine::Request(u, _) if u == user_data);
    if outcome.iter().any(taken) {
        return Err(Refusal::new(at, format!("#{user_data} has its line already"))
            .expecting(["`or` and another alternative below that line"]));
    }
    Ok(ExpectLine::Request(user_data, vec![Noted::plain(patterns(i)?)]))
}

/// Completions of one request, to the end of the line.
fn patterns(i: &mut Input<'_>) -> Result<Vec<Pattern>, Refusal> {
    let patterns = some_patterns(i)?;
    let accepted: &[&str] = match patterns.last() {
        Some(Pattern::Result(_, false)) => &["MORE", "NOTIF", "then"],
        Some(_) => &["then"],
        None => &[],
    };
    end(i, accepted)?;
    Ok(patterns)
}

/// Completions of one request: patterns with `then` between them, or `nothing`.
pub(super) fn some_patterns(i: &mut Input<'_>) -> Result<Vec<Pattern>, Refusal> {
    if eat_word(i, "nothing") {
        return Ok(Vec::new());
    }
    let mut patterns = vec![pattern(i)?];
    while eat_word(i, "then") {
        patterns.push(pattern(i)?);
    }
    Ok(patterns)
}

fn pattern(i: &mut Input<'_>) -> Result<Pattern, Refusal> {
    let at = token::here(i);
    if eat_word(i, "COPIED") {
        notif(i)?;
        return Ok(Pattern::Notif(UsagePattern::Copied));
    }
    if eat_word(i, "*") {
        notif(i)?;
        return Ok(Pattern::Notif(UsagePattern::Any));
    }
    let res = res_pattern(i)?;
    if eat_word(i, "NOTIF") {
        return match res {
            ResPattern::Count(0) => Ok(Pattern::Notif(UsagePattern::Clear)),
            _ => Err(Refusal::new(at, "a notification carries no count and no errno").expecting([
                "0 NOTIF",
                "COPIED NOTIF",
                "* NOTIF",
            ])),
        };
    }
    Ok(Pattern::Result(res, eat_word(i, "MORE")))
}

fn notif(i: &mut Input<'_>) -> Result<(), Refusal> {
    token::keyword(i, "part of a notification", &[("NOTIF", ())])
}

/// A result: a count, a range of counts, or an errno.
pub(super) fn res_pattern(i: &mut Input<'_>) -> Result<ResPattern, Refusal> {
    let at = token::here(i);
    let word = token::peek_word(i);
    if word.starts_with('-') {
        if eat_word(i, "-*") {
            return Ok(ResPattern::AnyErrno);
        }
        return Ok(ResPattern::Errno(errno(i)?));
    }
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Refusal::new(at, format!("{} is no result", shown(word))).expecting([
            "a count",
            "a range such as 1..4100",
            "an errno such as -EINVAL",
            "-*",
            "0 NOTIF",
            "COPIED NOTIF",
            "* NOTIF",
            "nothing",
        ]));
    }
    let from = number(i, "a result", RES_MAX)?;
    if !token::rest(i).starts_with("..") {
        return Ok(ResPattern::Count(from));
    }
    token::dots(i)?;
    let (from, to) = token::ordered(at, from, number(i, "a result", RES_MAX)?)?;
    Ok(ResPattern::Range(from, to))
}

/// An errno with its sign: `-EINVAL`, or `-E524` where it has no name here.
pub(crate) fn errno(i: &mut Input<'_>) -> Result<u16, Refusal> {
    let at = token::here(i);
    let word = token::word(i);
    let name = word.strip_prefix('-').unwrap_or(word);
    let numbered = || name.strip_prefix('E').and_then(|n| n.parse().ok()).filter(|n| (1..=4095).contains(n));
    abi::value_of(errno::NAMES, name).or_else(numbered).ok_or_else(|| {
        let names = errno::NAMES.iter().map(|(name, _)| format!("-{name}"));
        Refusal::new(at, format!("{} is no errno", shown(word))).expecting(near(word, names))
    })
}

/// A `received` line behind its keyword, and the `or` lines below it.
pub(super) fn received(i: &mut Input<'_>, lines: &mut Lines<'_>) -> Result<Step, Refusal> {
    let peer = token::name(i, "peer")?;
    // The comments of the line itself belong to the step, so the first alternative has none.
    let mut alternatives = vec![Noted::plain(arrival(i)?)];
    while lines.peek().is_some_and(|line| first_word(line.content) == "or") {
        let Some(line) = lines.take() else { break };
        let i = &mut token::input(line.content, line.at);
        eat_word(i, "or");
        let arrival = arrival(i)?;
        alternatives.push(lines.noted(line, arrival));
    }
    Ok(Step::Received(peer, alternatives))
}

/// A `resent` line behind its peer: the pieces that leave again.
pub(super) fn resent(i: &mut Input<'_>) -> Result<Arrival, Refusal> {
    let at = token::here(i);
    let arrival = arrival(i)?;
    let known = |part: &Vec<Piece>| part.iter().all(|piece| matches!(piece.to, Upto::Byte(_)));
    match arrival.parts.len() == 1 && arrival.parts.iter().all(known) && arrival.given.is_none() {
        true => Ok(arrival),
        false => {
            Err(Refusal::new(at, "bytes leave again in one way").expecting(["pieces such as K 0..1000"]))
        }
    }
}

/// What a peer got, to the end of the line.
pub(super) fn arrival(i: &mut Input<'_>) -> Result<Arrival, Refusal> {
    let mut parts = Vec::new();
    if !eat_word(i, "nothing") {
        loop {
            parts.push(part(i)?);
            if !eat_word(i, "|") {
                break;
            }
        }
    }
    let given = match eat_word(i, "if") {
        true => Some((token::user_data(i)?, res_pattern(i)?)),
        false => None,
    };
    end(i, &[",", "|", "if"])?;
    Ok(Arrival { parts, given })
}

/// Bytes that came together: pieces, or an empty datagram.
fn part(i: &mut Input<'_>) -> Result<Vec<Piece>, Refusal> {
    let mut pieces = Vec::new();
    if eat_word(i, "empty") {
        return Ok(pieces);
    }
    loop {
        pieces.push(piece(i)?);
        if !token::eat(i, ',') {
            return Ok(pieces);
        }
    }
}

fn piece(i: &mut Input<'_>) -> Result<Piece, Refusal> {
    let at = token::here(i);
    let word = token::word(i);
    let (name, generation) = word.split_once('@').unwrap_or((word, "0"));
    let generation = generation.parse().ok().filter(|_| token::is_name(name));
    let Some(generation) = generation else {
        return Err(Refusal::new(at, format!("{} is no buffer", shown(word))).expecting([
            "a buffer and a range such as K 0..4000",
            "K@1 0..4000 after one rewrite",
            "nothing",
        ]));
    };
    let buffer = Name { text: name.into(), at: At { start: at.start, end: at.start + word.len() } };
    let range_at = token::here(i);
    let from = number(i, "the first byte", u64::MAX)?;
    token::dots(i)?;
    if token::rest(i).starts_with('#') {
        return Ok(Piece { buffer, generation, from, to: Upto::Result(token::user_data(i)?) });
    }
    let to = number(i, "the byte behind the last", u64::MAX)?;
    token::ordered(range_at, from, to)?;
    Ok(Piece { buffer, generation, from, to: Upto::Byte(to) })
}
