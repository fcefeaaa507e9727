//! `uringspec mixed explain`: how a mixed send would be made on a kernel, and when each segment is the
//! caller's again.

use serde::Serialize;
use uringspec_model::abi::msg;
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, WINDOW_BASE};
use uringspec_model::mixed::choose::Thresholds;
use uringspec_model::mixed::entry::{self, Headers};
use uringspec_model::mixed::lowering::{Lowering, Missing};
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    FD_BASE, Iovec, Lane, Program, Register, RingId, RingSetup, SocketKind, SocketSetup, SocketState, Step,
};
use uringspec_model::trace::Trace;

use super::{complain, profile};
use crate::case::names::Names;
use crate::case::send_text::{self, Wanted};
use crate::cli::exit;
use crate::mixed::Made;
use crate::output::Output;
use crate::words;

/// Mixed vectored sends: headers copied, payloads zero-copied, as one operation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec mixed explain 'copy 24, zc 65536 reg 0'

Exit codes: 0 printed, 64 usage, 77 the kernel does not have the way that was asked for.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Says how a mixed send is made on a kernel, what that costs, and when memory is yours again.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec mixed explain 'copy 24, zc 65536 reg 0'
  uringspec mixed explain --profile 6.1 'copy 24, zc 65536 reg 0, copy 8'
  uringspec mixed explain --profile proposal 'copy 24, zc 524288'
  uringspec mixed explain --via linked --datagram 'copy 24, zc 4096'

Exit codes: 0 printed, 64 usage, 77 the kernel does not have the way that was asked for.")]
struct Explain {
    /// Segments: `copy` or `zc`, bytes, and `reg N` for a range of registered buffer N.
    #[arg(value_name = "SEGMENTS", required = true)]
    segments: Vec<String>,
    /// The kernel: `5.10` to `7.3`, `proposal`, or a file with a profile line.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// A way to make it; the one that a server would take if nothing is said.
    #[arg(long, value_name = "WAY")]
    via: Option<String>,
    /// On a datagram socket.
    #[arg(long)]
    datagram: bool,
}

/// One segment as an object.
#[derive(Serialize)]
struct Row {
    segment: usize,
    transfer: &'static str,
    bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    register: Option<u16>,
    /// When it is the caller's again.
    yours: &'static str,
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    kernel: String,
    way: String,
    entries: Vec<String>,
    staged_bytes: u64,
    copied_bytes: u64,
    sqes: u32,
    cqes: u32,
    fragments: u64,
    /// The ways that exist, and why the others do not.
    exist: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let What::Explain(args) = &args.what;
    let kernel = match profile(args.profile.as_deref()) {
        Ok(kernel) => kernel,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let wanted = match send_text::parse(&args.segments.join(" ")) {
        Ok(wanted) => wanted,
        Err(error) => {
            complain(&error.page(std::io::IsTerminal::is_terminal(&std::io::stderr())));
            return exit::USAGE;
        }
    };
    let asked = match &args.via {
        None => None,
        Some(name) => match Lowering::ALL.into_iter().find(|l| l.name() == name) {
            Some(lowering) => Some(lowering),
            None => {
                let names: Vec<&str> = Lowering::ALL.iter().map(|l| l.name()).collect();
                complain(&format!("there is no way {name}, expected one of: {}", names.join(", ")));
                return exit::USAGE;
            }
        },
    };
    let (program, send) = program(&wanted, args.datagram);
    if asked.is_none() && kernel.has(uringspec_model::profile::Feature::PerIovec) {
        return proposal(args, &kernel, &program, &send, out);
    }
    let made = |lowering| Made::of(&program, &kernel, lowering);
    // a send that lends nothing is the same in all of them
    let exists = |lowering: Lowering| match lowering.staging(&send, &kernel, args.datagram) {
        Err(why) => Err(why),
        Ok(_) => made(lowering).map(|_| ()),
    };
    let chosen = asked.unwrap_or_else(|| Thresholds::default().choose(&send, exists));
    let ways: Vec<(Lowering, Result<(), Missing>)> =
        Lowering::ALL.into_iter().map(|l| (l, exists(l))).collect();
    if let Some((_, Err(why))) = ways.iter().find(|(l, _)| *l == chosen) {
        complain(&format!("{chosen} does not exist here: {why}"));
        return exit::NOTHING;
    }
    let made = match made(chosen) {
        Ok(made) => made,
        Err(why) => {
            complain(&format!("{chosen} does not exist here: {why}"));
            return exit::NOTHING;
        }
    };
    show(args, &kernel, chosen, &made, &send, &ways, out);
    0
}

/// A program around the one send: plain memory in one region, each registered buffer in its own.
fn program(wanted: &[Wanted], datagram: bool) -> (Program, MixedSend) {
    let most = wanted.iter().filter_map(|w| w.register).max();
    let buffers = most.map_or(0, |most| usize::from(most) + 1);
    let mut used = vec![0u64; buffers + 1];
    let mut segments = Vec::new();
    for part in wanted {
        let region = part.register.map_or(0, |index| usize::from(index) + 1);
        segments.push((region, used[region], part));
        used[region] += u64::from(part.bytes);
    }
    let mut regions = Vec::new();
    let mut next = WINDOW_BASE + (1 << 20);
    for (i, bytes) in used.iter().enumerate() {
        let name = if i == 0 { "P".to_string() } else { format!("K{}", i - 1) };
        let len_bytes = (*bytes).max(1).next_multiple_of(4096);
        regions.push(region(&name, next, len_bytes, Contents::Stamped));
        next += len_bytes + (1 << 20);
    }
    let segment = |(region, offset, part): &(usize, u64, &Wanted)| Segment {
        addr: regions[*region].addr + offset,
        len_bytes: part.bytes,
        memory: part.register.map_or(Memory::Plain, Memory::Registered),
        transfer: if part.lent { Transfer::ZeroCopy } else { Transfer::Copy },
    };
    let send = MixedSend {
        user_data: 1,
        fd: FD_BASE,
        msg: if datagram { 0 } else { msg::WAITALL },
        segments: segments.iter().map(segment).collect(),
        ..MixedSend::default()
    };
    let mut headers = Headers::at(next);
    let sqe = entry::write(&send, &mut headers);
    let tables = regions[1..].iter().map(|r| Iovec { addr: r.addr, len_bytes: r.len_bytes });
    let tables: Vec<Iovec> = tables.collect();
    let mut steps = Vec::new();
    if !tables.is_empty() {
        steps.push(Step::Register { ring: RingId(0), what: Register::Buffers(tables) });
    }
    steps.push(Step::Submit { ring: RingId(0), sqes: vec![sqe] });
    let bytes = headers.bytes;
    regions.push(region("headers", headers.addr, bytes.len() as u64, Contents::Bytes(HexBytes(bytes))));
    let program = Program {
        rings: vec![RingSetup { entries: 8, ..RingSetup::default() }],
        sockets: vec![SocketSetup {
            kind: if datagram { SocketKind::Udp4 } else { SocketKind::Tcp4 },
            lane: Lane::Loopback,
            state: SocketState::Connected,
            sndbuf_bytes: None,
            rcvbuf_bytes: None,
        }],
        regions,
        steps,
        ..Program::default()
    };
    (program, send)
}

fn region(name: &str, addr: u64, len_bytes: u64, contents: Contents) -> Region {
    Region { name: name.into(), addr, len_bytes, protection: Protection::ReadWrite, contents }
}

/// The entries of a program in the words of cases.
fn entries(program: &Program) -> Vec<String> {
    let names = Names::made_up(1, 1);
    let sqes = program.steps.iter().filter_map(|step| match step {
        Step::Submit { sqes, .. } => Some(sqes),
        _ => None,
    });
    sqes.flatten().map(|sqe| words::sqe(program, &names, sqe)).collect()
}

fn rows(send: &MixedSend, way: Option<Lowering>) -> Vec<Row> {
    let row = |(i, segment): (usize, &Segment)| {
        let yours = match (segment.transfer, way) {
            _ if segment.len_bytes == 0 => "at once: it is empty",
            (Transfer::ZeroCopy, Some(Lowering::Copy)) => "at the result: it is copied",
            (Transfer::ZeroCopy, _) => "at the notification",
            (Transfer::Copy, Some(Lowering::Copy | Lowering::Linked) | None) => "at the result",
            (Transfer::Copy, Some(_)) => "at submission: it is staged",
        };
        Row {
            segment: i + 1,
            transfer: if segment.transfer == Transfer::ZeroCopy { "zc" } else { "copy" },
            bytes: segment.len_bytes,
            register: match segment.memory {
                Memory::Plain => None,
                Memory::Registered(index) => Some(index),
            },
            yours,
        }
    };
    send.segments.iter().enumerate().map(row).collect()
}

fn print(head: &str, text: &str, summary: &Summary, rows: &[Row], out: &mut Output) {
    out.line(head);
    out.line(&format!("  {text}"));
    for entry in &summary.entries {
        out.line(&format!("  {entry}"));
    }
    for row in rows {
        let register = row.register.map(|index| format!(" reg {index}")).unwrap_or_default();
        let what = format!("{} {}{register}", row.transfer, row.bytes);
        out.line(&format!("  segment {:<2} {what:<22} yours again {}", row.segment, row.yours));
        out.object(row);
    }
    out.line(&format!(
        "  costs      bytes staged {}, copied by the kernel {}; entries {}, completions {}, fragments {}",
        summary.staged_bytes, summary.copied_bytes, summary.sqes, summary.cqes, summary.fragments
    ));
    if !summary.exist.is_empty() {
        out.line(&format!("  exist      {}", summary.exist.join(", ")));
    }
    for (way, why) in &summary.missing {
        out.line(&format!("  not        {way}: {why}"));
    }
    out.last(summary);
}

fn show(
    args: &Explain,
    kernel: &Profile,
    chosen: Lowering,
    made: &Made,
    send: &MixedSend,
    ways: &[(Lowering, Result<(), Missing>)],
    out: &mut Output,
) {
    let cost = made.done.plans.first().map(|plan| plan.cost).unwrap_or_default();
    let summary = Summary {
        kernel: kernel.release.clone(),
        way: chosen.name().to_string(),
        entries: entries(&made.shown(&Trace::default()).0),
        staged_bytes: cost.staged_bytes,
        copied_bytes: cost.copied_bytes,
        sqes: cost.sqes,
        cqes: cost.cqes,
        fragments: cost.fragments,
        exist: ways.iter().filter(|(_, w)| w.is_ok()).map(|(l, _)| l.name()).collect(),
        missing: ways.iter().filter_map(|(l, w)| Some((l.name(), w.err()?.to_string()))).collect(),
    };
    let head = format!("{}  on {}: {chosen}", args.segments.join(" ").trim(), kernel.release);
    print(&head, chosen.text(), &summary, &rows(send, Some(chosen)), out);
}

/// The kernel takes it as it is.
fn proposal(args: &Explain, kernel: &Profile, program: &Program, send: &MixedSend, out: &mut Output) -> u8 {
    let summary = Summary {
        kernel: kernel.release.clone(),
        way: "mixed".into(),
        entries: entries(program),
        staged_bytes: 0,
        copied_bytes: send.copied_bytes(),
        sqes: 1,
        cqes: if send.lends_from().is_some() { 2 } else { 1 },
        fragments: uringspec_model::mixed::lowering::fragments(
            send,
            uringspec_model::mixed::lowering::Staging::None,
        ),
        exist: Vec::new(),
        missing: Vec::new(),
    };
    let head = format!("{}  on {}", args.segments.join(" ").trim(), kernel.release);
    print(&head, "one entry, as it is", &summary, &rows(send, None), out);
    0
}
