//! Reads one entry of a `submit` block: `#1 sendmsg_zc A [K 0..4000] msg=WAITALL LINK`.

use uringspec_model::abi::{cancel_flag, msg, op, send_flag, sqe_flag};
use winnow::Result;

use super::error::Refusal;
use super::text::At;
use super::token::{self, Input, eat_key, eat_word, keyword, number};
use super::{Data, RawField, SqeLine, Target, mixed};

/// The opcodes of cases, by their words.
pub const OPS: &[(&str, u8)] = &[
    ("nop", op::NOP),
    ("send", op::SEND),
    ("sendmsg", op::SENDMSG),
    ("send_zc", op::SEND_ZC),
    ("sendmsg_zc", op::SENDMSG_ZC),
    ("write", op::WRITE),
    ("writev", op::WRITEV),
    ("write_fixed", op::WRITE_FIXED),
    ("writev_fixed", op::WRITEV_FIXED),
    ("readv", op::READV),
    ("cancel", op::ASYNC_CANCEL),
];

/// Whether an opcode of cases takes an array where `send` takes a pointer.
pub(crate) fn takes_array(opcode: u8) -> bool {
    matches!(opcode, op::SENDMSG | op::SENDMSG_ZC | op::WRITEV | op::WRITEV_FIXED | op::READV)
}

/// The flags behind an entry.
pub(crate) const FLAGS: &[(&str, u8)] = &[
    ("LINK", sqe_flag::LINK),
    ("HARDLINK", sqe_flag::HARDLINK),
    ("DRAIN", sqe_flag::DRAIN),
    ("ASYNC", sqe_flag::ASYNC),
    ("SKIP_SUCCESS", sqe_flag::CQE_SKIP_SUCCESS),
    ("BUFFER_SELECT", sqe_flag::BUFFER_SELECT),
];

/// The fields that can be set by hand: name, field, greatest value.
pub(super) const RAW: &[(&str, RawField, u64)] = &[
    ("raw.opcode", RawField::Opcode, u8::MAX as u64),
    ("raw.flags", RawField::Flags, u8::MAX as u64),
    ("raw.ioprio", RawField::Ioprio, u16::MAX as u64),
    ("raw.fd", RawField::Fd, u32::MAX as u64),
    ("raw.off", RawField::Off, u64::MAX),
    ("raw.addr", RawField::Addr, u64::MAX),
    ("raw.len", RawField::Len, u32::MAX as u64),
    ("raw.op_flags", RawField::OpFlags, u32::MAX as u64),
    ("raw.user_data", RawField::UserData, u64::MAX),
    ("raw.buf_index", RawField::BufIndex, u16::MAX as u64),
    ("raw.personality", RawField::Personality, u16::MAX as u64),
    ("raw.file_index", RawField::FileIndex, u32::MAX as u64),
    ("raw.addr3", RawField::Addr3, u64::MAX),
    ("raw.pad2", RawField::Pad2, u64::MAX),
    ("msg.name", RawField::MsgName, u64::MAX),
    ("msg.namelen", RawField::NameLen, u32::MAX as u64),
    ("msg.iovlen", RawField::IovLen, u64::MAX),
    ("msg.control", RawField::Control, u64::MAX),
    ("msg.controllen", RawField::ControlLen, u64::MAX),
];

/// One entry.
pub(super) fn sqe(i: &mut Input<'_>, at: At) -> Result<SqeLine, Refusal> {
    let user_data = token::user_data(i)?;
    let is_mixed = eat_word(i, "mixed");
    let opcode = if is_mixed { op::SENDMSG_ZC } else { keyword(i, "opcode", OPS)? };
    let target = target(i, opcode)?;
    let data = if is_mixed { Data::Mixed(mixed::parts(i)?) } else { data(i, opcode)? };
    let mut sqe = SqeLine {
        user_data,
        opcode,
        target,
        data,
        msg: 0,
        zc: if is_mixed { send_flag::PER_IOVEC } else { 0 },
        index: None,
        flags: 0,
        raw: Vec::new(),
        at,
    };
    while !token::at_end(i) {
        option(i, &mut sqe)?;
    }
    Ok(sqe)
}

fn target(i: &mut Input<'_>, opcode: u8) -> Result<Target, Refusal> {
    let next = token::peek_word(i);
    let is_bare = next.starts_with('#') || is_option(next) || token::at_end(i);
    if opcode == op::NOP || opcode == op::ASYNC_CANCEL && is_bare {
        return Ok(Target::None);
    }
    if eat_word(i, "closed") {
        return Ok(Target::Closed);
    }
    if eat_key(i, "file") {
        return Ok(Target::File(number(i, "an index of a file", u32::MAX.into())? as u32));
    }
    let at = token::here(i);
    token::name(i, "socket").map(Target::Socket).map_err(|refusal| {
        Refusal::new(at, refusal.message).expecting(["the name of a socket", "closed", "file=0"])
    })
}

/// Whether a word is one of those behind the data; `file=0` stands before it.
fn is_option(word: &str) -> bool {
    word.contains('=') && !word.starts_with("file=") || FLAGS.iter().any(|(flag, _)| *flag == word)
}

fn data(i: &mut Input<'_>, opcode: u8) -> Result<Data, Refusal> {
    let next = token::peek_word(i);
    let vector = token::rest(i).trim_start().starts_with('[');
    if vector && !matches!(opcode, op::NOP | op::ASYNC_CANCEL) {
        return token::vector(i).map(Data::Vector);
    }
    if opcode == op::NOP || is_option(next) || token::at_end(i) {
        return Ok(Data::None);
    }
    match opcode {
        op::ASYNC_CANCEL => token::user_data(i).map(Data::Request),
        _ if takes_array(opcode) => token::vector(i).map(Data::Vector),
        _ => token::segment(i).map(Data::Flat),
    }
}

fn option(i: &mut Input<'_>, sqe: &mut SqeLine) -> Result<(), Refusal> {
    if sqe.opcode != op::ASYNC_CANCEL && eat_key(i, "msg") {
        sqe.msg |= token::bits(i, "message flag", msg::NAMES)? as u32;
    } else if sqe.opcode != op::ASYNC_CANCEL && eat_key(i, "zc") {
        sqe.zc |= token::bits(i, "send flag", send_flag::NAMES)? as u16;
    } else if sqe.opcode == op::ASYNC_CANCEL && eat_key(i, "by") {
        sqe.msg |= token::bits(i, "way to cancel", cancel_flag::NAMES)? as u32;
    } else if eat_key(i, "index") {
        sqe.index = Some(number(i, "an index", u16::MAX.into())? as u16);
    } else if let Some((_, field, max)) = RAW.iter().find(|(key, ..)| eat_key(i, key)) {
        sqe.raw.push((*field, number(i, "a value", *max)?));
    } else {
        let at = token::here(i);
        let word = token::shown(token::peek_word(i));
        let keys = match sqe.opcode {
            op::ASYNC_CANCEL => &["by=", "index="][..],
            _ => &["msg=", "zc=", "index="][..],
        };
        let keys = keys.iter().map(|key| (*key).to_string());
        let raw = RAW.iter().map(|(key, ..)| format!("{key}="));
        let flags = FLAGS.iter().map(|(flag, _)| (*flag).to_string());
        let refusal = Refusal::new(at, format!("{word} has no place in an entry"))
            .expecting(keys.chain(flags).chain(raw));
        let flag = uringspec_model::abi::value_of(FLAGS, token::peek_word(i)).ok_or(refusal)?;
        token::word(i);
        sqe.flags |= flag;
    }
    Ok(())
}
