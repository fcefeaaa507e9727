//! The model as a kernel that is asked step by step, by something that does not know its steps before.
//!
//! A runtime or a server under test submits what it likes, and gets completions that some kernel may post;
//! who calls decides which, so a fault is only a choice. Everything is written down as a program and a
//! trace, so that afterwards `check` can judge it like any other run.
//!
//! ```
//! use uringspec_model::abi::op;
//! use uringspec_model::check::check;
//! use uringspec_model::live::Live;
//! use uringspec_model::profile::Profile;
//! use uringspec_model::program::{Program, RingId, RingSetup, Step, Until};
//! use uringspec_model::sqe::Sqe;
//! use uringspec_model::trace::What;
//!
//! let ring = RingSetup { entries: 8, ..RingSetup::default() };
//! let setup = Program { rings: vec![ring], ..Program::default() };
//! let mut kernel = Live::new(setup, Profile::v6_18());
//! let nop = Sqe { opcode: op::NOP, user_data: 7, ..Sqe::default() };
//! let submit = Step::Submit { ring: RingId(0), sqes: vec![nop] };
//! let seen = kernel.step(submit, |_| 0).expect("nops are modelled");
//! assert_eq!(seen[0].what, What::Returned(1));
//! let reap = Step::Reap { ring: RingId(0), until: Until::Settled };
//! let seen = kernel.step(reap, |_| 0).expect("nops are modelled");
//! assert!(matches!(seen[0].what, What::Cqe(seen) if seen.cqe.user_data == 7));
//! assert!(check(kernel.program(), kernel.profile(), kernel.trace()).is_accepted());
//! ```

use crate::memory::RegionId;
use crate::profile::Profile;
use crate::program::{Program, Step};
use crate::trace::{Ending, RoomReport, Seen, Trace, What};
use crate::walk::Walk;
pub use crate::walk::Way;
use crate::world::{Law, Paused, World};

/// A kernel that takes one step after the other.
pub struct Live {
    program: Program,
    profile: Profile,
    /// `None` only while a step is taken.
    paused: Option<Paused>,
    trace: Trace,
}

/// The model says nothing about what was asked; the record ends before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// What it does not cover.
    pub why: String,
}

impl Live {
    /// A kernel with the limits, rings, sockets and regions of `setup`; its steps are left out.
    pub fn new(setup: Program, profile: Profile) -> Live {
        let program = Program { steps: Vec::new(), ..setup };
        let paused = World::new(Law::of(&program, &profile)).pause();
        Live { program, profile, paused: Some(paused), trace: Trace::default() }
    }

    /// Says how much room a socket has; before the first step.
    pub fn room(&mut self, report: RoomReport) {
        let law = Law::of(&self.program, &self.profile);
        if let Some(paused) = self.paused.take() {
            let mut world = World::resume(law, paused);
            world.room(report);
            self.paused = Some(world.pause());
        }
        self.trace.seen.push(Seen { step: 0, what: What::Room(report) });
    }

    /// Writes bytes behind those of a region that holds bytes, and makes it longer by that: their address.
    /// `None` if there is no such region.
    pub fn append(&mut self, region: RegionId, bytes: &[u8]) -> Option<u64> {
        self.program.regions.get_mut(usize::from(region.0))?.append(bytes)
    }

    /// Takes a step: what was seen of it. `choose` is asked whenever the kernel has a choice, with what it
    /// may do, and answers with an index.
    pub fn step(&mut self, step: Step, mut choose: impl FnMut(&[Way]) -> usize) -> Result<&[Seen], Silent> {
        let Live { program, profile, paused, trace } = self;
        let at = program.steps.len();
        program.steps.push(step);
        let known = trace.seen.len();
        let Some(state) = paused.take() else {
            return Err(Silent { why: "an earlier step was not covered".into() });
        };
        let mut walk = Walk::resume(World::resume(Law::of(program, profile), state), at);
        while walk.step == at {
            let ways = walk.ways();
            let Some(last) = ways.len().checked_sub(1) else {
                let why = walk.world.unclaimed().unwrap_or("nothing may happen next").to_string();
                trace.end = Ending::Cut;
                return Err(Silent { why });
            };
            walk.take(ways[choose(&ways).min(last)]).expect("a way that was proposed can be taken");
        }
        trace.seen.append(&mut walk.seen);
        *paused = Some(walk.world.pause());
        Ok(&trace.seen[known..])
    }

    /// The rings, sockets and memory, and the steps so far.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What was seen so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What this kernel can do.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }
}
