//! What peers read, held against the memory of those who sent: no model, only counting.

use std::collections::BTreeMap;

use uringspec_model::abi::{cqe_flag, op};
use uringspec_model::memory::{Contents, Generation, HexBytes, Protection, RegionId};
use uringspec_model::prepare::{Plan, Prepared, prepare};
use uringspec_model::profile::Profile;
use uringspec_model::program::*;
use uringspec_model::space::{Segment, Space};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, Run, Trace, What};

/// Bytes of a region that are looked at, from its start.
const LOOKED_AT_BYTES: u64 = 4096;

/// So many stamped bytes name their memory; fewer may be those of another by accident.
const NAMING_BYTES: u64 = 8;

/// What a request gives to the network.
struct Sent {
    /// Its memory, in the order of the stream.
    segments: Vec<Segment>,
    len_bytes: u64,
    /// What it reported, if that was seen.
    result: Option<i64>,
    /// The step in which that was seen.
    done_at: Option<u32>,
    /// How often each region had been rewritten when it was submitted.
    born: Vec<u16>,
    zero_copy: bool,
}

impl Sent {
    /// The bytes that it may have sent: those that its result counts, or all.
    fn count(&self) -> u64 {
        self.result.map_or(self.len_bytes, |n| n.max(0) as u64)
    }

    /// Its memory as far as `count` goes: (region, from, to).
    fn prefix(&self) -> impl Iterator<Item = (RegionId, u64, u64)> {
        let mut left = self.count();
        self.segments.iter().filter_map(move |s| {
            let take = s.len_bytes.min(left);
            left -= take;
            Some((s.region?, s.offset, s.offset + take)).filter(|(_, from, to)| from < to)
        })
    }
}

/// How often each region was rewritten before each step.
fn generations(program: &Program) -> Vec<Vec<u16>> {
    let mut now = vec![0; program.regions.len()];
    let each = program.steps.iter().map(|step| {
        let before = now.clone();
        if let Step::Rewrite { region } = step {
            now[usize::from(region.0)] += 1;
        }
        before
    });
    each.collect()
}

/// The sends of a program with what was seen of them.
fn sends(program: &Program, trace: &Trace) -> Vec<Sent> {
    let generations = generations(program);
    let mut all = Vec::new();
    for (index, step) in program.steps.iter().enumerate() {
        let Step::Submit { ring, sqes } = step else { continue };
        for sqe in sqes {
            all.extend(sent(program, trace, *ring, sqe, &generations[index]));
        }
    }
    all
}

fn sent(program: &Program, trace: &Trace, ring: RingId, sqe: &Sqe, born: &[u16]) -> Option<Sent> {
    let now: Vec<Generation> = born.iter().map(|g| Generation(*g)).collect();
    let space = Space { regions: &program.regions, generations: &now };
    let Prepared::Ready(Plan::Send(plan)) = prepare(sqe, &Profile::v6_18(), &space) else { return None };
    let mut segments = Vec::new();
    plan.ranges.iter().for_each(|(addr, len)| space.segments(*addr, *len, &mut segments));
    let twins = |step: &Step| match step {
        Step::Submit { ring: r, sqes } if *r == ring => {
            sqes.iter().filter(|s| s.user_data == sqe.user_data).count()
        }
        _ => 0,
    };
    // of requests with the same user data it is not known whose result is whose
    let alone = program.steps.iter().map(twins).sum::<usize>() == 1;
    let result = trace.seen.iter().find_map(|seen| match &seen.what {
        What::Cqe(taken) if alone && taken.ring == ring && taken.cqe.user_data == sqe.user_data => {
            (taken.cqe.flags & cqe_flag::NOTIF == 0).then_some((taken.cqe.res.into(), seen.step))
        }
        _ => None,
    });
    Some(Sent {
        segments,
        len_bytes: plan.len_bytes(),
        result: result.map(|(res, _)| res),
        done_at: result.map(|(_, step)| step),
        born: born.to_vec(),
        zero_copy: plan.notice.is_some(),
    })
}

/// The stamped runs that peers read, with the steps in which they did.
fn stamped(trace: &Trace) -> impl Iterator<Item = (u32, RegionId, Generation, u64, u64)> {
    let runs = trace.seen.iter().filter_map(|seen| match &seen.what {
        What::Received(received) => Some(received.runs.iter().map(|run| (seen.step, run))),
        _ => None,
    });
    runs.flatten().filter_map(|(step, run)| match run {
        Run::Stamped { region, generation, offset, len_bytes } if *len_bytes > 0 => {
            Some((step, *region, *generation, *offset, offset + len_bytes))
        }
        _ => None,
    })
}

/// Peers read of each request only what its result counts, from the front; and once all is settled on
/// connections that nobody broke, exactly that.
pub(crate) fn arrives_as_prefix(program: &Program, trace: &Trace) -> Result<(), String> {
    let sends = sends(program, trace);
    // at each place: reads that begin there less those that end, and sends likewise
    let mut changes: BTreeMap<(RegionId, u64), i64> = BTreeMap::new();
    let mut add = |region, from, to, n: i64| {
        *changes.entry((region, from)).or_default() += n;
        *changes.entry((region, to)).or_default() -= n;
    };
    stamped(trace).for_each(|(_, region, _, from, to)| add(region, from, to, 1));
    sends.iter().flat_map(Sent::prefix).for_each(|(region, from, to)| add(region, from, to, -1));
    let mut over = 0;
    for ((region, at), change) in changes {
        over += change;
        if over > 0 {
            return Err(format!("byte {at} of region {} arrives more often than it was sent", region.0));
        }
    }
    let read: u64 = trace
        .seen
        .iter()
        .filter_map(|seen| match &seen.what {
            What::Received(received) => Some(received.runs.iter().map(Run::len_bytes).sum::<u64>()),
            _ => None,
        })
        .sum();
    let counted: u64 = sends.iter().map(Sent::count).sum();
    let exact = is_unbroken(program, trace) && sends.iter().all(|sent| sent.result.is_some());
    match read > counted || exact && read < counted {
        true => Err(format!("{read} bytes were read, {counted} are counted")),
        false => Ok(()),
    }
}

/// Whether all that was sent must have arrived.
fn is_unbroken(program: &Program, trace: &Trace) -> bool {
    let breaks = |step: &Step| matches!(step, Step::ResetPeer { .. } | Step::CloseOwn { .. });
    // behind a device nobody reads
    let stream =
        |s: &SocketSetup| !matches!(s.kind, SocketKind::Udp4 | SocketKind::Udp6) && !s.lane.has_device();
    trace.end == Ending::Complete
        && program.steps.last() == Some(&Step::Settle)
        && !program.steps.iter().any(breaks)
        && program.sockets.iter().all(stream)
        && !trace.seen.iter().any(|seen| seen.what == What::GaveUp)
}

/// What arrives is memory as it was between the submission and the result, or while it was lent.
pub(crate) fn rewriting_changes_only_what_is_lent(program: &Program, trace: &Trace) -> Result<(), String> {
    let sends = sends(program, trace);
    let generations = generations(program);
    for (step, region, generation, from, to) in stamped(trace) {
        for at in [from, to - 1] {
            let explains = |sent: &Sent| {
                let index = usize::from(region.0);
                // a copy was made when the result was seen, at the latest
                let until = if sent.zero_copy { step } else { sent.done_at.unwrap_or(step).min(step) };
                sent.prefix().any(|(r, a, b)| r == region && (a..b).contains(&at))
                    && (sent.born[index]..=generations[until as usize][index]).contains(&generation.0)
            };
            if !sends.iter().any(explains) {
                return Err(format!("byte {at} of region {} is of generation {}", region.0, generation.0));
            }
        }
    }
    Ok(())
}

/// The program with all of its memory sent over a new connection in the end, and the first of the steps
/// that do so.
pub(crate) fn looked_at(program: &Program) -> (Program, usize) {
    let mut program = program.clone();
    let from = program.steps.len();
    let socket = SocketId(program.sockets.len() as u16);
    program.sockets.push(SocketSetup {
        kind: SocketKind::UnixStream,
        lane: Lane::Loopback,
        state: SocketState::Connected,
        sndbuf_bytes: None,
        rcvbuf_bytes: None,
    });
    let readable = program.regions.iter().filter(|region| region.protection != Protection::None);
    let sends = readable.enumerate().map(|(n, region)| Sqe {
        opcode: op::SEND,
        fd: fd_of(socket, End::Near),
        addr: region.addr,
        len: region.len_bytes.min(LOOKED_AT_BYTES) as u32,
        user_data: 1 << 40 | n as u64,
        ..Sqe::default()
    });
    let steps = sends.flat_map(|sqe| {
        let drain = Step::Drain { socket, amount: Amount::Everything };
        [Step::Submit { ring: RingId(0), sqes: vec![sqe] }, Step::Fence { ring: RingId(0) }, drain]
    });
    program.steps.extend(steps.collect::<Vec<_>>());
    (program, from)
}

/// Whether what was sent in the end is what the program itself wrote there.
pub(crate) fn is_unchanged(program: &Program, from: usize, trace: &Trace) -> Result<(), String> {
    if trace.end != Ending::Complete {
        return Ok(());
    }
    let newest = generations(program).pop().unwrap_or_default();
    let readable =
        program.regions.iter().enumerate().filter(|(_, region)| region.protection != Protection::None);
    for (n, (id, region)) in readable.enumerate() {
        let step = (from + 3 * n + 2) as u32;
        let runs = trace.seen.iter().filter(|seen| seen.step == step).filter_map(|seen| match &seen.what {
            What::Received(received) => Some(&received.runs),
            _ => None,
        });
        let bytes =
            |run: &Run| (0..run.len_bytes()).map(|at| run.byte(&program.regions, at)).collect::<Vec<_>>();
        let read: Vec<u8> = runs.flatten().flat_map(bytes).collect();
        let generation = match region.contents {
            Contents::Stamped => Generation(newest.get(id).copied().unwrap_or(0)),
            Contents::Bytes(_) | Contents::Sink => Generation(0),
        };
        let held = (0..region.len_bytes.min(LOOKED_AT_BYTES))
            .map(|at| region.byte(RegionId(id as u16), generation, at));
        if !held.eq(read.iter().copied()) {
            return Err(format!("the memory of {} is not what was written there", region.name));
        }
    }
    Ok(())
}

/// The trace with the ends of its runs as bytes: whoever names received bytes by what they are may take
/// some at either end for those beside them.
pub(crate) fn surely_named(program: &Program, trace: &Trace) -> Trace {
    let mut trace = trace.clone();
    for seen in &mut trace.seen {
        if let What::Received(received) = &mut seen.what {
            received.runs = received.runs.iter().flat_map(|run| ends_in_bytes(program, run)).collect();
        }
    }
    trace
}

fn ends_in_bytes(program: &Program, run: &Run) -> Vec<Run> {
    let bytes =
        |from, to| Run::Bytes(HexBytes((from..to).map(|at| run.byte(&program.regions, at)).collect()));
    match run {
        Run::Stamped { region, generation, offset, len_bytes } if *len_bytes > 2 * NAMING_BYTES => vec![
            bytes(0, NAMING_BYTES),
            Run::Stamped {
                region: *region,
                generation: *generation,
                offset: offset + NAMING_BYTES,
                len_bytes: len_bytes - 2 * NAMING_BYTES,
            },
            bytes(len_bytes - NAMING_BYTES, *len_bytes),
        ],
        run => vec![bytes(0, run.len_bytes())],
    }
}
