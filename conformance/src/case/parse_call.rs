//! Reads what is done with a ring by hand: `queue`, `enter` and `look`.

use uringspec_model::abi::{enter, sq_flag, sqe_flag};
use uringspec_model::enter::{Argument, On};
use uringspec_model::program::Restriction;
use winnow::Result;

use super::error::Refusal;
use super::parse::{Lines, trailing_returns};
use super::token::{self, Input, eat_key, end, keyword, name, number, shown};
use super::{Enter, Look, Name, OPS, Queue, Step, parse_sqe};

/// The words of arguments of a wait.
pub(crate) const ARGUMENTS: &[(&str, Argument)] = &[
    ("none", Argument::None),
    ("no-time", Argument::NoTime),
    ("bad-time", Argument::BadTime),
    ("unreadable", Argument::Unreadable),
    ("short", Argument::Short),
];

/// The words of descriptors.
pub(crate) const ONS: &[(&str, On)] = &[("ring", On::Ring), ("closed", On::Closed), ("no-ring", On::NoRing)];

/// A `queue` block.
pub(super) fn queue(i: &mut Input<'_>, lines: &mut Lines<'_>) -> Result<Step, Refusal> {
    let mut queue = Queue { ring: ring_before_keys(i)?, sqes: Vec::new(), array: None };
    end(i, &[])?;
    while let Some(line) = lines.take_if(&["array"]) {
        let i = &mut token::input(line.content, line.at);
        if token::eat_word(i, "array") {
            let mut array = vec![index(i)?];
            while !token::at_end(i) {
                array.push(index(i)?);
            }
            queue.array = Some(lines.noted(line, array));
            break;
        }
        let sqe = parse_sqe::sqe(i, line.at)?;
        queue.sqes.push(lines.noted(line, sqe));
    }
    Ok(Step::Queue(queue))
}

fn index(i: &mut Input<'_>) -> Result<u32, Refusal> {
    Ok(number(i, "an index, counted from the first entry above", u32::MAX.into())? as u32)
}

/// An `enter` line behind its keyword.
pub(super) fn call(i: &mut Input<'_>) -> Result<Step, Refusal> {
    let mut line = Enter { ring: ring_before_keys(i)?, ..Enter::default() };
    while !token::at_end(i) && token::peek_word(i) != "returns" {
        if eat_key(i, "submit") {
            line.to_submit = number(i, "a number of entries", u32::MAX.into())? as u32;
        } else if eat_key(i, "wait") {
            line.wanted = number(i, "a number of completions", u32::MAX.into())? as u32;
        } else if eat_key(i, "flags") {
            line.flags = token::bits(i, "flag of enter", enter::NAMES)? as u32;
        } else if eat_key(i, "argument") {
            line.argument = keyword(i, "argument of a wait", ARGUMENTS)?;
        } else if eat_key(i, "on") {
            line.on = keyword(i, "descriptor", ONS)?;
        } else {
            return Err(unknown(i, "enter", &["submit=", "wait=", "flags=", "argument=", "on=", "returns"]));
        }
    }
    line.returns = trailing_returns(i)?;
    Ok(Step::Enter(line))
}

/// A `look` line behind its keyword.
pub(super) fn look(i: &mut Input<'_>) -> Result<Step, Refusal> {
    let mut look = Look { ring: ring_before_keys(i)?, ..Look::default() };
    while !token::at_end(i) {
        if eat_key(i, "flags") {
            look.flags = token::bits(i, "flag of a queue", sq_flag::NAMES)? as u32;
        } else if eat_key(i, "dropped") {
            look.dropped = number(i, "a number of indices", u32::MAX.into())? as u32;
        } else if eat_key(i, "queued") {
            look.queued = number(i, "a number of entries", u32::MAX.into())? as u32;
        } else {
            return Err(unknown(i, "look", &["flags=", "dropped=", "queued="]));
        }
    }
    Ok(Step::Look(look))
}

/// What stands behind `register restrict`.
pub(super) fn restrictions(i: &mut Input<'_>) -> Result<Vec<Restriction>, Refusal> {
    let mut all = Vec::new();
    while all.is_empty() || !token::at_end(i) && token::peek_word(i) != "returns" {
        all.push(if eat_key(i, "op") {
            Restriction::Op(keyword(i, "opcode", OPS)?)
        } else if eat_key(i, "flags") {
            Restriction::Flags(entry_flags(i)?)
        } else if eat_key(i, "must") {
            Restriction::Must(entry_flags(i)?)
        } else if eat_key(i, "call") {
            Restriction::Call(number(i, "a number of a call to register", u8::MAX.into())? as u8)
        } else {
            return Err(unknown(i, "restrictions", &["op=", "flags=", "must=", "call="]));
        });
    }
    Ok(all)
}

fn entry_flags(i: &mut Input<'_>) -> Result<u8, Refusal> {
    let at = token::here(i);
    let bits = token::bits(i, "flag of an entry", sqe_flag::NAMES)?;
    u8::try_from(bits)
        .map_err(|_| Refusal::new(at, "an entry has no such flags").expecting(["bits up to 0x80"]))
}

/// The name of a ring, where a line begins with one.
fn ring_before_keys(i: &mut Input<'_>) -> Result<Option<Name>, Refusal> {
    let next = token::peek_word(i);
    let none = token::at_end(i) || next.contains('=') || next == "returns";
    if none { Ok(None) } else { name(i, "ring").map(Some) }
}

fn unknown(i: &mut Input<'_>, what: &str, accepted: &[&str]) -> Refusal {
    let at = token::here(i);
    let word = shown(token::peek_word(i));
    Refusal::new(at, format!("{word} has no place in a line of {what}")).expecting(accepted.iter().copied())
}
