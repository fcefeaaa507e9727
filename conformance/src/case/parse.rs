//! Reads a case: one keyword a line, blocks under `submit`, `expect` and `received`.

use winnow::Result;

use super::error::{CaseError, Refusal};
use super::lines::{self, Line};
use super::text::At;
use super::token::{self, Input, eat_word, end, keyword, name, number};
use super::{Case, Lent, LentUntil, Name, Noted, Register, Returns, Setup, Slot, Step, Submit, Table};
use super::{parse_call, parse_expect, parse_setup, parse_sqe, parse_witness};

/// The longest text that is read; the longest case so far has 3 KB.
const TEXT_MAX_BYTES: usize = 1 << 20;

/// The greatest index of a slot: one more than the largest table has (`IORING_MAX_REG_BUFFERS`).
const SLOTS_MAX: u64 = 1 << 14;

/// What a line can begin with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Keyword {
    Rules,
    Deviation,
    Thread,
    Needs,
    Via,
    Rings,
    Limits,
    Ring,
    Socket,
    Buffer,
    Submit,
    Queue,
    Enter,
    Sleep,
    Look,
    Expect,
    Peek,
    Received,
    Drain,
    Ack,
    Window,
    Miss,
    Resent,
    Fence,
    Settle,
    Rewrite,
    Reset,
    Close,
    Shutdown,
    Cork,
    Uncork,
    Register,
    Update,
    Unregister,
    Setup,
    Elsewhere,
    Lent,
    Seen,
    Unseen,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("rules", Keyword::Rules),
    ("deviation", Keyword::Deviation),
    ("thread", Keyword::Thread),
    ("needs", Keyword::Needs),
    ("via", Keyword::Via),
    ("rings", Keyword::Rings),
    ("limits", Keyword::Limits),
    ("ring", Keyword::Ring),
    ("socket", Keyword::Socket),
    ("buffer", Keyword::Buffer),
    ("submit", Keyword::Submit),
    ("queue", Keyword::Queue),
    ("enter", Keyword::Enter),
    ("sleep", Keyword::Sleep),
    ("look", Keyword::Look),
    ("expect", Keyword::Expect),
    ("peek", Keyword::Peek),
    ("received", Keyword::Received),
    ("drain", Keyword::Drain),
    ("ack", Keyword::Ack),
    ("window", Keyword::Window),
    ("miss", Keyword::Miss),
    ("resent", Keyword::Resent),
    ("fence", Keyword::Fence),
    ("settle", Keyword::Settle),
    ("rewrite", Keyword::Rewrite),
    ("reset", Keyword::Reset),
    ("close", Keyword::Close),
    ("shutdown", Keyword::Shutdown),
    ("cork", Keyword::Cork),
    ("uncork", Keyword::Uncork),
    ("register", Keyword::Register),
    ("update", Keyword::Update),
    ("unregister", Keyword::Unregister),
    ("setup", Keyword::Setup),
    ("elsewhere", Keyword::Elsewhere),
    ("lent", Keyword::Lent),
    ("seen", Keyword::Seen),
    ("unseen", Keyword::Unseen),
];

/// Reads a case. `file` is only for messages. Names and numbers are judged when it is lowered.
pub fn parse(file: &str, text: &str) -> std::result::Result<Case, CaseError> {
    parse_text(text).map_err(|refusal| refusal.of(file, text))
}

fn parse_text(text: &str) -> Result<Case, Refusal> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(Refusal::new(At::default(), format!("a case has at most {TEXT_MAX_BYTES} bytes")));
    }
    let mut lines = Lines { lines: lines::split(text), next: 0, above: Vec::new() };
    let mut case = Case::default();
    let first = lines.peek();
    case.comment = std::mem::take(&mut lines.above);
    if case.comment.is_empty() {
        let at = first.map_or(At { start: 0, end: text.len() }, |line| line.at);
        return Err(Refusal::new(at, "a case begins with a comment that says what a reader learns")
            .expecting(["a line such as `# A send never reports more bytes than it was given.`"]));
    }
    while let Some(line) = lines.take() {
        top_line(&mut case, &mut lines, line)?;
    }
    case.tail = lines.above;
    join_comments(&mut case);
    Ok(case)
}

/// Comments above the line that is printed first belong to the comment of the case, where nothing is printed between.
fn join_comments(case: &mut Case) {
    let names = [&case.rules, &case.deviations, &case.needs, &case.via];
    if names.iter().any(|names| !names.is_empty()) || case.thread.is_some() || !case.modes.is_empty() {
        return;
    }
    let above = if let Some(limits) = &mut case.limits {
        &mut limits.above
    } else if let Some(ring) = case.rings.first_mut() {
        &mut ring.above
    } else if let Some(socket) = case.sockets.first_mut() {
        &mut socket.above
    } else if let Some(buffer) = case.buffers.first_mut() {
        &mut buffer.above
    } else {
        return;
    };
    case.comment.append(above);
}

/// The lines still to be read.
pub(super) struct Lines<'a> {
    lines: Vec<Line<'a>>,
    next: usize,
    /// Comment lines that no line has taken yet.
    above: Vec<String>,
}

impl<'a> Lines<'a> {
    /// The next line that says something; the comments before it are kept.
    pub(super) fn peek(&mut self) -> Option<Line<'a>> {
        while let Some(line) = self.lines.get(self.next) {
            if !line.content.is_empty() {
                return Some(*line);
            }
            self.above.extend(line.comment.map(str::to_string));
            self.next += 1;
        }
        None
    }

    pub(super) fn take(&mut self) -> Option<Line<'a>> {
        let line = self.peek()?;
        self.next += 1;
        Some(line)
    }

    /// Takes the next line if its first word is one of `words` or begins with `#`.
    pub(super) fn take_if(&mut self, words: &[&str]) -> Option<Line<'a>> {
        let line = self.peek()?;
        let first = token::first_word(line.content);
        (first.starts_with('#') || words.contains(&first)).then(|| self.take()).flatten()
    }

    /// Gives a line its comments.
    pub(super) fn noted<T>(&mut self, line: Line<'_>, what: T) -> Noted<T> {
        let above = std::mem::take(&mut self.above);
        Noted { above, what, note: line.comment.map(str::to_string), at: line.at }
    }

    /// Keeps the comment of a line that has nowhere to put it for the line below.
    pub(super) fn keep_note(&mut self, line: Line<'_>) {
        self.above.extend(line.comment.map(str::to_string));
    }
}

fn top_line(case: &mut Case, lines: &mut Lines<'_>, line: Line<'_>) -> Result<(), Refusal> {
    let mut input = token::input(line.content, line.at);
    let i = &mut input;
    if line.content.starts_with('#') {
        let help = "a comment (`#` and a blank), or a `submit` or `expect` line above this one";
        return Err(Refusal::new(line.at, "a request stands outside any block").expecting([help]));
    }
    let word = keyword(i, "keyword", KEYWORDS)?;
    if word < Keyword::Submit && !case.steps.is_empty() {
        let steps = KEYWORDS.iter().filter(|(_, k)| *k >= Keyword::Submit).map(|(name, _)| *name);
        return Err(Refusal::new(line.at, "this belongs before the first step").expecting(steps));
    }
    if word < Keyword::Seen && !case.witnesses.is_empty() {
        return Err(Refusal::new(line.at, "this belongs before what was seen").expecting(["seen", "unseen"]));
    }
    match word {
        Keyword::Rules => case.rules.extend(words(i, "rule id")?),
        Keyword::Deviation => case.deviations.extend(words(i, "deviation id")?),
        Keyword::Needs => case.needs.extend(words(i, "opcode or feature")?),
        Keyword::Via => case.via.extend(words(i, "way to make a mixed send")?),
        Keyword::Thread => case.thread = Some(words(i, "address")?.swap_remove(0).text),
        Keyword::Rings => case.modes = parse_setup::modes(i)?,
        Keyword::Seen | Keyword::Unseen => {
            // The comments above belong to this line, so they are taken before those of the lines below.
            let noted = lines.noted(line, ());
            let what = parse_witness::witness(i, lines, word == Keyword::Seen)?;
            case.witnesses.push(Noted { above: noted.above, what, note: noted.note, at: noted.at });
            return Ok(());
        }
        Keyword::Limits if case.limits.is_some() => {
            return Err(Refusal::new(line.at, "limits are said once").expecting(["one `limits` line"]));
        }
        Keyword::Limits => {
            case.limits = Some(parse_setup::limits(i).map(|limits| lines.noted(line, limits))?);
        }
        Keyword::Ring => case.rings.push(parse_setup::ring(i).map(|ring| lines.noted(line, ring))?),
        Keyword::Socket => case.sockets.push(parse_setup::socket(i).map(|socket| lines.noted(line, socket))?),
        Keyword::Buffer => {
            case.buffers.push(parse_setup::buffer(i, line.at).map(|buffer| lines.noted(line, buffer))?);
        }
        _ => {
            let mut noted = lines.noted(line, Step::Settle);
            noted.what = step(i, lines, word)?;
            case.steps.push(noted);
            return Ok(());
        }
    }
    if word < Keyword::Limits {
        lines.keep_note(line);
    }
    end(i, &[])
}

fn step(i: &mut Input<'_>, lines: &mut Lines<'_>, word: Keyword) -> Result<Step, Refusal> {
    let step = match word {
        Keyword::Submit => return submit(i, lines),
        Keyword::Queue => return parse_call::queue(i, lines),
        Keyword::Enter => parse_call::call(i)?,
        Keyword::Look => parse_call::look(i)?,
        Keyword::Expect => return Ok(Step::Expect(parse_expect::expect(i, lines, false)?)),
        Keyword::Peek => return Ok(Step::Expect(parse_expect::expect(i, lines, true)?)),
        Keyword::Received => return parse_expect::received(i, lines),
        Keyword::Resent => Step::Resent(name(i, "peer")?, parse_expect::resent(i)?),
        Keyword::Drain => Step::Drain(name(i, "peer")?, amount(i)?),
        Keyword::Ack => Step::Ack(name(i, "peer")?, amount(i)?),
        Keyword::Window => Step::Window(name(i, "peer")?, number(i, "a number of bytes", u64::MAX)?),
        Keyword::Miss => Step::Miss(name(i, "peer")?, number(i, "a number of bytes", u64::MAX)?),
        Keyword::Fence => Step::Fence(ring_name(i)?),
        Keyword::Sleep => Step::Sleep(ring_name(i)?),
        Keyword::Rewrite => Step::Rewrite(name(i, "buffer")?),
        Keyword::Reset => Step::Reset(name(i, "peer")?),
        Keyword::Close => Step::Close(name(i, "socket")?),
        Keyword::Shutdown => Step::Shutdown(name(i, "socket")?),
        Keyword::Cork => Step::Cork(name(i, "socket")?, true),
        Keyword::Uncork => Step::Cork(name(i, "socket")?, false),
        Keyword::Register => register(i, false)?,
        Keyword::Update => register(i, true)?,
        Keyword::Unregister => unregister(i)?,
        Keyword::Elsewhere => {
            let ring = if token::peek_word(i) == "returns" { None } else { ring_name(i)? };
            Step::Elsewhere(ring, trailing_returns(i)?)
        }
        Keyword::Setup => {
            let ring = parse_setup::ring_fields(i, "setup", &["entries=", "cq=", "flags=", "returns"])?;
            Step::Setup(Setup { ring, returns: trailing_returns(i)? })
        }
        Keyword::Lent => lent(i)?,
        // Every other keyword was handled before the first step.
        _ => Step::Settle,
    };
    end(i, &[])?;
    Ok(step)
}

/// A number of bytes; all is none.
fn amount(i: &mut Input<'_>) -> Result<Option<u64>, Refusal> {
    if eat_word(i, "all") { Ok(None) } else { number(i, "a number of bytes, or `all`", u64::MAX).map(Some) }
}

fn submit(i: &mut Input<'_>, lines: &mut Lines<'_>) -> Result<Step, Refusal> {
    let mut submit = Submit { ring: ring_name(i)?, sqes: Vec::new(), returns: None };
    end(i, &[])?;
    while let Some(line) = lines.take_if(&["returns"]) {
        let i = &mut token::input(line.content, line.at);
        if eat_word(i, "returns") {
            submit.returns = Some(returns(i).map(|returns| lines.noted(line, returns))?);
            end(i, &[])?;
            break;
        }
        let sqe = parse_sqe::sqe(i, line.at)?;
        submit.sqes.push(lines.noted(line, sqe));
    }
    Ok(Step::Submit(submit))
}

fn words(i: &mut Input<'_>, what: &str) -> Result<Vec<Name>, Refusal> {
    let mut names = Vec::new();
    while !token::at_end(i) {
        let at = token::here(i);
        let text = token::word(i);
        if text.is_empty() {
            return Err(Refusal::new(at, "a comma or a bracket has no place here").expecting([what]));
        }
        if text.starts_with('#') {
            return Err(Refusal::new(at, "a comment needs two blanks before it").expecting([what]));
        }
        names.push(Name { text: text.into(), at: At { start: at.start, end: at.start + text.len() } });
    }
    match names.is_empty() {
        true => Err(Refusal::new(token::here(i), "nothing is named here").expecting([what])),
        false => Ok(names),
    }
}

fn ring_name(i: &mut Input<'_>) -> Result<Option<Name>, Refusal> {
    if token::at_end(i) { Ok(None) } else { name(i, "ring").map(Some) }
}

/// A `register` or `update` line behind its keyword.
fn register(i: &mut Input<'_>, update: bool) -> Result<Step, Refusal> {
    let files = !update && eat_word(i, "files");
    let next = token::peek_word(i);
    let named = !files
        && !token::at_end(i)
        && !next.contains('=')
        && next != "returns"
        && (update || next != "enable" && next != "restrict" && next != "cancel");
    let ring = if named { ring_name(i)? } else { None };
    let files = files || !update && eat_word(i, "files");
    let what = if !update && !files && eat_word(i, "enable") {
        Table::Enable
    } else if !update && !files && eat_word(i, "cancel") {
        Table::Cancel(token::user_data(i)?)
    } else if !update && !files && eat_word(i, "restrict") {
        Table::Restrict(parse_call::restrictions(i)?)
    } else if !update && !files && token::eat_key(i, "sparse") {
        Table::Sparse(number(i, "a number of slots", u32::MAX.into())? as u32)
    } else {
        let slots = slots(i, !files)?;
        match (update, files) {
            (true, _) => Table::Update(slots),
            (false, true) => Table::Files(slots),
            (false, false) => Table::Buffers(slots),
        }
    };
    Ok(Step::Register(Register { ring, what, returns: trailing_returns(i)? }))
}

fn slots(i: &mut Input<'_>, ranges: bool) -> Result<Vec<Slot>, Refusal> {
    let mut slots: Vec<Slot> = Vec::new();
    while !token::at_end(i) && token::peek_word(i) != "returns" {
        let at = token::here(i);
        let index = number(i, "an index", SLOTS_MAX)? as u32;
        if !token::eat(i, '=') {
            return Err(Refusal::new(at, "a slot needs a name").expecting(["a slot such as 0=K", "0=empty"]));
        }
        if slots.iter().any(|slot| slot.index == index) {
            return Err(Refusal::new(at, format!("slot {index} is taken")).expecting(["another index"]));
        }
        let name = if eat_word(i, "empty") { None } else { Some(name(i, "name")?) };
        let more = token::peek_word(i);
        let has_range =
            ranges && name.is_some() && more.starts_with(|c: char| c.is_ascii_digit()) && !more.contains('=');
        let range = if has_range { Some(token::range(i)?) } else { None };
        slots.push(Slot { index, name, range, at });
    }
    Ok(slots)
}

fn unregister(i: &mut Input<'_>) -> Result<Step, Refusal> {
    let files = eat_word(i, "files");
    let ring = if token::peek_word(i) == "returns" { None } else { ring_name_before(i)? };
    let files = files || eat_word(i, "files");
    let what = if files { Table::NoFiles } else { Table::NoBuffers };
    Ok(Step::Register(Register { ring, what, returns: trailing_returns(i)? }))
}

fn ring_name_before(i: &mut Input<'_>) -> Result<Option<Name>, Refusal> {
    if token::at_end(i) || token::peek_word(i) == "files" { Ok(None) } else { name(i, "ring").map(Some) }
}

fn lent(i: &mut Input<'_>) -> Result<Step, Refusal> {
    let buffer = name(i, "buffer")?;
    keyword(i, "part of a lent line", &[("until", ())])?;
    let user_data = token::user_data(i)?;
    let until = keyword(i, "completion", &[("last", LentUntil::Last), ("result", LentUntil::Result)])?;
    Ok(Step::Lent(Lent { buffer, user_data, until }))
}

pub(super) fn trailing_returns(i: &mut Input<'_>) -> Result<Option<Returns>, Refusal> {
    if eat_word(i, "returns") { returns(i).map(Some) } else { Ok(None) }
}

fn returns(i: &mut Input<'_>) -> Result<Returns, Refusal> {
    if token::peek_word(i).starts_with('-') {
        return Ok(Returns(-i64::from(parse_expect::errno(i)?)));
    }
    Ok(Returns(number(i, "a count or an errno such as -EINVAL", u32::MAX.into())? as i64))
}
