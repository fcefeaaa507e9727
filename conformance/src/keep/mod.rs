//! A program as a case: its steps in the words of the case form, and what the model allows as what is
//! expected.
//!
//! A case lists exactly what may happen, so what cannot be listed is no case. Buffers are placed anew; a
//! program that means something else then is refused.

mod listed;

use std::collections::BTreeSet;

use thiserror::Error;
use uringspec_model::abi::{PAGE_BYTES, op, send_flag, setup};
use uringspec_model::check::check;
use uringspec_model::deviation::Deviation;
use uringspec_model::memory::Contents;
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    Amount, End, Iovec, Program, Register as Call, RingId, SocketId, SocketKind, SocketState, Step as Do,
};
use uringspec_model::rules::Rule;
use uringspec_model::simulate::explore;
use uringspec_model::trace::{Ending, Trace};
use uringspec_model::verdict::Verdict;

use crate::case::lowered::Lowered;
use crate::case::names::Names;
use crate::case::print::print;
use crate::case::text::At;
use crate::case::{
    Buffer, Case, Expect, Look, Mode, Name, Noted, Place, Queue, Register, Ring, Setup, Slot, Socket, Step,
    Submit, Table,
};
use crate::catalog::{Found, Loaded};
use crate::side_by_side::{Terms, on_model};
use crate::{report, words};

/// What is listed changes what is waited for, so it is asked again until it stays.
const ROUNDS_MAX: usize = 5;
/// What stands where the comment will.
const COMMENT: &str = "TO BE WRITTEN: what a reader learns from this; and of the rules, those that it shows.";

/// Why a program is no case.
#[derive(Debug, Error)]
pub enum NoCase {
    /// The form has no words for it.
    #[error("the case form has no words for {0}")]
    Form(String),
    /// What is expected is too much to list.
    #[error("the model allows more than can be listed: {0}")]
    TooMuch(String),
    /// The model says nothing of it.
    #[error("the model says nothing of it, so nothing can be expected")]
    Unclaimed,
    /// What was listed is not what the model does.
    #[error("what was listed is not what the model does: {0}")]
    Inexact(String),
}

/// The text of a case with this name, if the model does not walk more than `states_max` states for it.
pub fn keep(
    name: &str,
    lowered: &Lowered,
    verdict: Option<&Verdict>,
    profile: &Profile,
    states_max: usize,
) -> Result<String, NoCase> {
    let mut case = skeleton(&lowered.program, &lowered.names)?;
    let mut text = print(&case);
    let first = read(name, &text)?;
    same_steps(lowered, &first.lowered[0])?;
    // what is waited for at first is what the program waits for
    listed::fill(&mut case, lowered, &traces(lowered, profile, states_max)?)?;
    text = print(&case);
    for _ in 0..ROUNDS_MAX {
        let loaded = read(name, &text)?;
        let traces = traces(&loaded.lowered[0], profile, states_max)?;
        listed::fill(&mut case, &loaded.lowered[0], &traces)?;
        case.deviations = deviations(&loaded.lowered[0], profile, &traces);
        case.rules = rules(&loaded.lowered[0], profile, &traces, verdict);
        let again = print(&case);
        if again == text {
            return exact(&loaded, profile).map(|()| text);
        }
        text = again;
    }
    Err(NoCase::Inexact("it changes with what is waited for".into()))
}

fn read(name: &str, text: &str) -> Result<Loaded, NoCase> {
    let found = Found { name: name.into(), file: format!("{name}.case"), path: None, text: text.into() };
    found.read().map_err(|error| NoCase::Form(format!("this: {error}")))
}

/// Whether the case means the same steps; what is waited for is another matter.
fn same_steps(given: &Lowered, read: &Lowered) -> Result<(), NoCase> {
    let steps = given.program.steps.iter().zip(&read.program.steps);
    for (before, after) in steps.filter(|(step, _)| !matches!(step, Do::Reap { .. })) {
        let before = words::step(&given.program, &given.names, before);
        let after = words::step(&read.program, &read.names, after);
        if before != after {
            let words = before.iter().map(|(keyword, words)| format!("{keyword} {words}"));
            return Err(NoCase::Form(words.collect::<Vec<_>>().join(", ")));
        }
    }
    Ok(())
}

fn traces(lowered: &Lowered, profile: &Profile, states_max: usize) -> Result<Vec<Trace>, NoCase> {
    let explored = explore(&lowered.program, profile, states_max)
        .map_err(|too_many| NoCase::TooMuch(too_many.to_string()))?;
    match explored.traces.iter().any(|trace| trace.end == Ending::Cut) {
        true => Err(NoCase::Unclaimed),
        false => Ok(explored.traces),
    }
}

fn exact(loaded: &Loaded, profile: &Profile) -> Result<(), NoCase> {
    for report in on_model(loaded, profile, Terms::default()) {
        if let Some(page) = report::page(loaded, &report) {
            return Err(NoCase::Inexact(format!("\n{page}\n{}", loaded.found.text)));
        }
    }
    Ok(())
}

pub(super) fn named(text: &str) -> Name {
    Name { text: text.into(), at: At::default() }
}

/// The case without what is expected.
fn skeleton(program: &Program, names: &Names) -> Result<Case, NoCase> {
    let defer = setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
    let all = |flags: u32| program.rings.iter().all(|ring| ring.flags == flags);
    let modes = if all(0) {
        vec![Mode::Plain]
    } else if all(defer) {
        vec![Mode::Defer]
    } else {
        Vec::new()
    };
    let rings = program.rings.iter().zip(0..).map(|(ring, id)| {
        Noted::plain(Ring {
            name: names.ring_name(RingId(id)).filter(|name| !name.is_empty()).map(named),
            entries: ring.entries,
            cq_entries: ring.cq_entries,
            flags: if modes.is_empty() { ring.flags } else { 0 },
        })
    });
    let sockets = program.sockets.iter().zip(0..).map(|(setup, id)| {
        let alone = setup.kind == SocketKind::NotASocket || setup.state == SocketState::Unconnected;
        let far = names.socket_name(SocketId(id), End::Far).filter(|_| !alone);
        Noted::plain(Socket {
            near: named(names.socket_name(SocketId(id), End::Near).unwrap_or("?")),
            far: far.map(named),
            setup: setup.clone(),
        })
    });
    let regions: Vec<_> =
        program.regions.iter().filter(|region| !matches!(region.contents, Contents::Bytes(_))).collect();
    let buffers = regions.iter().map(|region| {
        let after = regions.iter().find(|other| other.end() == region.addr);
        Noted::plain(Buffer {
            name: named(&region.name),
            len_bytes: region.len_bytes,
            at_bytes: if after.is_some() { 0 } else { region.addr % PAGE_BYTES },
            after: after.map(|other| named(&other.name)),
            register: None,
            protection: region.protection,
            sink: region.contents == Contents::Sink,
            at: At::default(),
        })
    });
    let steps = program.steps.iter().map(|step| Ok(Noted::plain(self::step(program, names, step)?)));
    Ok(Case {
        comment: vec![COMMENT.into()],
        needs: needs(program),
        limits: (program.limits != Default::default()).then(|| Noted::plain(program.limits.clone())),
        rings: rings.collect(),
        sockets: sockets.collect(),
        buffers: buffers.collect(),
        steps: steps.collect::<Result<_, NoCase>>()?,
        modes,
        ..Case::default()
    })
}

/// What not every kernel has.
fn needs(program: &Program) -> Vec<Name> {
    let mut needs = BTreeSet::new();
    let entries = program.steps.iter().flat_map(|step| match step {
        Do::Submit { sqes, .. } | Do::Queue { sqes, .. } => sqes.as_slice(),
        _ => &[],
    });
    for sqe in entries {
        let zc = |flag: u16| sqe.is_zero_copy() && sqe.ioprio & flag != 0;
        needs.extend((sqe.opcode == op::SEND_ZC).then_some("SEND_ZC"));
        needs.extend((sqe.opcode == op::SENDMSG_ZC).then_some("SENDMSG_ZC"));
        needs.extend(zc(send_flag::REPORT_USAGE).then_some("REPORT_USAGE"));
        needs
            .extend((sqe.opcode == op::SENDMSG_ZC && zc(send_flag::FIXED_BUF)).then_some("SENDMSG_ZC_FIXED"));
        needs.extend(zc(send_flag::VECTORIZED).then_some("SEND_VECTORIZED"));
    }
    needs.into_iter().map(named).collect()
}

fn step(program: &Program, names: &Names, step: &Do) -> Result<Step, NoCase> {
    let ring = |ring: &RingId| names.ring_name(*ring).filter(|name| !name.is_empty()).map(named);
    let end = |socket: &SocketId, end| named(names.socket_name(*socket, end).unwrap_or("?"));
    let nothing = |id: &RingId, peek| Expect { ring: ring(id), peek, outcomes: Vec::new() };
    Ok(match step {
        Do::Submit { ring: id, sqes } => {
            let line = |sqe| Noted::plain(words::decode(program, names, sqe));
            Step::Submit(Submit { ring: ring(id), sqes: sqes.iter().map(line).collect(), returns: None })
        }
        Do::Queue { ring: id, sqes, array } => {
            let line = |sqe| Noted::plain(words::decode(program, names, sqe));
            let sqes = sqes.iter().map(line).collect();
            let array =
                Some(array).filter(|array| !array.is_empty()).map(|array| Noted::plain(array.clone()));
            Step::Queue(Queue { ring: ring(id), sqes, array })
        }
        Do::Enter(call) => Step::Enter(words::enter_of(call, ring(&call.ring), None)),
        Do::Sleep { ring: id } => Step::Sleep(ring(id)),
        Do::Look { ring: id } => Step::Look(Look { ring: ring(id), ..Look::default() }),
        Do::Reap { ring, .. } => Step::Expect(nothing(ring, None)),
        Do::Peek { ring } => Step::Expect(nothing(ring, Some(false))),
        Do::Register { ring: id, what } => {
            Step::Register(Register { ring: ring(id), what: table(program, names, what)?, returns: None })
        }
        Do::Drain { socket, amount: Amount::Bytes(bytes) } => {
            Step::Drain(end(socket, End::Far), Some(*bytes))
        }
        Do::Drain { socket, amount: Amount::Everything } => Step::Drain(end(socket, End::Far), None),
        Do::ResetPeer { socket } => Step::Reset(end(socket, End::Far)),
        Do::CloseOwn { socket } => Step::Close(end(socket, End::Near)),
        Do::ShutdownOwn { socket } => Step::Shutdown(end(socket, End::Near)),
        Do::Cork { socket, on } => Step::Cork(end(socket, End::Near), *on),
        Do::Rewrite { region } => match program.regions.get(usize::from(region.0)) {
            Some(region) => Step::Rewrite(named(&region.name)),
            None => return Err(NoCase::Form("a region that is not there".into())),
        },
        Do::Fence { ring: id } => Step::Fence(ring(id)),
        Do::Settle => Step::Settle,
        Do::EnterElsewhere { ring: id } => Step::Elsewhere(ring(id), None),
        Do::Setup(asked) => Step::Setup(Setup { ring: words::ring_of(asked), returns: None }),
        Do::Ack { socket, amount: Amount::Bytes(bytes) } => Step::Ack(end(socket, End::Far), Some(*bytes)),
        Do::Ack { socket, amount: Amount::Everything } => Step::Ack(end(socket, End::Far), None),
        Do::OfferWindow { socket, bytes } => Step::Window(end(socket, End::Far), *bytes),
        Do::Miss { socket, len_bytes } => Step::Miss(end(socket, End::Far), *len_bytes),
    })
}

fn table(program: &Program, names: &Names, what: &Call) -> Result<Table, NoCase> {
    let slot = |(index, iovec): (u32, &Iovec)| {
        if *iovec == Iovec::default() {
            return Ok(Slot { index, name: None, range: None, at: At::default() });
        }
        let segment = words::segment(program, *iovec);
        let Place::Buffer(name) = segment.place else {
            return Err(NoCase::Form("a table with memory that is no buffer".into()));
        };
        Ok(Slot { index, name: Some(name), range: Some((segment.from, segment.to)), at: At::default() })
    };
    let slots = |first: u32, table: &[Iovec]| (first..).zip(table).map(slot).collect::<Result<Vec<_>, _>>();
    Ok(match what {
        Call::Buffers(table) => Table::Buffers(slots(0, table)?),
        Call::SparseBuffers(count) => Table::Sparse(*count),
        Call::UpdateBuffers { offset, iovecs } => Table::Update(slots(*offset, iovecs)?),
        Call::UnregisterBuffers => Table::NoBuffers,
        Call::UnregisterFiles => Table::NoFiles,
        Call::Enable => Table::Enable,
        Call::Cancel(user_data) => Table::Cancel(*user_data),
        Call::Restrict(list) => Table::Restrict(list.clone()),
        Call::Files(files) => {
            let name = |index: u16| names.socket_name(SocketId(index), End::Near).map(named);
            let slot = |(index, file): (u32, &Option<u16>)| Slot {
                index,
                name: file.and_then(name),
                range: None,
                at: At::default(),
            };
            Table::Files((0..).zip(files).map(slot).collect())
        }
    })
}

fn deviations(lowered: &Lowered, profile: &Profile, traces: &[Trace]) -> Vec<Name> {
    let met: BTreeSet<Deviation> = traces
        .iter()
        .flat_map(|trace| match check(&lowered.program, profile, trace) {
            Verdict::Accepted { deviations, .. } => deviations,
            _ => BTreeSet::new(),
        })
        .collect();
    met.iter().map(|deviation| named(deviation.id())).collect()
}

/// The rule that was broken, or all that have a say.
fn rules(lowered: &Lowered, profile: &Profile, traces: &[Trace], verdict: Option<&Verdict>) -> Vec<Name> {
    let broken: Vec<Rule> = match verdict {
        Some(Verdict::Rejected(rejection)) => vec![rejection.rule],
        Some(Verdict::Stuck { promises, .. }) => promises.iter().map(|promise| promise.rule).collect(),
        _ => Vec::new(),
    };
    let had_a_say = || {
        traces.iter().flat_map(|trace| match check(&lowered.program, profile, trace) {
            Verdict::Accepted { rules, .. } => rules,
            _ => BTreeSet::new(),
        })
    };
    let rules: BTreeSet<Rule> =
        if broken.is_empty() { had_a_say().collect() } else { broken.into_iter().collect() };
    rules.iter().map(|rule| named(rule.id())).collect()
}
