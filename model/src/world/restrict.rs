//! Restrictions of a ring: what it may still do once it is enabled.
//!
//! Source: `io_register_restrictions`, `io_parse_restrictions` in `io_uring/register.c`, `io_check_restriction` in
//! `io_uring/io_uring.c`, 6.18.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::World;
use crate::abi::errno;
use crate::cqe::Errno;
use crate::prepare::{Prepared, reads_flags};
use crate::program::{Register, Restriction, RingId};
use crate::rules::Rule;
use crate::sqe::Sqe;

/// The first number of a call to register that 6.18 does not know.
const CALLS: u8 = 36;

/// What a ring may still do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Restrictions {
    calls: BTreeSet<u8>,
    ops: BTreeSet<u8>,
    may: u8,
    must: u8,
}

impl Restrictions {
    fn of(list: &[Restriction]) -> Restrictions {
        let mut all = Restrictions::default();
        for one in list {
            match *one {
                Restriction::Call(number) => _ = all.calls.insert(number),
                Restriction::Op(opcode) => _ = all.ops.insert(opcode),
                Restriction::Flags(flags) => all.may = flags,
                Restriction::Must(flags) => all.must = flags,
            }
        }
        all
    }

    fn allow(&self, sqe: &Sqe) -> bool {
        let flags = sqe.flags;
        self.ops.contains(&sqe.opcode)
            && flags & self.must == self.must
            && flags & !(self.may | self.must) == 0
    }
}

impl World<'_> {
    /// Restricts what a ring may do once it is enabled.
    pub(super) fn restrict(&mut self, ring: RingId, list: &[Restriction]) -> Result<i64, (Errno, Rule)> {
        let opcodes = self.law.profile.opcodes;
        let is_known = |one: &Restriction| match one {
            Restriction::Call(number) => *number < CALLS,
            Restriction::Op(opcode) => *opcode < opcodes,
            Restriction::Flags(_) | Restriction::Must(_) => true,
        };
        if list.is_empty() || !list.iter().all(is_known) {
            self.give_up("restrictions to nothing, or to what is not known");
        }
        let state = &mut self.state.rings[usize::from(ring.0)];
        if !state.is_disabled {
            return Err((Errno(errno::EBADFD), Rule::RingRestrictOnce));
        }
        if state.restrictions.is_some() {
            return Err((Errno(errno::EBUSY), Rule::RingRestrictOnce));
        }
        state.restrictions = Some(Rc::new(Restrictions::of(list)));
        Ok(0)
    }

    /// The restrictions of a ring that hold by now.
    fn restrictions(&self, ring: RingId) -> Option<&Restrictions> {
        let state = &self.state.rings[usize::from(ring.0)];
        state.restrictions.as_deref().filter(|_| !state.is_disabled)
    }

    /// Whether a ring may not be asked for this any more.
    pub(super) fn forbids_call(&self, ring: RingId, what: &Register) -> bool {
        self.restrictions(ring).is_some_and(|all| !all.calls.contains(&what.number()))
    }

    /// What becomes of an entry on a ring that may be restricted.
    pub(super) fn restricted(&self, ring: RingId, sqe: &Sqe, prepared: Prepared) -> Prepared {
        let forbids = |all: &Restrictions| reads_flags(sqe, self.law.profile) && !all.allow(sqe);
        if !self.restrictions(ring).is_some_and(forbids) {
            return prepared;
        }
        let errors = vec![(Errno(errno::EACCES), Rule::RingRestricts)];
        Prepared::Refused { errors, notice: None }
    }
}
