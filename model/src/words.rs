//! Observations, decisions and steps in the words of case files, for reports.

use crate::abi::{self, cqe_flag, flag_names, op, setup, sq_flag};
use crate::cqe::{Completion, Cqe};
use crate::enter::Enter;
use crate::program::{Amount, Program, Register, RingId, RingSetup, SocketId, Step, Until};
use crate::trace::{PeerEnd, Run, What, Words};
use crate::world::{Decision, World};

/// An observation.
pub fn what(program: &Program, what: &What) -> String {
    match what {
        What::Room(r) => format!(
            "room {} accepts {} leaves {}{}",
            socket(r.socket),
            r.accepts_bytes,
            r.leaves_bytes,
            if r.full { " full" } else { "" }
        ),
        What::Returned(value) => format!("returned {value}"),
        What::Overflow { ring, set } => overflow(*ring, *set),
        What::Words(words) => of_ring(words),
        What::Cqe(seen) if program.rings.len() > 1 => format!("ring {} {}", seen.ring.0, cqe(&seen.cqe)),
        What::Cqe(seen) => cqe(&seen.cqe),
        What::Received(received) => {
            let runs: Vec<String> = received.runs.iter().map(|r| run(program, r)).collect();
            format!("received {} {}", socket(received.socket), runs.join(", "))
        }
        What::SentAgain(received) => {
            let runs: Vec<String> = received.runs.iter().map(|r| run(program, r)).collect();
            format!("left again {} {}", socket(received.socket), runs.join(", "))
        }
        What::Acked { socket: s, len_bytes } => format!("acknowledged {} {len_bytes}", socket(*s)),
        What::PeerEnded { socket: s, how: PeerEnd::EndOfFile } => format!("end of file at {}", socket(*s)),
        What::PeerEnded { socket: s, how: PeerEnd::Reset } => format!("reset at {}", socket(*s)),
        What::GaveUp => "patience ran out".into(),
    }
}

fn overflow(ring: RingId, set: bool) -> String {
    format!("ring {} says that {} waits outside", ring.0, if set { "more" } else { "nothing" })
}

fn of_ring(words: &Words) -> String {
    let Words { ring, flags, dropped, queued } = words;
    let flags = flag_names(sq_flag::NAMES, *flags);
    format!("ring {} says flags={flags} dropped={dropped} queued={queued}", ring.0)
}

fn cqe(cqe: &Cqe) -> String {
    if cqe.completion().is_some() {
        return cqe.to_string();
    }
    format!("#{} res {} flags {}", cqe.user_data, cqe.res, flag_names(cqe_flag::NAMES, cqe.flags))
}

/// Received bytes.
pub fn run(program: &Program, run: &Run) -> String {
    match run {
        Run::Stamped { region, generation, offset, len_bytes } => {
            let name = program.regions.get(usize::from(region.0)).map_or("?", |r| r.name.as_str());
            let again = if generation.0 == 0 { String::new() } else { format!("@{}", generation.0) };
            format!("{name}{again} {offset}..{}", offset.saturating_add(*len_bytes))
        }
        Run::Bytes(bytes) if bytes.0.len() <= 8 => {
            format!("bytes {}", String::from(bytes.clone()))
        }
        Run::Bytes(bytes) => format!("{} bytes of no region", bytes.0.len()),
    }
}

fn socket(id: SocketId) -> String {
    format!("socket {}", id.0)
}

/// A decision, as the observation that it would be.
pub fn decision(world: &World<'_>, decision: &Decision) -> String {
    let user_data = |id| world.state.requests.get(id).map_or(0, |request| request.user_data);
    match decision {
        Decision::Return(value) => format!("returned {value}"),
        Decision::Complete { request, res, more } => {
            cqe(&Cqe::of(user_data(request), Completion::Result { res: *res, more: *more }))
        }
        Decision::Notify { request, usage } => {
            cqe(&Cqe::of(user_data(request), Completion::Notification(*usage)))
        }
        Decision::Overflow { ring, set } => overflow(*ring, *set),
        Decision::Words(words) => of_ring(words),
        Decision::Deliver { request, len_bytes, .. } => {
            format!("{len_bytes} bytes of #{}", user_data(request))
        }
        Decision::Ack { socket: s, len_bytes } => format!("acknowledged {} {len_bytes}", socket(*s)),
        Decision::SendAgain { socket: s, len_bytes, .. } => {
            format!("left again {} {len_bytes} bytes", socket(*s))
        }
        Decision::Datagram { socket: s, index } => {
            let datagram = world.datagrams(*s).and_then(|queue| queue.queue.get(*index));
            let (len, user_data) = datagram.map_or((0, 0), |d| (d.len_bytes, d.user_data));
            format!("a datagram of {len} bytes of #{user_data}")
        }
        Decision::Proceed { request, .. } => format!("#{} ends unseen", user_data(request)),
    }
}

/// A step.
pub fn step(program: &Program, step: &Step) -> String {
    match step {
        Step::Submit { .. } | Step::Queue { .. } => {
            let each = step.queued().map(|entry| match entry {
                None => "no entry".into(),
                Some(sqe) => match abi::name_of(op::NAMES, sqe.opcode) {
                    Some(name) => format!("#{} {}", sqe.user_data, name.to_lowercase()),
                    None => format!("#{} opcode {}", sqe.user_data, sqe.opcode),
                },
            });
            let how = if matches!(step, Step::Submit { .. }) { "submit" } else { "queue" };
            format!("{how} {}", each.collect::<Vec<_>>().join(", "))
        }
        Step::Enter(Enter { to_submit, wanted, .. }) => {
            format!("enter to submit {to_submit} and wait for {wanted}")
        }
        Step::Sleep { .. } => "wait until its thread sleeps".into(),
        Step::Look { .. } => "look what the ring says".into(),
        Step::Reap { until: Until::Now, .. } => "reap what is there".into(),
        Step::Reap { until: Until::Settled, .. } => "reap until all is settled".into(),
        Step::Reap { until: Until::Seen(wants), .. } => {
            let each = wants.iter().map(|w| format!("#{} x{}", w.user_data, w.count));
            format!("reap until {}", each.collect::<Vec<_>>().join(", "))
        }
        Step::Peek { .. } => "take what is there without a call".into(),
        Step::Register { what: Register::Buffers(iovecs), .. } => {
            format!("register {} buffers", iovecs.len())
        }
        Step::Register { what: Register::SparseBuffers(n), .. } => format!("register {n} empty buffers"),
        Step::Register { what: Register::UpdateBuffers { offset, iovecs }, .. } => {
            format!("update {} buffers from {offset} on", iovecs.len())
        }
        Step::Register { what: Register::UnregisterBuffers, .. } => "unregister buffers".into(),
        Step::Register { what: Register::Files(files), .. } => format!("register {} files", files.len()),
        Step::Register { what: Register::UnregisterFiles, .. } => "unregister files".into(),
        Step::Register { what: Register::Cancel(target), .. } => format!("cancel #{target} by a call"),
        Step::Register { what: Register::Restrict(list), .. } => {
            format!("register {} restrictions", list.len())
        }
        Step::Register { what: Register::Enable, .. } => "register enable".into(),
        Step::Drain { socket: s, amount: Amount::Everything } => format!("drain {} all", socket(*s)),
        Step::Drain { socket: s, amount: Amount::Bytes(n) } => format!("drain {} {n}", socket(*s)),
        Step::Ack { socket: s, amount: Amount::Everything } => format!("ack {} all", socket(*s)),
        Step::Ack { socket: s, amount: Amount::Bytes(n) } => format!("ack {} {n}", socket(*s)),
        Step::OfferWindow { socket: s, bytes } => format!("window {} {bytes}", socket(*s)),
        Step::Miss { socket: s, len_bytes } => format!("miss {} {len_bytes}", socket(*s)),
        Step::ResetPeer { socket: s } => format!("reset {}", socket(*s)),
        Step::CloseOwn { socket: s } => format!("close {}", socket(*s)),
        Step::ShutdownOwn { socket: s } => format!("shutdown {}", socket(*s)),
        Step::Cork { socket: s, on } => format!("{} {}", if *on { "cork" } else { "uncork" }, socket(*s)),
        Step::Rewrite { region } => {
            let name = program.regions.get(usize::from(region.0)).map_or("?", |r| r.name.as_str());
            format!("rewrite {name}")
        }
        Step::Fence { .. } => "fence".into(),
        Step::Settle => "settle".into(),
        Step::EnterElsewhere { .. } => "enter in another thread".into(),
        Step::Setup(RingSetup { entries, cq_entries, flags }) => {
            let cq = cq_entries.map_or(String::new(), |cq| format!(" cq={cq}"));
            format!("setup entries={entries}{cq} flags={}", flag_names(setup::NAMES, *flags))
        }
    }
}
