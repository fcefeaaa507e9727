//! Reads what was seen of a case: `seen` and `unseen` blocks.

use jiff::civil::Date;
use uringspec_model::program::Lane;
use winnow::Result;

use super::error::Refusal;
use super::lines::Line;
use super::parse::Lines;
use super::parse_setup::LANES;
use super::token::{self, Input, eat, eat_key, eat_word, end, number, shown};
use super::witness::{Alternative, Seen, Sighting, Unseen, Witness};
use super::{ExpectLine, Noted, Silence, parse_expect};

/// A `seen` or `unseen` line behind its keyword, and the lines below it.
pub(super) fn witness(i: &mut Input<'_>, lines: &mut Lines<'_>, is_seen: bool) -> Result<Witness, Refusal> {
    if is_seen { seen(i, lines).map(Witness::Seen) } else { unseen(i, lines).map(Witness::Unseen) }
}

fn seen(i: &mut Input<'_>, lines: &mut Lines<'_>) -> Result<Seen, Refusal> {
    let release = release(i)?;
    let lanes = lanes(i)?;
    let mut seen = Seen { release, lanes, date: date(i)?, digest: digest(i)?, sightings: Vec::new() };
    end(i, &[])?;
    while let Some(line) = lines.take_if(&["outcome", "received", "expect"]) {
        let i = &mut token::input(line.content, line.at);
        let sighting = Sighting { alternative: alternative(i)?, only: only(i)? };
        end(i, if sighting.only.is_empty() { &["as", "then", ","] } else { &["then", ","] })?;
        seen.sightings.push(lines.noted(line, sighting));
    }
    Ok(seen)
}

fn unseen(i: &mut Input<'_>, lines: &mut Lines<'_>) -> Result<Unseen, Refusal> {
    let alternative = if token::at_end(i) { Alternative::Whole } else { alternative(i)? };
    end(i, &["then", ","])?;
    let at = token::here(i);
    let Some(line) = take_keyword(lines, "source") else {
        return Err(Refusal::new(at, "it is not said where the kernel has this").expecting([SOURCE]));
    };
    let j = &mut token::input(line.content, line.at);
    token::word(j);
    let file = source_word(j, |word| word.ends_with(".c") || word.ends_with(".h"))?;
    let function = source_word(j, |word| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))?;
    let version = release(j)?;
    end(j, &[])?;
    lines.keep_note(line);
    let mut why = Vec::new();
    while let Some(line) = take_keyword(lines, "why") {
        let j = &mut token::input(line.content, line.at);
        token::word(j);
        let text = token::rest(j).trim();
        if text.is_empty() || text.starts_with('#') {
            return Err(Refusal::new(line.at, "no reason is given").expecting([WHY]));
        }
        why.push(text.to_string());
        lines.keep_note(line);
    }
    match why.is_empty() {
        true => Err(Refusal::new(line.at, "it is not said why this was not seen").expecting([WHY])),
        false => Ok(Unseen { alternative, file, function, version, why }),
    }
}

const SOURCE: &str = "a line such as `source net/ipv4/tcp.c tcp_sendmsg_locked 6.18`";
const WHY: &str = "a line such as `why it takes a peer that reads one byte at a time`";

fn take_keyword<'a>(lines: &mut Lines<'a>, keyword: &str) -> Option<Line<'a>> {
    let is_next = lines.peek().is_some_and(|line| token::first_word(line.content) == keyword);
    if is_next { lines.take() } else { None }
}

fn source_word(i: &mut Input<'_>, fits: impl Fn(&str) -> bool) -> Result<String, Refusal> {
    let at = token::here(i);
    let word = token::word(i);
    match !word.is_empty() && fits(word) {
        true => Ok(word.into()),
        false => Err(Refusal::new(at, format!("{} names no source", shown(word))).expecting([SOURCE])),
    }
}

/// A release of a kernel: numbers with dots, then whatever `uname -r` adds.
fn release(i: &mut Input<'_>) -> Result<String, Refusal> {
    let at = token::here(i);
    let word = token::word(i);
    let numbers = word.split('.').take(2).all(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b));
    match numbers && plain && word.contains('.') {
        true => Ok(word.into()),
        false => Err(Refusal::new(at, format!("{} is no release of a kernel", shown(word)))
            .expecting(["a release such as 6.18.44"])),
    }
}

fn lanes(i: &mut Input<'_>) -> Result<Vec<Lane>, Refusal> {
    let mut lanes = Vec::new();
    if eat_word(i, NO_LANE) {
        return Ok(lanes);
    }
    let at = token::here(i);
    for part in token::word(i).split('+') {
        let lane = LANES.iter().find(|(name, _)| *name == part).map(|(_, lane)| *lane);
        match lane.filter(|lane| !lanes.contains(lane)) {
            Some(lane) => lanes.push(lane),
            None => {
                let names = LANES.iter().map(|(name, _)| *name).chain([NO_LANE, "loopback+gate"]);
                return Err(Refusal::new(at, format!("{} is no lane", shown(part))).expecting(names));
            }
        }
    }
    Ok(lanes)
}

/// What stands for the lanes of a case without sockets.
pub(super) const NO_LANE: &str = "none";

fn date(i: &mut Input<'_>) -> Result<Date, Refusal> {
    let at = token::here(i);
    let word = token::word(i);
    // Only one of the forms that can be read is printed.
    match word.parse::<Date>().ok().filter(|date| date.to_string() == word) {
        Some(date) => Ok(date),
        None => {
            Err(Refusal::new(at, format!("{} is no date", shown(word)))
                .expecting(["a date such as 2026-11-22"]))
        }
    }
}

fn digest(i: &mut Input<'_>) -> Result<u32, Refusal> {
    let at = token::here(i);
    let word = if eat_key(i, "case") { token::word(i) } else { "" };
    let digits = word.len() == 8 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match u32::from_str_radix(word, 16).ok().filter(|_| digits) {
        Some(digest) => Ok(digest),
        None => Err(Refusal::new(at, "it is not said of which case").expecting(["case= and eight digits"])),
    }
}

/// An alternative in the words of the case.
fn alternative(i: &mut Input<'_>) -> Result<Alternative, Refusal> {
    let nth = |i: &mut Input<'_>| -> Result<Option<u32>, Refusal> {
        let numbered = token::peek_word(i).starts_with(|c: char| c.is_ascii_digit());
        let number = |i: &mut Input<'_>| number(i, "the number of a step", u32::MAX.into());
        if numbered { number(i).map(|n| Some(n as u32)) } else { Ok(None) }
    };
    if eat_word(i, "received") {
        let (nth, peer) = (nth(i)?, token::name(i, "peer")?);
        return Ok(Alternative::Arrival { nth, peer, arrival: parse_expect::arrival(i)? });
    }
    let numbered = eat_word(i, "expect");
    let nth = if numbered { nth(i)? } else { None };
    if !eat_word(i, "outcome") {
        let at = token::here(i);
        if !token::peek_word(i).starts_with('#') {
            let word = shown(token::peek_word(i));
            return Err(Refusal::new(at, format!("{word} is no alternative")).expecting([
                "an alternative such as `#1 -EAGAIN`",
                "outcome #1 100, #2 0",
                "received B  K 0..100",
            ]));
        }
        return Ok(Alternative::Lines { nth, joint: false, lines: vec![line(i)?] });
    }
    let mut lines = vec![line(i)?];
    while eat(i, ',') {
        lines.push(line(i)?);
    }
    Ok(Alternative::Lines { nth, joint: true, lines })
}

/// A line of an outcome, with one alternative.
fn line(i: &mut Input<'_>) -> Result<ExpectLine, Refusal> {
    if eat_word(i, "never") {
        let user_data = token::user_data(i)?;
        let silence = if eat_word(i, "NOTIF") { Silence::Notif } else { Silence::All };
        return Ok(ExpectLine::Never(user_data, silence));
    }
    if eat_word(i, "order") {
        let mut order = vec![token::user_data(i)?, token::user_data(i)?];
        while token::peek_word(i).starts_with('#') {
            order.push(token::user_data(i)?);
        }
        return Ok(ExpectLine::Order(order));
    }
    let user_data = token::user_data(i)?;
    Ok(ExpectLine::Request(user_data, vec![Noted::plain(parse_expect::some_patterns(i)?)]))
}

/// What was seen of an alternative that leaves something open.
fn only(i: &mut Input<'_>) -> Result<Vec<Vec<super::Pattern>>, Refusal> {
    let mut only = Vec::new();
    if eat_word(i, "as") {
        only.push(parse_expect::some_patterns(i)?);
        while eat(i, ',') {
            only.push(parse_expect::some_patterns(i)?);
        }
    }
    Ok(only)
}
