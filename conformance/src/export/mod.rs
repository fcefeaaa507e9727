//! A program as C that stands alone: no liburing, no headers but the C library's, one file.
//!
//! `runtime.c` holds what every program needs; what is written here are its memory, sockets, rings and steps
//! as calls of that. What it prints is a log in the JSON form, so `uringspec explain` judges it. It measures
//! no room and has no namespace of its own, so it promises less of sockets than a worker does.

use std::fmt::Write;

use thiserror::Error;
use uringspec_model::abi::{flag_names, name_of, op, setup};
use uringspec_model::memory::{Contents, Protection, WINDOW_BASE, WINDOW_BYTES};
use uringspec_model::program::{
    Amount, End, Iovec, Lane, Program, Register, SocketId, SocketKind, SocketState, Step, Until, fd_of,
};
use uringspec_model::sqe::Sqe;

use crate::case::OPS;
use crate::case::lowered::Lowered;
use crate::words;

const RUNTIME: &str = include_str!("runtime.c");
/// Rings and sockets that the runtime has room for.
const RINGS_MAX: usize = 8;
const SOCKETS_MAX: usize = 64;
/// Flags of rings that the runtime knows how to map.
const FLAGS: u32 = setup::CQSIZE
    | setup::CLAMP
    | setup::SUBMIT_ALL
    | setup::COOP_TASKRUN
    | setup::TASKRUN_FLAG
    | setup::SINGLE_ISSUER
    | setup::DEFER_TASKRUN;
/// Characters of a literal; compilers take at least so many.
const LITERAL_MAX: usize = 2000;

/// Why a program has no C.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoExport {
    /// A path that takes more than system calls.
    #[error("a socket is on a lane that takes more than system calls, expected loopback, gate or gate-full")]
    Lane,
    /// Flags of a ring.
    #[error("a ring has {0}, expected flags that need no more than two mappings")]
    Flags(String),
    /// An opcode that may do anything to the machine.
    #[error("an entry has opcode {0}, expected a send, a write, a cancel, a nop or one that no kernel has")]
    Opcode(&'static str),
    /// A call that is more than a submission.
    #[error("a ring is entered by hand, expected submissions and reaps alone")]
    Call,
    /// Memory in the way of others.
    #[error("region {0} lies outside of the window of addresses")]
    Region(String),
    /// More than there is room for.
    #[error("there are more than {RINGS_MAX} rings or {SOCKETS_MAX} sockets")]
    TooMany,
}

/// The program as the text of one C file; `name` says what it is.
pub fn c(name: &str, lowered: &Lowered) -> Result<String, NoExport> {
    let program = &lowered.program;
    refuse(program)?;
    let mut text = format!(
        "/* {}, printed by uringspec export.\n *\n * cc -O2 -o program program.c && ./program | uringspec explain -\n */\n\n",
        comment(name)
    );
    text += RUNTIME;
    text += "\nint main(void) {\n";
    let json = serde_json::to_string(program).expect("a program is plain data");
    let _ = writeln!(text, "    fputs({}, stdout);", literal(&format!("{{\"v\":1,\"program\":{json}}}\n")));
    text += "    window();\n";
    for (id, region) in program.regions.iter().enumerate() {
        let (start, end) = (region.addr, region.end());
        if start < WINDOW_BASE || end > WINDOW_BASE + WINDOW_BYTES {
            return Err(NoExport::Region(region.name.clone()));
        }
        let prot = match region.protection {
            Protection::ReadWrite => "PROT_READ | PROT_WRITE",
            Protection::ReadOnly => "PROT_READ",
            Protection::None => "PROT_NONE",
        };
        let bytes = match &region.contents {
            Contents::Stamped => "NULL, 0".to_string(),
            Contents::Sink => "\"\", 0".to_string(),
            Contents::Bytes(bytes) => {
                let len = bytes.0.len().min(region.len_bytes as usize);
                let digits: String = bytes.0[..len].iter().map(|b| format!("\\{b:03o}")).collect();
                let pieces: Vec<String> = pieces(&digits).map(|piece| format!("\"{piece}\"")).collect();
                format!(
                    "{}, {len}",
                    if pieces.is_empty() { "\"\"".into() } else { pieces.join("\n        ") }
                )
            }
        };
        let _ = writeln!(text, "    region({id}, {start:#x}, {}, {prot}, {bytes});", region.len_bytes);
    }
    for setup in &program.sockets {
        let _ = writeln!(
            text,
            "    sock({}, {}, {}, {}, {});",
            kind(setup.kind),
            lane(setup.lane)?,
            i32::from(setup.state == SocketState::Connected),
            setup.sndbuf_bytes.unwrap_or(0),
            setup.rcvbuf_bytes.unwrap_or(0),
        );
    }
    let limits = &program.limits;
    let limited = limits.memlock_bytes.is_some() || limits.unprivileged;
    if limited {
        let memlock = limits.memlock_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let _ = writeln!(text, "    limits({memlock}, {});", i32::from(limits.unprivileged));
    }
    for ring in &program.rings {
        let flags = ring.flags & !setup::CQSIZE;
        let _ = writeln!(text, "    ring({}, {}, {flags:#x});", ring.entries, ring.cq_entries.unwrap_or(0));
    }
    if limits.unprivileged {
        text += "    check(setresuid(0, 0, 0), \"root again\");\n";
    }
    for (number, what) in program.steps.iter().enumerate() {
        steps(&mut text, lowered, number, what);
    }
    text += "    puts(\"{\\\"v\\\":1,\\\"end\\\":\\\"complete\\\"}\");\n    return 0;\n}\n";
    Ok(text)
}

fn refuse(program: &Program) -> Result<(), NoExport> {
    if program.rings.len() > RINGS_MAX || program.sockets.len() > SOCKETS_MAX {
        return Err(NoExport::TooMany);
    }
    if let Some(ring) = program.rings.iter().find(|ring| ring.flags & !FLAGS != 0) {
        return Err(NoExport::Flags(flag_names(setup::NAMES, ring.flags & !FLAGS)));
    }
    let by_hand = |step: &Step| match step {
        Step::Queue { .. } | Step::Enter(_) | Step::Look { .. } | Step::Sleep { .. } => true,
        Step::Register { what, .. } => matches!(what, Register::Restrict(_) | Register::Cancel(_)),
        _ => false,
    };
    if program.steps.iter().any(by_hand) {
        return Err(NoExport::Call);
    }
    let entries = program.steps.iter().flat_map(Step::entries);
    let covered = |sqe: &&Sqe| name_of(OPS, sqe.opcode).is_some() && sqe.opcode != op::READV;
    let foreign = entries.filter(|sqe| !covered(sqe)).find_map(|sqe| name_of(op::NAMES, sqe.opcode));
    foreign.map_or(Ok(()), |name| Err(NoExport::Opcode(name)))
}

fn kind(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Tcp4 => "TCP4",
        SocketKind::Tcp6 => "TCP6",
        SocketKind::Udp4 => "UDP4",
        SocketKind::Udp6 => "UDP6",
        SocketKind::UnixStream => "UNIX_STREAM",
        SocketKind::NotASocket => "NOT_A_SOCKET",
    }
}

fn lane(lane: Lane) -> Result<&'static str, NoExport> {
    match lane {
        Lane::Loopback => Ok("LOOPBACK"),
        Lane::Gate => Ok("GATE"),
        Lane::GateFull => Ok("GATE_FULL"),
        Lane::IfbUdp | Lane::IfbUdpTap | Lane::RepairTcp | Lane::RepairTcpTap | Lane::Unknown => {
            Err(NoExport::Lane)
        }
    }
}

/// One step: what it is in the words of cases, and the calls that take it.
fn steps(text: &mut String, lowered: &Lowered, number: usize, what: &Step) {
    let _ = writeln!(text, "\n    step({number});");
    for (keyword, words) in words::step(&lowered.program, &lowered.names, what) {
        let _ = writeln!(text, "    /* {} */", comment(format!("{keyword} {words}").trim_end()));
    }
    let _ = match what {
        Step::Submit { ring, sqes } => {
            let rows: Vec<String> = sqes.iter().map(entry).collect();
            let call = |entries: &str| format!("submit({}, {entries}, {});", ring.0, sqes.len());
            match rows.is_empty() {
                true => writeln!(text, "    {}", call("NULL")),
                false => writeln!(
                    text,
                    "    static const struct sqe sqes{number}[] = {{\n        {},\n    }};\n    {}",
                    rows.join(",\n        "),
                    call(&format!("sqes{number}"))
                ),
            }
        }
        Step::Reap { ring, until: Until::Now } => writeln!(text, "    reap({}, NOW, NULL, 0);", ring.0),
        Step::Reap { ring, until: Until::Settled } => {
            writeln!(text, "    reap({}, SETTLED, NULL, 0);", ring.0)
        }
        Step::Reap { ring, until: Until::Seen(wants) } if wants.is_empty() => {
            writeln!(text, "    reap({}, NOW, NULL, 0);", ring.0)
        }
        Step::Reap { ring, until: Until::Seen(wants) } => {
            let rows: Vec<String> = wants
                .iter()
                .map(|want| format!("{{ {}ull, {}, {} }}", want.user_data, want.count, i32::from(want.last)))
                .collect();
            writeln!(
                text,
                "    static const struct want wants{number}[] = {{ {} }};\n    reap({}, SEEN, wants{number}, {});",
                rows.join(", "),
                ring.0,
                wants.len()
            )
        }
        Step::Peek { ring } => writeln!(text, "    peek({});", ring.0),
        Step::Register { ring, what } => writeln!(text, "{}", register(number, ring.0, what)),
        Step::Drain { socket, amount: Amount::Bytes(bytes) } => {
            writeln!(text, "    drain({}, {bytes}ull);", socket.0)
        }
        Step::Drain { socket, amount: Amount::Everything } => {
            writeln!(text, "    drain({}, UINT64_MAX);", socket.0)
        }
        Step::ResetPeer { socket } => writeln!(text, "    reset_peer({});", socket.0),
        Step::CloseOwn { socket } => writeln!(text, "    close_own({});", socket.0),
        Step::ShutdownOwn { socket } => writeln!(text, "    shutdown_own({});", socket.0),
        Step::Cork { socket, on } => writeln!(text, "    cork_own({}, {});", socket.0, u8::from(*on)),
        Step::Rewrite { region } => {
            let index = usize::from(region.0);
            let earlier = &lowered.program.steps[..=number];
            let again = |step: &&Step| matches!(step, Step::Rewrite { region: same } if same == region);
            let generation = earlier.iter().filter(again).count();
            match lowered.program.regions.get(index) {
                Some(r) => {
                    writeln!(text, "    stamp({index}, {generation}, {:#x}, {});", r.addr, r.len_bytes)
                }
                None => Ok(()),
            }
        }
        Step::Fence { ring } => {
            writeln!(text, "    fence({}, {}ull);", ring.0, fence(&lowered.program, ring.0))
        }
        Step::Settle => writeln!(text, "    settle();"),
        Step::EnterElsewhere { ring } => writeln!(text, "    enter_elsewhere({});", ring.0),
        Step::Setup(asked) => {
            let (entries, cq_entries) = (asked.entries, asked.cq_entries.unwrap_or(0));
            writeln!(text, "    try_setup({entries}u, {cq_entries}u, {:#x});", asked.all_flags())
        }
        // Only declared peers do what they are told, and their lanes were refused, as were calls by hand.
        Step::Queue { .. }
        | Step::Enter(_)
        | Step::Look { .. }
        | Step::Sleep { .. }
        | Step::Ack { .. }
        | Step::OfferWindow { .. }
        | Step::Miss { .. } => Ok(()),
    };
}

/// User data that no entry has, the highest first.
fn fence(program: &Program, ring: u8) -> u64 {
    let taken = |user_data: u64| {
        program.steps.iter().any(
            |step| matches!(step, Step::Submit { sqes, .. } if sqes.iter().any(|s| s.user_data == user_data)),
        )
    };
    let mut free = (0..=u64::MAX).rev().filter(|user_data| !taken(*user_data));
    free.nth(usize::from(ring)).expect("a program has fewer entries than there are numbers")
}

fn entry(sqe: &Sqe) -> String {
    let bytes = sqe.to_bytes();
    let words = bytes.chunks_exact(8).map(|word| {
        let word: [u8; 8] = std::array::from_fn(|i| word[i]);
        format!("{:#x}ull", u64::from_le_bytes(word))
    });
    format!("{{ {{ {} }} }}", words.collect::<Vec<_>>().join(", "))
}

/// The numbers are those of `enum io_uring_register_op`.
fn register(number: usize, ring: u8, what: &Register) -> String {
    let iovecs = |iovecs: &[Iovec]| {
        let row = |iovec: &Iovec| format!("{{ (void *){:#x}ull, {:#x}ull }}", iovec.addr, iovec.len_bytes);
        let rows: Vec<String> = iovecs.iter().map(row).collect();
        let rows = if rows.is_empty() { "{ NULL, 0 }".into() } else { rows.join(", ") };
        format!("    static const struct iovec table{number}[] = {{ {rows} }};\n")
    };
    match what {
        Register::Buffers(table) => {
            format!("{}    reg({ring}, 0, table{number}, {});", iovecs(table), table.len())
        }
        Register::SparseBuffers(count) => format!(
            "    static const struct {{ uint32_t nr, flags; uint64_t resv, data, tags; }} table{number} = \
             {{ {count}, 1, 0, 0, 0 }};\n    reg({ring}, 15, &table{number}, sizeof table{number});"
        ),
        Register::UpdateBuffers { offset, iovecs: table } => format!(
            "{}    struct {{ uint32_t offset, resv; uint64_t data, tags; uint32_t nr, resv2; }} update{number} = \
             {{ {offset}, 0, (uintptr_t)table{number}, 0, {}, 0 }};\n    \
             reg({ring}, 16, &update{number}, sizeof update{number});",
            iovecs(table),
            table.len()
        ),
        Register::UnregisterBuffers => format!("    reg({ring}, 1, NULL, 0);"),
        Register::Files(files) => {
            let fd = |file: &Option<u16>| file.map_or(-1, |index| fd_of(SocketId(index), End::Near));
            let rows: Vec<String> = files.iter().map(|file| fd(file).to_string()).collect();
            let rows = if rows.is_empty() { "-1".into() } else { rows.join(", ") };
            format!(
                "    static const int table{number}[] = {{ {rows} }};\n    reg({ring}, 2, table{number}, {});",
                files.len()
            )
        }
        Register::UnregisterFiles => format!("    reg({ring}, 3, NULL, 0);"),
        Register::Enable => format!("    reg({ring}, 12, NULL, 0);"),
        // refused, as calls by hand are
        Register::Restrict(_) | Register::Cancel(_) => String::new(),
    }
}

/// Words that end no comment.
fn comment(words: &str) -> String {
    words.replace("*/", "* /").replace(['\n', '\r'], " ")
}

/// A literal of any text, in pieces.
fn literal(text: &str) -> String {
    let mut escaped = Vec::new();
    let mut piece = String::new();
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => piece.extend(['\\', char::from(byte)]),
            b'\n' => piece += "\\n",
            // a question mark could begin a trigraph
            b' '..=b'~' if byte != b'?' => piece.push(char::from(byte)),
            _ => _ = write!(piece, "\\{byte:03o}"),
        }
        if piece.len() >= LITERAL_MAX {
            escaped.push(format!("\"{}\"", std::mem::take(&mut piece)));
        }
    }
    escaped.push(format!("\"{piece}\""));
    escaped.join("\n        ")
}

/// Escaped bytes, four characters each, in pieces.
fn pieces(digits: &str) -> impl Iterator<Item = &str> {
    (0..digits.len()).step_by(LITERAL_MAX).map(|at| &digits[at..digits.len().min(at + LITERAL_MAX)])
}
