//! Drafts: any bytes are a program, and programs get about.

use std::collections::BTreeSet;

use uringspec::draft::{Draft, Features};
use uringspec_model::abi::{op, sqe_flag};
use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::profile::Profile;
use uringspec_model::program::{Program, SocketId, Step};
use uringspec_model::simulate::simulate;
use uringspec_real::may_run;

/// Bytes of any kind: random, all alike, few.
fn bytes(number: u64) -> Vec<u8> {
    let mut random = Seeded::new(number);
    let len = random.pick(400);
    match number % 8 {
        0 => vec![random.pick(256) as u8; len],
        _ => (0..len).map(|_| random.pick(256) as u8).collect(),
    }
}

#[track_caller]
fn check_shape(program: &Program, number: u64) {
    let (mut reset, mut drained) = (BTreeSet::new(), false);
    for step in &program.steps {
        for sqe in step.entries() {
            drained |= sqe.flags & sqe_flag::DRAIN != 0;
            let lends = [op::SEND_ZC, op::SENDMSG_ZC].contains(&sqe.opcode);
            assert!(!drained || !lends, "{number}: zero copy behind a drain hangs the ring");
        }
        match step {
            Step::Submit { ring, sqes } => {
                let room = program.rings[usize::from(ring.0)].entries as usize;
                assert!(sqes.len() <= room, "{number}: more entries than the queue holds");
            }
            Step::ResetPeer { socket } => _ = reset.insert(*socket),
            Step::Drain { socket, .. } => {
                assert!(!reset.contains(socket), "{number}: a peer that is gone cannot read");
                assert!(*socket < SocketId(program.sockets.len() as u16));
            }
            Step::Rewrite { region } => {
                assert!(program.regions[usize::from(region.0)].contents.is_stamped(), "{number}");
            }
            _ => {}
        }
    }
    assert_eq!(program.steps.last(), Some(&Step::Settle), "{number}: what is owed is not waited for");
}

fn drains(program: &Program) -> bool {
    program.steps.iter().flat_map(Step::entries).any(|sqe| sqe.flags & sqe_flag::DRAIN != 0)
}

#[test]
fn any_bytes_are_a_program() {
    for number in 0..100_000 {
        let draft = Draft::from_bytes(&bytes(number));
        let usual = draft.resolve();
        check_shape(&usual, number);
        assert!(!drains(&usual), "{number}: a drain, though nobody asked for any");
        check_shape(&draft.resolve_with(Features::all()), number);
    }
}

#[test]
fn programs_may_be_run_live() {
    let opcodes = Profile::v6_18().opcodes;
    let mut refused = 0;
    for number in 0..20_000 {
        let draft = Draft::from_bytes(&bytes(number));
        if let Err(why) = may_run(&draft.resolve(), opcodes) {
            panic!("{number}: {why}");
        }
        refused += u64::from(may_run(&draft.resolve_with(Features::all()), opcodes).is_err());
    }
    // what lies where a message header is looked for may be any bytes
    assert!(refused < 200, "{refused} programs with any values in their entries would not be run");
}

/// Whoever makes a program smaller takes away what it still names; the model is to say something of that as well.
#[test]
fn a_program_that_lost_its_sockets_is_judged() {
    let profile = Profile::v6_18();
    for number in 0..3_000 {
        let program = Draft::from_bytes(&bytes(number)).resolve_with(Features::DEFAULT);
        let trace = simulate(&program, &profile, &mut Seeded::new(number));
        let losses: [fn(&mut Program); 3] =
            [|less| _ = less.sockets.pop(), |less| less.sockets.clear(), |less| _ = less.rings.pop()];
        for loss in losses {
            let mut less = program.clone();
            loss(&mut less);
            check(&less, &profile, &trace);
            let own = simulate(&less, &profile, &mut Seeded::new(number));
            check(&less, &profile, &own);
        }
    }
}
