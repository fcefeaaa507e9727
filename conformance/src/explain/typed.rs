//! The form that is typed by hand: completions a line each, and what is known of submissions.
//!
//! ```text
//! submit #7 send_zc fd=5 len=4096 zc=REPORT_USAGE
//! cqe 7 4096 MORE
//! cqe 7 COPIED NOTIF
//! ```
//! Lines mean what they mean in a case as far as they can; what stands nowhere is left to be assumed.

use uringspec_model::abi::{self, cqe_flag, msg, op, send_flag};
use uringspec_model::cqe::Cqe;
use uringspec_model::program::{Lane, SocketKind};
use winnow::Result;

use crate::case::error::{CaseError, Refusal};
use crate::case::parse_expect::errno;
use crate::case::parse_setup::{KINDS, LANES};
use crate::case::parse_sqe::{FLAGS, OPS};
use crate::case::token::{self, Input, eat, eat_key, eat_word, keyword, number};
use crate::case::{lines, text::At};

/// The most lines that say something: all of them are judged as one program, in some seconds.
const LINES_MAX: usize = 4096;

/// A log that was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// What is known of descriptors.
    pub sockets: Vec<SocketLine>,
    /// Submissions and completions, in the order of the lines.
    pub items: Vec<Item>,
}

/// A line of one of the two sorts that have an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `submit`.
    Submit(Entry),
    /// `cqe`, and its line from 1.
    Cqe(Cqe, u32),
}

/// A `socket` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLine {
    /// The descriptor.
    pub fd: u32,
    /// Family and type.
    pub kind: SocketKind,
    /// The path of its bytes.
    pub lane: Lane,
    /// It has no peer.
    pub unconnected: bool,
}

/// What is known of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What its completions carry.
    pub user_data: u64,
    /// Its opcode.
    pub opcode: u8,
    /// The request that a cancel is about.
    pub target: u64,
    /// The descriptor.
    pub fd: Option<u32>,
    /// Bytes.
    pub len_bytes: Option<u64>,
    /// `abi::msg` bits.
    pub msg: u32,
    /// `abi::send_flag` bits.
    pub zc: u16,
    /// `buf_index`.
    pub index: u16,
    /// `abi::sqe_flag` bits.
    pub flags: u8,
}

/// Reads a log. `file` is only for messages.
pub fn parse(file: &str, text: &str) -> Result<Typed, CaseError> {
    read(text).map_err(|refusal| refusal.of(file, text))
}

fn read(text: &str) -> Result<Typed, Refusal> {
    let mut typed = Typed::default();
    for line in lines::split(text).into_iter().filter(|line| !line.content.is_empty()) {
        if typed.items.len() + typed.sockets.len() >= LINES_MAX {
            return Err(Refusal::new(line.at, "the log is too long")
                .expecting([format!("at most {LINES_MAX} lines that say something")]));
        }
        let i = &mut token::input(line.content, line.at);
        let at = token::here(i);
        match token::word(i) {
            "cqe" => {
                let cqe = cqe(i)?;
                token::end(i, &["MORE", "NOTIF", "flags=0x2"])?;
                typed.items.push(Item::Cqe(cqe, line.at.line(text)));
            }
            "submit" => typed.items.push(Item::Submit(entry(i)?)),
            "socket" => typed.sockets.push(socket(i)?),
            other => {
                let refusal = Refusal::new(at, format!("{} is no line of a log", token::shown(other)));
                return Err(refusal.expecting(EXPECTED.iter().copied()));
            }
        }
    }
    if !typed.items.iter().any(|item| matches!(item, Item::Cqe(..))) {
        let end = At { start: text.len(), end: text.len() };
        return Err(Refusal::new(end, "the log has no completion").expecting(EXPECTED.iter().copied()));
    }
    Ok(typed)
}

/// What a line may be.
const EXPECTED: &[&str] = &[
    "a completion such as `cqe 7 4096 MORE`",
    "a submission such as `submit #7 send_zc len=4096`",
    "a descriptor such as `socket fd=5 udp`",
    "a comment such as `# what I did`",
    "a line of the JSON form such as {\"v\":1,\"seen\":…}",
];

/// `7 4096 MORE`, with the user data as in a case or bare.
fn cqe(i: &mut Input<'_>) -> Result<Cqe, Refusal> {
    eat(i, '#');
    let user_data = number(i, "user data", u64::MAX)?;
    let res = res(i)?;
    let mut flags = 0;
    while !token::at_end(i) {
        if eat_key(i, "flags") {
            flags |= number(i, "flags of a completion", u32::MAX.into())? as u32;
        } else {
            let named = token::bits(i, "flag of a completion", cqe_flag::NAMES)?;
            flags |= named as u32;
        }
    }
    Ok(Cqe { user_data, res, flags })
}

/// A count, an errno by name or number, or what a notification says.
fn res(i: &mut Input<'_>) -> Result<i32, Refusal> {
    if eat_word(i, "COPIED") {
        return Ok(abi::ZC_COPIED);
    }
    let at = token::here(i);
    let word = token::peek_word(i);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = match word.strip_prefix('-') {
        Some(rest) if digits(rest) => word.parse::<i32>().ok(),
        Some(rest) if rest.starts_with('E') => return errno(i).map(|number| -i32::from(number)),
        Some(_) => None,
        // a result that was printed without its sign
        None if word.starts_with("0x") => u32::from_str_radix(&word[2..], 16).ok().map(|bits| bits as i32),
        None => word.parse::<i32>().ok(),
    };
    let value = value.ok_or_else(|| {
        Refusal::new(at, format!("{} is no result", token::shown(word))).expecting([
            "a count such as 4096",
            "an errno such as -ECANCELED or -125",
            "COPIED",
            "32 bits such as 0x80000000",
        ])
    })?;
    token::word(i);
    Ok(value)
}

/// `#7 send_zc fd=5 len=4096 msg=WAITALL zc=REPORT_USAGE index=0 LINK`.
fn entry(i: &mut Input<'_>) -> Result<Entry, Refusal> {
    let mut entry = Entry { user_data: token::user_data(i)?, ..Entry::default() };
    entry.opcode = keyword(i, "opcode", OPS)?;
    if entry.opcode == op::ASYNC_CANCEL {
        entry.target = token::user_data(i)?;
    }
    while !token::at_end(i) {
        if eat_key(i, "fd") {
            entry.fd = Some(number(i, "a descriptor", i32::MAX as u64)? as u32);
        } else if eat_key(i, "len") {
            entry.len_bytes = Some(number(i, "a number of bytes", u32::MAX.into())?);
        } else if eat_key(i, "msg") {
            entry.msg |= token::bits(i, "message flag", msg::NAMES)? as u32;
        } else if eat_key(i, "zc") {
            entry.zc |= token::bits(i, "send flag", send_flag::NAMES)? as u16;
        } else if eat_key(i, "index") {
            entry.index = number(i, "an index", 1023)? as u16;
        } else {
            let at = token::here(i);
            let word = token::shown(token::peek_word(i));
            let keys = ["fd=", "len=", "msg=", "zc=", "index="].into_iter();
            let refusal = Refusal::new(at, format!("{word} has no place in a submission"))
                .expecting(keys.chain(FLAGS.iter().map(|(flag, _)| *flag)));
            entry.flags |= abi::value_of(FLAGS, token::peek_word(i)).ok_or(refusal)?;
            token::word(i);
        }
    }
    Ok(entry)
}

/// `fd=5 udp lane=loopback`.
fn socket(i: &mut Input<'_>) -> Result<SocketLine, Refusal> {
    let at = token::here(i);
    if !eat_key(i, "fd") {
        let word = token::shown(token::peek_word(i));
        return Err(Refusal::new(at, format!("{word} is no descriptor")).expecting(["fd=5"]));
    }
    let fd = number(i, "a descriptor", i32::MAX as u64)? as u32;
    let kind = keyword(i, "kind of socket", KINDS)?;
    let mut line = SocketLine { fd, kind, lane: Lane::Unknown, unconnected: false };
    while !token::at_end(i) {
        if eat_word(i, "unconnected") {
            line.unconnected = true;
        } else if eat_key(i, "lane") {
            line.lane = keyword(i, "lane", LANES)?;
        } else {
            let at = token::here(i);
            let word = token::shown(token::peek_word(i));
            return Err(Refusal::new(at, format!("{word} has no place in a socket line"))
                .expecting(["lane=", "unconnected"]));
        }
    }
    Ok(line)
}
