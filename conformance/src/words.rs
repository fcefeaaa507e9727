//! Programs and traces in the words of the case form.
//!
//! A submission is read back through the program's memory: its descriptor becomes the name of a
//! socket, its addresses ranges of buffers. What the words cannot say stands as `raw.` fields.

use uringspec_model::abi::{cancel_flag, element_flag, name_of, op, send_flag, sqe_flag};
use uringspec_model::enter as model;
use uringspec_model::memory::{Contents, Generation, Region};
use uringspec_model::program::{
    Amount, End, Iovec, Program, Register, RingSetup, SocketId, Step, Until, socket_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{PeerEnd, Run, What, Words};

use crate::case::entry::CLOSED_FD;
use crate::case::mixed::Part;
use crate::case::names::Names;
use crate::case::place::{HOLE, MSGHDR_BYTES, WRAP};
use crate::case::print::{ring_fields, segment_words, sqe_words};
use crate::case::print_call::{array_words, enter_words, look_words, restriction_words};
use crate::case::text::At;
use crate::case::{Data, Enter, Look, Name, OPS, Place, RawField, Returns, Ring, Segment, SqeLine, Target};

/// The most elements of an iovec array that are read back.
const ELEMENTS_SHOWN_MAX: u64 = 2048;

/// The flags of cancels that have names.
const WAYS_TO_CANCEL: u32 = 0x3f;

/// An entry in words.
pub fn sqe(program: &Program, names: &Names, sqe: &Sqe) -> String {
    sqe_words(&decode(program, names, sqe))
}

/// Reads an entry back as a line of a case.
pub fn decode(program: &Program, names: &Names, sqe: &Sqe) -> SqeLine {
    let known = name_of(OPS, sqe.opcode).is_some();
    let cancels = sqe.opcode == op::ASYNC_CANCEL;
    let by_file = cancels && sqe.op_flags & cancel_flag::FD != 0 && sqe.op_flags & cancel_flag::FD_FIXED == 0;
    let aimed = known && sqe.opcode != op::NOP && (!cancels || by_file);
    let known_ways = cancels && sqe.op_flags & !WAYS_TO_CANCEL == 0;
    let sends = matches!(sqe.opcode, op::SEND | op::SENDMSG | op::SEND_ZC | op::SENDMSG_ZC);
    let (data, header) = if known { data(program, sqe) } else { (Data::None, Vec::new()) };
    let target = if aimed { target(names, sqe) } else { Target::None };
    let mut flags = sqe.flags & 0x7f;
    if matches!(target, Target::File(_)) {
        flags &= !sqe_flag::FIXED_FILE;
    }
    let unnamed = sqe.flags & 0x80 != 0 || flags & sqe_flag::FIXED_FILE != 0;
    // What the words above give a field, and what it has.
    let fields = [
        (RawField::Opcode, u64::from(sqe.opcode), known),
        (RawField::Flags, sqe.flags.into(), !unnamed),
        (RawField::Ioprio, sqe.ioprio.into(), sends),
        (RawField::Fd, u64::from(sqe.fd as u32), aimed && (target != Target::Closed || sqe.fd == CLOSED_FD)),
        (RawField::Off, sqe.off, false),
        (RawField::Addr, sqe.addr, data != Data::None),
        (RawField::Len, sqe.len.into(), !matches!(data, Data::None | Data::Request(_))),
        (RawField::OpFlags, sqe.op_flags.into(), sends || known_ways),
        (RawField::Personality, sqe.personality.into(), false),
        (RawField::FileIndex, sqe.file_index.into(), false),
        (RawField::Addr3, sqe.addr3, false),
        (RawField::Pad2, sqe.pad2, false),
    ];
    let unwritten = fields.into_iter().filter(|(_, value, written)| !written && *value != 0);
    SqeLine {
        user_data: sqe.user_data,
        opcode: if known { sqe.opcode } else { op::NOP },
        target,
        data,
        msg: if sends || known_ways { sqe.op_flags } else { 0 },
        zc: if sends { sqe.ioprio } else { 0 },
        index: (sqe.buf_index != 0).then_some(sqe.buf_index),
        flags: if unnamed { 0 } else { flags },
        raw: unwritten.map(|(field, value, _)| (field, value)).chain(header).collect(),
        at: At::default(),
    }
}

fn target(names: &Names, sqe: &Sqe) -> Target {
    if sqe.flags & sqe_flag::FIXED_FILE != 0 {
        return Target::File(sqe.fd as u32);
    }
    let named = socket_of(sqe.fd).and_then(|(socket, end)| names.socket_name(socket, end));
    named.map_or(Target::Closed, |name| Target::Socket(Name { text: name.into(), at: At::default() }))
}

/// The data, and the fields of a message header that are not as a case writes them.
fn data(program: &Program, sqe: &Sqe) -> (Data, Vec<(RawField, u64)>) {
    let vector = |addr, count| {
        let array = read_array(program, addr, count)?;
        Some(Data::Vector(array.into_iter().map(|v| segment(program, v)).collect()))
    };
    let data = match sqe.opcode {
        op::NOP => Data::None,
        op::ASYNC_CANCEL if sqe.addr == 0 && sqe.op_flags != 0 => Data::None,
        op::ASYNC_CANCEL => Data::Request(sqe.addr),
        op::SENDMSG | op::SENDMSG_ZC => {
            let header = read(program, sqe.addr, MSGHDR_BYTES).filter(|_| sqe.len == 1);
            let Some(h) = header.filter(|h| word(h, 48) == 0) else {
                return (Data::None, Vec::new());
            };
            let is_mixed = sqe.ioprio & send_flag::PER_IOVEC != 0;
            let mixed = || elements(program, word(&h, 16), word(&h, 24));
            let vector = || vector(word(&h, 16), word(&h, 24));
            let data = if is_mixed { mixed() } else { vector() };
            let Some(data) = data else { return (Data::None, Vec::new()) };
            let fields = [
                (RawField::MsgName, word(&h, 0)),
                (RawField::NameLen, word(&h, 8) & 0xffff_ffff),
                (RawField::Control, word(&h, 32)),
                (RawField::ControlLen, word(&h, 40)),
            ];
            return (data, fields.into_iter().filter(|(_, value)| *value != 0).collect());
        }
        op::WRITEV | op::WRITEV_FIXED | op::READV => vector(sqe.addr, sqe.len.into()).unwrap_or(Data::None),
        _ if sqe.ioprio & send_flag::VECTORIZED != 0 => {
            vector(sqe.addr, sqe.len.into()).unwrap_or_else(|| flat(program, sqe))
        }
        _ => flat(program, sqe),
    };
    (data, Vec::new())
}

/// The segments of a mixed send, if they are such.
fn elements(program: &Program, addr: u64, count: u64) -> Option<Data> {
    let array = read_array(program, addr, count)?;
    let part = |v: Iovec| {
        let flags = (v.len_bytes >> 48) as u16;
        let known = flags & !(element_flag::ZC | element_flag::FIXED) == 0;
        let iovec = Iovec { addr: v.addr, len_bytes: v.len_bytes & 0xffff_ffff };
        known.then(|| Part {
            lent: flags & element_flag::ZC != 0,
            segment: segment(program, iovec),
            register: (flags & element_flag::FIXED != 0).then_some((v.len_bytes >> 32) as u16),
            by: None,
        })
    };
    let parts = array.into_iter().map(part).collect::<Option<Vec<Part>>>()?;
    Some(Data::Mixed(joined(&parts)))
}

/// Three and more equal pieces that lie side by side are one part of several segments.
fn joined(parts: &[Part]) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::new();
    let mut rest = parts;
    while let Some(first) = rest.first() {
        let len = first.segment.to - first.segment.from;
        let follows = |(i, part): &(usize, &Part)| {
            let from = first.segment.from + *i as u64 * len;
            let same = (part.lent, part.register) == (first.lent, first.register);
            let place = part.segment.place == first.segment.place;
            same && place && (part.segment.from, part.segment.to) == (from, from + len) && len > 0
        };
        let count = rest.iter().enumerate().take_while(follows).count().max(1);
        let mut part = first.clone();
        if count > 2 {
            part.segment.to = part.segment.from + count as u64 * len;
            part.by = Some(len);
            all.push(part);
        } else {
            all.extend_from_slice(&rest[..count]);
        }
        rest = &rest[count..];
    }
    all
}

fn flat(program: &Program, sqe: &Sqe) -> Data {
    match (sqe.addr, sqe.len) {
        (0, 0) => Data::None,
        (addr, len) => Data::Flat(segment(program, Iovec { addr, len_bytes: len.into() })),
    }
}

/// The range of memory in words; an address that no buffer explains counts from zero.
pub(crate) fn segment(program: &Program, iovec: Iovec) -> Segment {
    let Iovec { addr, len_bytes } = iovec;
    let inside = program
        .regions
        .iter()
        .find(|r| !matches!(r.contents, Contents::Bytes(_)) && (r.addr..r.end()).contains(&addr));
    let at_end =
        || program.regions.iter().find(|r| !matches!(r.contents, Contents::Bytes(_)) && r.end() == addr);
    let (place, from) = match inside.or_else(at_end) {
        Some(region) => {
            (Place::Buffer(Name { text: region.name.clone(), at: At::default() }), addr - region.addr)
        }
        None if addr >= WRAP => (Place::Wrap, addr - WRAP),
        None if addr >= crate::case::place::KERNEL => (Place::Kernel, addr - crate::case::place::KERNEL),
        None if (HOLE..HOLE + (1 << 20)).contains(&addr) => (Place::Hole, addr - HOLE),
        None => (Place::Null, addr),
    };
    Segment { place, from, to: from.saturating_add(len_bytes), at: At::default() }
}

fn read_array(program: &Program, addr: u64, count: u64) -> Option<Vec<Iovec>> {
    if count > ELEMENTS_SHOWN_MAX {
        return None;
    }
    let bytes = read(program, addr, count * 16)?;
    Some(bytes.chunks_exact(16).map(|e| Iovec { addr: word(e, 0), len_bytes: word(e, 8) }).collect())
}

/// Bytes of a region that holds headers; contents behind the written ones are zero.
fn read(program: &Program, addr: u64, len: u64) -> Option<Vec<u8>> {
    let region = program.regions.iter().find(|r| r.covers(addr, len) && !r.contents.is_stamped())?;
    let Contents::Bytes(bytes) = &region.contents else { return None };
    let from = addr - region.addr;
    let at = |n: u64| usize::try_from(from + n).ok().and_then(|i| bytes.0.get(i)).copied().unwrap_or(0);
    Some((0..len).map(at).collect())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes.get(at + n).copied().unwrap_or(0)))
}

/// A step in words: a keyword and what stands behind it. A submission has a line for each entry.
pub fn step(program: &Program, names: &Names, step: &Step) -> Vec<(&'static str, String)> {
    let region = |id: &uringspec_model::memory::RegionId| {
        program.regions.get(usize::from(id.0)).map_or("?", |r| r.name.as_str()).to_string()
    };
    let end = |socket, end| names.socket_name(socket, end).unwrap_or("?").to_string();
    let one = |keyword, words: String| vec![(keyword, words)];
    match step {
        Step::Submit { sqes, .. } if sqes.is_empty() => one("submit", "nothing".into()),
        Step::Submit { sqes, .. } => {
            sqes.iter().map(|entry| ("submit", sqe(program, names, entry))).collect()
        }
        Step::Queue { sqes, array, .. } => {
            let entries = sqes.iter().map(|entry| ("queue", sqe(program, names, entry)));
            let array = Some(("queue", array_words(array))).filter(|_| !array.is_empty());
            entries.chain(array).collect()
        }
        Step::Enter(call) => one("enter", enter_words(&enter_of(call, None, None)).trim_start().to_string()),
        Step::Sleep { .. } => one("sleep", String::new()),
        Step::Look { .. } => one("look", String::new()),
        Step::Peek { .. } => one("peek", String::new()),
        Step::Reap { until, .. } => one("reap", until_words(until)),
        Step::Register { what, .. } => {
            let (keyword, words) = register(program, names, what);
            one(keyword, words)
        }
        Step::Drain { socket, amount } => {
            let amount = match amount {
                Amount::Bytes(bytes) => bytes.to_string(),
                Amount::Everything => "all".into(),
            };
            one("drain", format!("{} {amount}", end(*socket, End::Far)))
        }
        Step::Ack { socket, amount } => {
            let amount = match amount {
                Amount::Bytes(bytes) => bytes.to_string(),
                Amount::Everything => "all".into(),
            };
            one("ack", format!("{} {amount}", end(*socket, End::Far)))
        }
        Step::OfferWindow { socket, bytes } => one("window", format!("{} {bytes}", end(*socket, End::Far))),
        Step::Miss { socket, len_bytes } => one("miss", format!("{} {len_bytes}", end(*socket, End::Far))),
        Step::ResetPeer { socket } => one("reset", end(*socket, End::Far)),
        Step::CloseOwn { socket } => one("close", end(*socket, End::Near)),
        Step::ShutdownOwn { socket } => one("shutdown", end(*socket, End::Near)),
        Step::Cork { socket, on } => one(if *on { "cork" } else { "uncork" }, end(*socket, End::Near)),
        Step::Rewrite { region: id } => one("rewrite", region(id)),
        Step::Fence { .. } => one("fence", String::new()),
        Step::Settle => one("settle", String::new()),
        Step::EnterElsewhere { .. } => one("elsewhere", String::new()),
        Step::Setup(asked) => one("setup", ring_fields(&ring_of(asked)).trim_start().to_string()),
    }
}

/// What a ring is asked to be, as a case says it.
pub(crate) fn ring_of(asked: &RingSetup) -> Ring {
    let RingSetup { entries, cq_entries, flags } = *asked;
    Ring { name: None, entries, cq_entries, flags }
}

/// A call as a case says it.
pub(crate) fn enter_of(call: &model::Enter, ring: Option<Name>, returns: Option<Returns>) -> Enter {
    let model::Enter { on, to_submit, wanted, flags, argument, .. } = *call;
    Enter { ring, on, to_submit, wanted, flags, argument, returns }
}

/// What a ring says of itself, in words.
pub fn ring_words(words: Words) -> String {
    let Words { flags, dropped, queued, .. } = words;
    let words = look_words(&Look { ring: None, flags, dropped, queued });
    if words.is_empty() { "nothing to say".into() } else { words.trim_start().to_string() }
}

fn register(program: &Program, names: &Names, what: &Register) -> (&'static str, String) {
    let slots = |first: usize, table: &[Iovec]| {
        let slot = |(n, slot): (usize, &Iovec)| match *slot == Iovec::default() {
            true => format!("{}=empty", first + n),
            false => format!("{}={}", first + n, segment_words(&segment(program, *slot))),
        };
        table.iter().enumerate().map(slot).collect::<Vec<_>>().join(" ")
    };
    match what {
        Register::Buffers(table) => ("register", slots(0, table)),
        Register::SparseBuffers(count) => ("register", format!("sparse={count}")),
        Register::UpdateBuffers { offset, iovecs } => ("update", slots(*offset as usize, iovecs)),
        Register::UnregisterBuffers => ("unregister", String::new()),
        Register::UnregisterFiles => ("unregister", "files".into()),
        Register::Enable => ("register", "enable".into()),
        Register::Cancel(user_data) => ("register", format!("cancel #{user_data}")),
        Register::Restrict(list) => ("register", format!("restrict{}", restriction_words(list))),
        Register::Files(files) => {
            let name = |socket: &Option<u16>| match socket {
                Some(index) => names.socket_name(SocketId(*index), End::Near).unwrap_or("?"),
                None => "empty",
            };
            let slots: Vec<String> =
                files.iter().enumerate().map(|(n, file)| format!("{n}={}", name(file))).collect();
            ("register", format!("files {}", slots.join(" ")))
        }
    }
}

fn until_words(until: &Until) -> String {
    match until {
        Until::Now => "what is there".into(),
        Until::Settled => "until settled".into(),
        Until::Seen(wants) => {
            let wants: Vec<String> = wants
                .iter()
                .map(|w| {
                    format!("#{} ×{}{}", w.user_data, w.count, if w.last { " and its last" } else { "" })
                })
                .collect();
            format!("until {}", wants.join(", "))
        }
    }
}

/// An observation in words.
pub fn seen(program: &Program, names: &Names, what: &What) -> (&'static str, String) {
    let far = |socket| names.socket_name(socket, End::Far).unwrap_or("?").to_string();
    match what {
        What::Room(room) if room.full => {
            ("room", format!("{} has none", names.socket_name(room.socket, End::Near).unwrap_or("?")))
        }
        What::Room(room) => {
            let near = names.socket_name(room.socket, End::Near).unwrap_or("?");
            ("room", format!("{near} accepts {} bytes, {} leave", room.accepts_bytes, room.leaves_bytes))
        }
        What::Returned(value) => {
            let errno = u16::try_from(value.unsigned_abs()).ok().filter(|_| *value < 0);
            (
                "returned",
                errno.map_or_else(|| value.to_string(), |e| format!("-{}", uringspec_model::cqe::Errno(e))),
            )
        }
        What::Overflow { set: true, .. } => ("peek", "more waits outside the queue".into()),
        What::Overflow { set: false, .. } => ("peek", "nothing waits outside the queue".into()),
        What::Words(words) => ("look", ring_words(*words)),
        What::Cqe(taken) => match names.ring_name(taken.ring).filter(|name| !name.is_empty()) {
            Some(ring) => ("cqe", format!("{}  on {ring}", taken.cqe)),
            None => ("cqe", taken.cqe.to_string()),
        },
        What::Received(received) => {
            ("received", format!("{} {}", far(received.socket), runs(&program.regions, &received.runs)))
        }
        What::Acked { socket, len_bytes } => ("acked", format!("{} {len_bytes} bytes", far(*socket))),
        What::SentAgain(again) => {
            ("resent", format!("{} {}", far(again.socket), runs(&program.regions, &again.runs)))
        }
        What::PeerEnded { socket, how } => {
            let how = if *how == PeerEnd::EndOfFile { "end of file" } else { "reset" };
            ("received", format!("{} {how}", far(*socket)))
        }
        What::GaveUp => ("gave up", "what was waited for did not come".into()),
    }
}

/// Received bytes: ranges of buffers, joined where they touch.
pub fn runs(regions: &[Region], runs: &[Run]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut open: Option<(u16, Generation, u64, u64)> = None;
    let close = |open: &mut Option<(u16, Generation, u64, u64)>, words: &mut Vec<String>| {
        if let Some((region, generation, from, to)) = open.take() {
            let name = regions.get(usize::from(region)).map_or("?", |r| r.name.as_str());
            let generation = if generation.0 == 0 { String::new() } else { format!("@{}", generation.0) };
            words.push(format!("{name}{generation} {from}..{to}"));
        }
    };
    for run in runs {
        match run {
            Run::Stamped { region, generation, offset, len_bytes } => match &mut open {
                Some((r, g, _, to)) if (*r, *g, *to) == (region.0, *generation, *offset) => {
                    *to = to.saturating_add(*len_bytes);
                }
                _ => {
                    close(&mut open, &mut words);
                    open = Some((region.0, *generation, *offset, offset.saturating_add(*len_bytes)));
                }
            },
            Run::Bytes(bytes) => {
                close(&mut open, &mut words);
                let head: String = bytes.0.iter().take(8).map(|b| format!("{b:02x}")).collect();
                let more = if bytes.0.len() > 8 { "…" } else { "" };
                words.push(format!("{} bytes {head}{more}", bytes.0.len()));
            }
        }
    }
    close(&mut open, &mut words);
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}
