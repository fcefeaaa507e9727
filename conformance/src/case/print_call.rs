//! Writes what is done with a ring by hand: `queue`, `enter` and `look`.

use std::fmt::Write;

use uringspec_model::abi::{enter, flag_names, name_of, sq_flag, sqe_flag};
use uringspec_model::enter::{Argument, On};
use uringspec_model::program::Restriction;

use super::parse_call::{ARGUMENTS, ONS};
use super::print::returns_words;
use super::{Enter, Look, OPS};

/// What stands behind the keyword and the ring of an `enter` line.
pub fn enter_words(call: &Enter) -> String {
    let mut words = String::new();
    if call.to_submit != 0 {
        _ = write!(words, " submit={}", call.to_submit);
    }
    if call.wanted != 0 {
        _ = write!(words, " wait={}", call.wanted);
    }
    if call.flags != 0 {
        _ = write!(words, " flags={}", flag_names(enter::NAMES, call.flags));
    }
    if call.argument != Argument::None {
        _ = write!(words, " argument={}", name_of(ARGUMENTS, call.argument).unwrap_or("none"));
    }
    if call.on != On::Ring {
        _ = write!(words, " on={}", name_of(ONS, call.on).unwrap_or("ring"));
    }
    if let Some(returns) = call.returns {
        _ = write!(words, " returns {}", returns_words(returns));
    }
    words
}

/// What stands behind the keyword and the ring of a `look` line.
pub fn look_words(look: &Look) -> String {
    let mut words = String::new();
    if look.flags != 0 {
        _ = write!(words, " flags={}", flag_names(sq_flag::NAMES, look.flags));
    }
    if look.dropped != 0 {
        _ = write!(words, " dropped={}", look.dropped);
    }
    if look.queued != 0 {
        _ = write!(words, " queued={}", look.queued);
    }
    words
}

/// The indices of a `queue` block.
pub fn array_words(array: &[u32]) -> String {
    array.iter().fold("array".into(), |words, index| words + " " + &index.to_string())
}

/// What stands behind `register restrict`.
pub fn restriction_words(list: &[Restriction]) -> String {
    let word = |one: &Restriction| match *one {
        Restriction::Op(opcode) => format!(" op={}", name_of(OPS, opcode).unwrap_or("nop")),
        Restriction::Flags(flags) => format!(" flags={}", flag_names(sqe_flag::NAMES, flags)),
        Restriction::Must(flags) => format!(" must={}", flag_names(sqe_flag::NAMES, flags)),
        Restriction::Call(number) => format!(" call={number}"),
    };
    list.iter().map(word).collect()
}
