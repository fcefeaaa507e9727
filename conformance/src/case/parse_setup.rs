//! Reads the lines before the first step: rings, sockets, buffers.

use uringspec_model::abi::{name_of, setup};
use uringspec_model::memory::Protection;
use uringspec_model::program::{Lane, Limits, SocketKind, SocketSetup, SocketState};
use winnow::Result;

use super::error::Refusal;
use super::text::At;
use super::token::{self, Input, eat_key, eat_word, keyword, number, shown};
use super::{Buffer, Mode, Ring, Socket};

pub(crate) const KINDS: &[(&str, SocketKind)] = &[
    ("tcp", SocketKind::Tcp4),
    ("tcp6", SocketKind::Tcp6),
    ("udp", SocketKind::Udp4),
    ("udp6", SocketKind::Udp6),
    ("unix", SocketKind::UnixStream),
    ("not-a-socket", SocketKind::NotASocket),
];

pub(crate) const LANES: &[(&str, Lane)] = &[
    ("loopback", Lane::Loopback),
    ("gate", Lane::Gate),
    ("gate-full", Lane::GateFull),
    ("ifb-udp", Lane::IfbUdp),
    ("ifb-udp-tap", Lane::IfbUdpTap),
    ("repair-tcp", Lane::RepairTcp),
    ("repair-tcp-tap", Lane::RepairTcpTap),
    ("unknown", Lane::Unknown),
];

/// The words of socket kinds, for printing.
pub(crate) fn kind_word(kind: SocketKind) -> &'static str {
    name_of(KINDS, kind).unwrap_or("tcp")
}

/// The words of lanes, for printing.
pub(crate) fn lane_word(lane: Lane) -> &'static str {
    name_of(LANES, lane).unwrap_or("loopback")
}

/// The kinds of ring of a `rings` line.
pub(super) fn modes(i: &mut Input<'_>) -> Result<Vec<Mode>, Refusal> {
    let mut modes = Vec::new();
    while modes.is_empty() || !token::at_end(i) {
        let mode = keyword(i, "kind of ring", &[("plain", Mode::Plain), ("defer", Mode::Defer)])?;
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    Ok(modes)
}

/// A `limits` line behind its keyword.
pub(super) fn limits(i: &mut Input<'_>) -> Result<Limits, Refusal> {
    let mut limits = Limits::default();
    while limits == Limits::default() || !token::at_end(i) {
        if eat_key(i, "memlock") {
            limits.memlock_bytes = Some(token::size(i)?);
        } else if eat_key(i, "uid") {
            limits.unprivileged = keyword(i, "user", &[("nobody", true)])?;
        } else {
            return Err(unknown(i, "limits", &["memlock=64K", "uid=nobody"]));
        }
    }
    Ok(limits)
}

/// A `ring` line behind its keyword.
pub(super) fn ring(i: &mut Input<'_>) -> Result<Ring, Refusal> {
    let named = !token::peek_word(i).contains('=') && !token::at_end(i);
    let name = if named { Some(token::new_name(i, "ring")?) } else { None };
    let ring = ring_fields(i, "ring", &["entries=", "cq=", "flags="])?;
    Ok(Ring { name, ..ring })
}

/// What a ring is asked to be, up to the end of the line or to `returns`.
pub(super) fn ring_fields(i: &mut Input<'_>, line: &str, accepted: &[&str]) -> Result<Ring, Refusal> {
    let mut ring = Ring { name: None, entries: 8, cq_entries: None, flags: 0 };
    while !token::at_end(i) && (token::peek_word(i) != "returns" || !accepted.contains(&"returns")) {
        // The kernel judges the numbers; only what no 32-bit field holds is refused here.
        if eat_key(i, "entries") {
            ring.entries = number(i, "a number of entries", u32::MAX.into())? as u32;
        } else if eat_key(i, "cq") {
            ring.cq_entries = Some(number(i, "a number of entries", u32::MAX.into())? as u32);
        } else if eat_key(i, "flags") {
            ring.flags = token::bits(i, "set-up flag", setup::NAMES)? as u32;
        } else {
            return Err(unknown(i, line, accepted));
        }
    }
    Ok(ring)
}

/// A `socket` line behind its keyword.
pub(super) fn socket(i: &mut Input<'_>) -> Result<Socket, Refusal> {
    let near = token::new_name(i, "socket")?;
    let is_kind = KINDS.iter().any(|(word, _)| *word == token::peek_word(i));
    let far = if is_kind { None } else { Some(token::new_name(i, "peer")?) };
    let kind = keyword(i, "kind of socket", KINDS)?;
    let mut setup = SocketSetup {
        kind,
        lane: Lane::default(),
        state: SocketState::default(),
        sndbuf_bytes: None,
        rcvbuf_bytes: None,
    };
    while !token::at_end(i) {
        if eat_word(i, "unconnected") {
            setup.state = SocketState::Unconnected;
        } else if eat_key(i, "lane") {
            setup.lane = keyword(i, "lane", LANES)?;
        } else if eat_key(i, "sndbuf") {
            setup.sndbuf_bytes = Some(number(i, "a number of bytes", i32::MAX as u64)? as u32);
        } else if eat_key(i, "rcvbuf") {
            setup.rcvbuf_bytes = Some(number(i, "a number of bytes", i32::MAX as u64)? as u32);
        } else {
            return Err(unknown(i, "socket", &["lane=", "sndbuf=", "rcvbuf=", "unconnected"]));
        }
    }
    Ok(Socket { near, far, setup })
}

/// A `buffer` line behind its keyword.
pub(super) fn buffer(i: &mut Input<'_>, at: At) -> Result<Buffer, Refusal> {
    let name = token::new_name(i, "buffer")?;
    let len_bytes = number(i, "a number of bytes", u64::MAX)?;
    let (mut at_bytes, mut after, mut register) = (0, None, None);
    let (mut protection, mut sink) = (Protection::ReadWrite, false);
    while !token::at_end(i) {
        if eat_key(i, "at") {
            at_bytes = number(i, "an offset in a page", 4095)?;
        } else if eat_key(i, "after") {
            after = Some(token::name(i, "buffer")?);
        } else if eat_key(i, "register") {
            register = Some(number(i, "an index", 63)? as u16);
        } else if eat_key(i, "prot") {
            let table = &[("read-only", Protection::ReadOnly), ("none", Protection::None)];
            protection = keyword(i, "protection", table)?;
        } else if eat_word(i, "sink") {
            sink = true;
        } else {
            return Err(unknown(i, "buffer", &["at=", "after=", "register=", "prot=", "sink"]));
        }
    }
    Ok(Buffer { name, len_bytes, at_bytes, after, register, protection, sink, at })
}

fn unknown(i: &mut Input<'_>, what: &str, accepted: &[&str]) -> Refusal {
    let at = token::here(i);
    let word = shown(token::peek_word(i));
    Refusal::new(at, format!("{word} has no place in a {what} line")).expecting(accepted.iter().copied())
}
