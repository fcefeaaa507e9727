//! Writes a case in its one settled layout.

use std::fmt::Write;

use uringspec_model::abi::{self, cancel_flag, errno, msg, op, send_flag, setup};
use uringspec_model::memory::Protection;
use uringspec_model::program::{Lane, Limits, SocketState};

use super::parse_setup::{kind_word, lane_word};
use super::parse_sqe::{FLAGS, OPS, RAW};
use super::print_call::{array_words, enter_words, look_words, restriction_words};
use super::print_witness::print_witness;
use super::{Arrival, Buffer, Case, Data, Expect, ExpectLine, LentUntil, Mode, Name, Noted, Pattern, Piece};
use super::{
    Place, Register, ResPattern, Returns, Ring, Segment, Setup, Silence, Slot, Socket, SqeLine, Step, Submit,
    Table, Target,
};
use super::{Queue, Upto, UsagePattern};

/// Lines of ids and names are broken before this column.
const WIDTH: usize = 110;

/// The case as text.
pub fn print(case: &Case) -> String {
    let mut out = String::new();
    comment(&mut out, "", &case.comment);
    list(&mut out, "rules", &case.rules);
    list(&mut out, "deviation", &case.deviations);
    if let Some(thread) = &case.thread {
        let _ = writeln!(out, "{:<10} {thread}", "thread");
    }
    list(&mut out, "needs", &case.needs);
    list(&mut out, "via", &case.via);
    out.push('\n');
    if !case.modes.is_empty() {
        let modes: Vec<&str> = case.modes.iter().map(|m| mode_word(*m)).collect();
        let _ = writeln!(out, "{:<10} {}", "rings", modes.join(" "));
    }
    if let Some(limits) = &case.limits {
        line(&mut out, "", limits, &limits_words(&limits.what));
    }
    for ring in &case.rings {
        line(&mut out, "", ring, &ring_words(&ring.what));
    }
    for socket in &case.sockets {
        line(&mut out, "", socket, &socket_words(&socket.what));
    }
    for buffer in &case.buffers {
        line(&mut out, "", buffer, &buffer_words(&buffer.what));
    }
    for (n, step) in case.steps.iter().enumerate() {
        if n == 0 || matches!(step.what, Step::Submit(_) | Step::Queue(_) | Step::Expect(_)) {
            out.push('\n');
        }
        print_step(&mut out, step);
    }
    for (n, witness) in case.witnesses.iter().enumerate() {
        if n == 0 {
            out.push('\n');
        }
        print_witness(&mut out, witness);
    }
    comment(&mut out, "", &case.tail);
    out
}

/// The word of a kind of ring.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Plain => "plain",
        Mode::Defer => "defer",
        Mode::AsWritten => "as written",
    }
}

fn comment(out: &mut String, indent: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "{}", format!("{indent}# {line}").trim_end());
    }
}

pub(super) fn line<T>(out: &mut String, indent: &str, noted: &Noted<T>, words: &str) {
    comment(out, indent, &noted.above);
    let _ = match &noted.note {
        Some(note) => writeln!(out, "{}", format!("{indent}{words}  # {note}").trim_end()),
        None => writeln!(out, "{indent}{words}"),
    };
}

fn list(out: &mut String, keyword: &str, names: &[Name]) {
    let mut row = String::new();
    for name in names {
        if !row.is_empty() && row.len() + name.text.len() + 2 > WIDTH {
            let _ = writeln!(out, "{row}");
            row.clear();
        }
        let _ = match row.is_empty() {
            true => write!(row, "{keyword:<10} {}", name.text),
            false => write!(row, "  {}", name.text),
        };
    }
    if !row.is_empty() {
        let _ = writeln!(out, "{row}");
    }
}

fn limits_words(limits: &Limits) -> String {
    let mut words = String::from("limits    ");
    if let Some(bytes) = limits.memlock_bytes {
        let _ = match bytes.is_multiple_of(1024) {
            true => write!(words, " memlock={}K", bytes / 1024),
            false => write!(words, " memlock={bytes}"),
        };
    }
    if limits.unprivileged {
        words.push_str(" uid=nobody");
    }
    words
}

fn ring_words(ring: &Ring) -> String {
    let mut words = format!("{:<10}", "ring");
    if let Some(name) = &ring.name {
        let _ = write!(words, " {}", name.text);
    }
    words + &ring_fields(ring)
}

/// What a ring is asked to be.
pub fn ring_fields(ring: &Ring) -> String {
    let mut words = format!(" entries={}", ring.entries);
    if let Some(entries) = ring.cq_entries {
        let _ = write!(words, " cq={entries}");
    }
    if ring.flags != 0 {
        let _ = write!(words, " flags={}", abi::flag_names(setup::NAMES, ring.flags));
    }
    words
}

fn socket_words(socket: &Socket) -> String {
    let mut words = format!("{:<10} {}", "socket", socket.near.text);
    if let Some(far) = &socket.far {
        let _ = write!(words, " {}", far.text);
    }
    let _ = write!(words, " {}", kind_word(socket.setup.kind));
    if socket.setup.lane != Lane::Loopback {
        let _ = write!(words, " lane={}", lane_word(socket.setup.lane));
    }
    for (key, bytes) in [("sndbuf", socket.setup.sndbuf_bytes), ("rcvbuf", socket.setup.rcvbuf_bytes)] {
        if let Some(bytes) = bytes {
            let _ = write!(words, " {key}={bytes}");
        }
    }
    if socket.setup.state == SocketState::Unconnected {
        words.push_str(" unconnected");
    }
    words
}

fn buffer_words(buffer: &Buffer) -> String {
    let mut words = format!("{:<10} {} {}", "buffer", buffer.name.text, buffer.len_bytes);
    if buffer.at_bytes != 0 {
        let _ = write!(words, " at={}", buffer.at_bytes);
    }
    if let Some(after) = &buffer.after {
        let _ = write!(words, " after={}", after.text);
    }
    if let Some(index) = buffer.register {
        let _ = write!(words, " register={index}");
    }
    match buffer.protection {
        Protection::ReadWrite => {}
        Protection::ReadOnly => words.push_str(" prot=read-only"),
        Protection::None => words.push_str(" prot=none"),
    }
    if buffer.sink {
        words.push_str(" sink");
    }
    words
}

fn print_step(out: &mut String, step: &Noted<Step>) {
    line(out, "", step, &step_words(&step.what));
    match &step.what {
        Step::Submit(Submit { sqes, returns, .. }) => {
            for sqe in sqes {
                line(out, "  ", sqe, &sqe_words(&sqe.what));
            }
            if let Some(returns) = returns {
                line(out, "  ", returns, &format!("returns {}", returns_words(returns.what)));
            }
        }
        Step::Queue(Queue { sqes, array, .. }) => {
            for sqe in sqes {
                line(out, "  ", sqe, &sqe_words(&sqe.what));
            }
            if let Some(array) = array {
                line(out, "  ", array, &array_words(&array.what));
            }
        }
        Step::Expect(expect) => print_expect(out, expect),
        Step::Received(_, alternatives) => {
            for alternative in alternatives.iter().skip(1) {
                line(out, "  ", alternative, &format!("      or {}", arrival_words(&alternative.what)));
            }
        }
        _ => {}
    }
}

/// The first line of a step.
pub fn step_words(step: &Step) -> String {
    let named = |keyword: &str, name: &Option<Name>| match name {
        Some(name) => format!("{keyword:<10} {}", name.text),
        None => keyword.to_string(),
    };
    match step {
        Step::Submit(submit) => named("submit", &submit.ring),
        Step::Sleep(ring) => named("sleep", ring),
        Step::Queue(queue) => named("queue", &queue.ring),
        Step::Enter(call) => format!("{:<10}", named("enter", &call.ring)) + &enter_words(call),
        Step::Look(look) => {
            let words = format!("{:<10}", named("look", &look.ring)) + &look_words(look);
            words.trim_end().to_string()
        }
        Step::Expect(expect) => {
            let words = named(if expect.peek.is_some() { "peek" } else { "expect" }, &expect.ring);
            if expect.peek == Some(true) { format!("{words:<10} overflow") } else { words }
        }
        Step::Fence(ring) => named("fence", ring),
        Step::Settle => "settle".into(),
        Step::Ack(peer, None) => format!("{:<10} {} all", "ack", peer.text),
        Step::Ack(peer, Some(bytes)) => format!("{:<10} {} {bytes}", "ack", peer.text),
        Step::Window(peer, bytes) => format!("{:<10} {} {bytes}", "window", peer.text),
        Step::Miss(peer, bytes) => format!("{:<10} {} {bytes}", "miss", peer.text),
        Step::Drain(peer, None) => format!("{:<10} {} all", "drain", peer.text),
        Step::Drain(peer, Some(bytes)) => format!("{:<10} {} {bytes}", "drain", peer.text),
        Step::Received(peer, alternatives) => {
            let first = alternatives.first().map(|a| arrival_words(&a.what)).unwrap_or_default();
            format!("{:<10} {}  {first}", "received", peer.text)
        }
        Step::Resent(peer, pieces) => format!("{:<10} {}  {}", "resent", peer.text, arrival_words(pieces)),
        Step::Rewrite(buffer) => format!("{:<10} {}", "rewrite", buffer.text),
        Step::Reset(peer) => format!("{:<10} {}", "reset", peer.text),
        Step::Close(socket) => format!("{:<10} {}", "close", socket.text),
        Step::Shutdown(socket) => format!("{:<10} {}", "shutdown", socket.text),
        Step::Cork(socket, true) => format!("{:<10} {}", "cork", socket.text),
        Step::Cork(socket, false) => format!("{:<10} {}", "uncork", socket.text),
        Step::Register(Register { ring, what, returns }) => {
            let keyword = match what {
                Table::Update(_) => "update",
                Table::NoBuffers | Table::NoFiles => "unregister",
                _ => "register",
            };
            let mut words = format!("{:<10}", named(keyword, ring));
            if matches!(what, Table::Files(_) | Table::NoFiles) {
                words.push_str(" files");
            }
            if let Table::Buffers(slots) | Table::Update(slots) | Table::Files(slots) = what {
                words.extend(slots.iter().map(|slot| format!(" {}", slot_words(slot))));
            }
            if *what == Table::Enable {
                words.push_str(" enable");
            }
            if let Table::Cancel(user_data) = what {
                let _ = write!(words, " cancel #{user_data}");
            }
            if let Table::Restrict(list) = what {
                words.push_str(" restrict");
                words.push_str(&restriction_words(list));
            }
            if let Table::Sparse(slots) = what {
                let _ = write!(words, " sparse={slots}");
            }
            (words + &trailing(*returns)).trim_end().to_string()
        }
        Step::Elsewhere(ring, returns) => format!("{:<10}", named("elsewhere", ring)) + &trailing(*returns),
        Step::Setup(Setup { ring, returns }) => {
            format!("{:<10}{}{}", "setup", ring_fields(ring), trailing(*returns))
        }
        Step::Lent(lent) => {
            let until = if lent.until == LentUntil::Last { "last" } else { "result" };
            format!("{:<10} {} until #{} {until}", "lent", lent.buffer.text, lent.user_data)
        }
    }
}

fn trailing(returns: Option<Returns>) -> String {
    returns.map(|r| format!(" returns {}", returns_words(r))).unwrap_or_default()
}

pub(super) fn returns_words(Returns(value): Returns) -> String {
    match u16::try_from(value.unsigned_abs()) {
        Ok(number) if value < 0 => format!("-{}", errno_word(number)),
        _ => value.to_string(),
    }
}

fn errno_word(number: u16) -> String {
    abi::name_of(errno::NAMES, number).map_or_else(|| format!("E{number}"), str::to_string)
}

fn slot_words(slot: &Slot) -> String {
    let name = slot.name.as_ref().map_or("empty", |name| &name.text);
    match slot.range {
        Some((from, to)) => format!("{}={name} {from}..{to}", slot.index),
        None => format!("{}={name}", slot.index),
    }
}

/// One entry of a `submit` block.
pub fn sqe_words(sqe: &SqeLine) -> String {
    let is_mixed = matches!(sqe.data, Data::Mixed(_));
    let op = if is_mixed { "mixed" } else { abi::name_of(OPS, sqe.opcode).unwrap_or("nop") };
    let mut words = format!("#{} {op}", sqe.user_data);
    match &sqe.target {
        Target::None => {}
        Target::Socket(name) => _ = write!(words, " {}", name.text),
        Target::Closed => words.push_str(" closed"),
        Target::File(index) => _ = write!(words, " file={index}"),
    }
    match &sqe.data {
        Data::None => {}
        Data::Request(user_data) => _ = write!(words, " #{user_data}"),
        Data::Flat(segment) => _ = write!(words, " {}", segment_words(segment)),
        Data::Mixed(parts) => {
            let parts: Vec<String> = parts.iter().map(super::mixed::part_words).collect();
            let _ = write!(words, " [{}]", parts.join(", "));
        }
        Data::Vector(segments) => {
            let segments: Vec<String> = segments.iter().map(segment_words).collect();
            let _ = write!(words, " [{}]", segments.join(", "));
        }
    }
    if sqe.msg != 0 && sqe.opcode == op::ASYNC_CANCEL {
        let _ = write!(words, " by={}", abi::flag_names(cancel_flag::NAMES, sqe.msg));
    } else if sqe.msg != 0 {
        let _ = write!(words, " msg={}", abi::flag_names(msg::NAMES, sqe.msg));
    }
    let zc = if is_mixed { sqe.zc & !send_flag::PER_IOVEC } else { sqe.zc };
    if zc != 0 {
        let _ = write!(words, " zc={}", abi::flag_names(send_flag::NAMES, zc));
    }
    if let Some(index) = sqe.index {
        let _ = write!(words, " index={index}");
    }
    for (flag, _) in FLAGS.iter().filter(|(_, bit)| sqe.flags & bit != 0) {
        let _ = write!(words, " {flag}");
    }
    for (field, value) in &sqe.raw {
        if let Some((key, ..)) = RAW.iter().find(|(_, f, _)| f == field) {
            let _ = write!(words, " {key}={value:#x}");
        }
    }
    words
}

/// A range of memory.
pub fn segment_words(segment: &Segment) -> String {
    let place = match &segment.place {
        Place::Buffer(name) => &name.text,
        Place::Null => "NULL",
        Place::Hole => "hole",
        Place::Kernel => "kernel",
        Place::Wrap => "wrap",
    };
    format!("{place} {}..{}", segment.from, segment.to)
}

fn print_expect(out: &mut String, expect: &Expect) {
    let joint = expect.outcomes.len() > 1;
    for (n, outcome) in expect.outcomes.iter().enumerate() {
        if joint {
            out.push_str(if n == 0 { "  outcome\n" } else { "  or outcome\n" });
        }
        let indent = if joint { "    " } else { "  " };
        for expected in &outcome.lines {
            match &expected.what {
                ExpectLine::Request(user_data, alternatives) => {
                    let head = format!("#{user_data}");
                    for (n, alternative) in alternatives.iter().enumerate() {
                        let head = if n == 0 { &head } else { " or" };
                        line(
                            out,
                            indent,
                            alternative,
                            &format!("{head:<3} {}", patterns_words(&alternative.what)),
                        );
                    }
                }
                other => line(out, indent, expected, &expect_words(other)),
            }
        }
    }
}

/// A line of an outcome; of a request, its first alternative.
pub(super) fn expect_words(line: &ExpectLine) -> String {
    match line {
        ExpectLine::Request(user_data, alternatives) => {
            let patterns = alternatives.first().map(|first| first.what.as_slice()).unwrap_or_default();
            format!("#{user_data} {}", patterns_words(patterns))
        }
        ExpectLine::Never(user_data, Silence::All) => format!("never #{user_data}"),
        ExpectLine::Never(user_data, Silence::Notif) => format!("never #{user_data} NOTIF"),
        ExpectLine::Order(order) => {
            format!("order{}", order.iter().map(|u| format!(" #{u}")).collect::<String>())
        }
    }
}

/// The completions of one alternative.
pub fn patterns_words(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return "nothing".into();
    }
    let words: Vec<String> = patterns
        .iter()
        .map(|pattern| match pattern {
            Pattern::Result(res, more) => format!("{}{}", res_words(*res), if *more { " MORE" } else { "" }),
            Pattern::Notif(UsagePattern::Clear) => "0 NOTIF".into(),
            Pattern::Notif(UsagePattern::Copied) => "COPIED NOTIF".into(),
            Pattern::Notif(UsagePattern::Any) => "* NOTIF".into(),
        })
        .collect();
    words.join(" then ")
}

fn res_words(res: ResPattern) -> String {
    match res {
        ResPattern::Count(n) => n.to_string(),
        ResPattern::Range(from, to) => format!("{from}..{to}"),
        ResPattern::Errno(number) => format!("-{}", errno_word(number)),
        ResPattern::AnyErrno => "-*".into(),
    }
}

/// What a peer got, in one alternative.
pub fn arrival_words(arrival: &Arrival) -> String {
    let part = |pieces: &Vec<Piece>| match pieces.is_empty() {
        true => "empty".to_string(),
        false => pieces.iter().map(piece_words).collect::<Vec<_>>().join(", "),
    };
    let parts: Vec<String> = arrival.parts.iter().map(part).collect();
    let mut words = if parts.is_empty() { "nothing".into() } else { parts.join(" | ") };
    if let Some((user_data, res)) = arrival.given {
        let _ = write!(words, "  if #{user_data} {}", res_words(res));
    }
    words
}

fn piece_words(piece: &Piece) -> String {
    let generation = if piece.generation == 0 { String::new() } else { format!("@{}", piece.generation) };
    let to = match piece.to {
        Upto::Byte(to) => to.to_string(),
        Upto::Result(user_data) => format!("#{user_data}"),
    };
    format!("{}{generation} {}..{to}", piece.buffer.text, piece.from)
}
