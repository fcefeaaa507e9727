//! What a case declares before its first step: rings, sockets, and the names it refers to.

use uringspec_model::abi::{op, setup as flag};
use uringspec_model::deviation::Deviation;
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::profile::Feature;
use uringspec_model::program::{Lane, RingSetup, SocketKind, SocketSetup, SocketState};
use uringspec_model::rules::Rule;
use winnow::Result;

use super::error::{CaseError, Refusal, near};
use super::names::Names;
use super::{Case, Mode, Name, Noted, Ring};

/// The most sockets of a case, so that their descriptors stay below `CLOSED_FD`.
const SOCKETS_MAX: usize = 64;
/// The most rings of a case.
const RINGS_MAX: usize = 8;
/// The most entries of a submission queue (`IORING_MAX_ENTRIES`).
const ENTRIES_MAX: u32 = 32768;

/// Refuses ids of rules and deviations, and needs, that do not exist.
pub fn check_names(file: &str, text: &str, case: &Case) -> std::result::Result<(), CaseError> {
    let known = |name: &Name, what: &str, all: Vec<&str>| match all.contains(&name.text.as_str()) {
        true => Ok(()),
        false => Err(Refusal::new(name.at, format!("there is no {what} `{}`", name.text))
            .expecting(near(&name.text, all.into_iter().map(str::to_string)))
            .of(file, text)),
    };
    for rule in &case.rules {
        known(rule, "rule", Rule::ALL.iter().map(|r| r.id()).collect())?;
    }
    for deviation in &case.deviations {
        known(deviation, "deviation", Deviation::ALL.iter().map(|d| d.id()).collect())?;
    }
    for way in &case.via {
        known(way, "way to make a mixed send", Lowering::ALL.iter().map(|l| l.name()).collect())?;
    }
    for need in &case.needs {
        let opcodes = op::NAMES.iter().map(|(name, _)| *name);
        known(need, "opcode or feature", opcodes.chain(Feature::ALL.iter().map(|f| f.name())).collect())?;
    }
    Ok(())
}

/// The kinds of ring on which a case is run.
pub(super) fn modes(case: &Case) -> Result<Vec<Mode>, Refusal> {
    let written = case.rings.iter().any(|ring| ring.what.flags != 0);
    Ok(match case.modes.as_slice() {
        [] if written => vec![Mode::AsWritten],
        [] => vec![Mode::Plain, Mode::Defer],
        _ if written => {
            let at = case.rings.first().map(|ring| ring.at).unwrap_or_default();
            return Err(Refusal::new(at, "a ring has flags although a `rings` line sets them")
                .expecting(["a ring without `flags=`", "no `rings` line"]));
        }
        modes => modes.to_vec(),
    })
}

/// The rings, as one kind has them.
pub(super) fn rings(case: &Case, mode: Mode) -> Result<Vec<RingSetup>, Refusal> {
    let flags = |written| match mode {
        Mode::Plain => 0,
        Mode::Defer => flag::SINGLE_ISSUER | flag::DEFER_TASKRUN,
        Mode::AsWritten => written,
    };
    if let Some(extra) = case.rings.get(RINGS_MAX) {
        return Err(Refusal::new(extra.at, format!("a case has at most {RINGS_MAX} rings")));
    }
    if case.rings.is_empty() {
        return Ok(vec![RingSetup { entries: 8, cq_entries: None, flags: flags(0) }]);
    }
    let ring = |ring: &Noted<Ring>| {
        let what = &ring.what;
        let most = ENTRIES_MAX * 2;
        let entries = (1..=ENTRIES_MAX).contains(&what.entries);
        match entries && what.cq_entries.is_none_or(|cq| (1..=most).contains(&cq)) {
            true => {
                Ok(RingSetup { entries: what.entries, cq_entries: what.cq_entries, flags: flags(what.flags) })
            }
            false => Err(Refusal::new(ring.at, "no ring has so many entries")
                .expecting([format!("entries=1 to {ENTRIES_MAX}, cq=1 to {most}")])),
        }
    };
    case.rings.iter().map(ring).collect()
}

/// The sockets, and the names of everything.
pub(super) fn sockets(case: &Case) -> Result<(Names, Vec<SocketSetup>), Refusal> {
    let mut names = Names::default();
    let mut setups = Vec::new();
    if let Some(extra) = case.sockets.get(SOCKETS_MAX) {
        return Err(Refusal::new(extra.at, format!("a case has at most {SOCKETS_MAX} sockets")));
    }
    for ring in &case.rings {
        names.add_ring(ring.what.name.as_ref(), ring.at)?;
    }
    for socket in &case.sockets {
        let setup = &socket.what.setup;
        let alone = setup.kind == SocketKind::NotASocket || setup.state == SocketState::Unconnected;
        if alone == socket.what.far.is_some() {
            let help =
                if alone { "one name: there is no peer" } else { "two names: the socket and its peer" };
            return Err(Refusal::new(socket.at, "the names do not fit this kind of socket").expecting([help]));
        }
        let tcp = matches!(setup.kind, SocketKind::Tcp4 | SocketKind::Tcp6);
        let gated = matches!(setup.lane, Lane::Gate | Lane::GateFull);
        if gated && (!tcp || alone) {
            return Err(
                Refusal::new(socket.at, "only connected TCP has this lane").expecting(["lane=loopback"])
            );
        }
        let tcp4 = setup.kind == SocketKind::Tcp4 && !alone;
        let udp4 = setup.kind == SocketKind::Udp4 && !alone;
        let through_device = matches!(setup.lane, Lane::IfbUdp | Lane::IfbUdpTap);
        if setup.lane.is_declared() && !tcp4 || through_device && !udp4 {
            return Err(Refusal::new(socket.at, "this kind of socket does not have this lane").expecting([
                "lane=ifb-udp and lane=ifb-udp-tap for udp",
                "lane=repair-tcp and lane=repair-tcp-tap for tcp",
            ]));
        }
        names.add_socket(&socket.what.near, socket.what.far.as_ref())?;
        setups.push(setup.clone());
    }
    Ok((names, setups))
}
