//! How a batch is sent: the ways that a kernel has, the best of them, and its entry.

use uringspec_model::abi::{msg, op, send_flag};
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::sqe::Sqe;

use super::batch::Batch;
use super::policy::Policy;

/// What can be lent by: one range saves a fragment, registered memory the pinning.
const LENDING: [Lowering; 5] = [
    Lowering::Contiguous,
    Lowering::VectorizedFixed,
    Lowering::StagedFixed,
    Lowering::Vectorized,
    Lowering::Staged,
];

/// The longest range that `SEND` takes in one piece (`MAX_RW_COUNT`).
const RANGE_BYTES_MAX: u64 = 0x7fff_f000;

/// How a sender sends on a kernel with this profile, the best first. Kernels before 6.0 copy; 6.0 lends what
/// is one range.
///
/// ```
/// use uringspec_model::kernels::named;
/// use uringspec_model::mixed::lowering::Lowering::{Contiguous, Copy};
/// use uringspec_real::mixed::lowerings;
///
/// assert_eq!(lowerings(&named("5.10").expect("it is known")), [Copy]);
/// assert_eq!(lowerings(&named("6.0").expect("it is known")), [Contiguous, Copy]);
/// ```
pub fn lowerings(profile: &Profile) -> Vec<Lowering> {
    let exists = |lowering: &Lowering| lowering.needs().iter().all(|feature| profile.has(*feature));
    LENDING.into_iter().filter(exists).chain([Lowering::Copy]).collect()
}

/// How a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `SENDMSG`.
    Copy,
    /// `SEND` of one range.
    CopyRange,
    /// `SEND_ZC` of one range.
    Range,
    /// The same out of registered memory.
    RangeFixed(u16),
    /// `SEND_ZC` of an array.
    Vector,
    /// The same out of registered memory.
    VectorFixed(u16),
    /// `SENDMSG_ZC`.
    Message,
    /// The same out of registered memory.
    MessageFixed(u16),
}

/// What an entry of each kind of way points to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Targets {
    pub(super) header: u64,
    pub(super) iovecs: u64,
    pub(super) first: u64,
}

/// The ways of one kernel.
#[derive(Debug)]
pub(super) struct Ways {
    range: bool,
    vector: bool,
    vector_fixed: bool,
    message: bool,
    message_fixed: bool,
    reports: bool,
}

impl Ways {
    pub(super) fn of(profile: &Profile) -> Ways {
        let all = lowerings(profile);
        let has = |lowering| all.contains(&lowering);
        Ways {
            range: has(Lowering::Contiguous),
            vector: has(Lowering::Vectorized),
            vector_fixed: has(Lowering::VectorizedFixed),
            message: has(Lowering::Staged),
            message_fixed: has(Lowering::StagedFixed),
            reports: profile.has(Feature::ReportUsage),
        }
    }

    /// Whether only what is one range can be lent, so that it must not be gathered with others.
    pub(super) fn lends_ranges_only(&self) -> bool {
        self.range && !self.message
    }

    /// The way of a batch that is not lent.
    pub(super) fn copy(batch: &Batch) -> Way {
        if is_range(batch) { Way::CopyRange } else { Way::Copy }
    }

    /// The way of a batch. `buffer` is the arena's index; `charged` says whether memory that is charged may
    /// be lent now.
    pub(super) fn choose(&self, batch: &Batch, policy: &Policy, buffer: Option<u16>, charged: bool) -> Way {
        let bare = is_bare(batch);
        let (range, copy) = (is_range(batch), Ways::copy(batch));
        let fixed = match buffer.filter(|_| batch.in_arena) {
            Some(index) if range && self.range => Some(Way::RangeFixed(index)),
            Some(index) if bare && self.vector_fixed => Some(Way::VectorFixed(index)),
            Some(index) if self.message_fixed => Some(Way::MessageFixed(index)),
            _ => None,
        };
        if let Some(way) = fixed {
            return if policy.fixed.allow(batch.messages, batch.len_bytes) { way } else { copy };
        }
        let plain = match () {
            () if range && self.range => Way::Range,
            () if bare && self.vector => Way::Vector,
            () if self.message => Way::Message,
            () => return copy,
        };
        if charged && policy.plain.allow(batch.messages, batch.len_bytes) { plain } else { copy }
    }

    /// The entry of a way, without descriptor and user data.
    pub(super) fn entry(&self, way: Way, batch: &Batch, is_stream: bool, at: &Targets) -> Sqe {
        let op_flags = if is_stream { msg::NOSIGNAL | msg::WAITALL } else { msg::NOSIGNAL };
        let usage = if self.reports { send_flag::REPORT_USAGE } else { 0 };
        let fixed = usage | send_flag::FIXED_BUF;
        let (opcode, ioprio, buf_index) = match way {
            Way::Copy => (op::SENDMSG, 0, 0),
            Way::CopyRange => (op::SEND, 0, 0),
            Way::Range => (op::SEND_ZC, usage, 0),
            Way::RangeFixed(index) => (op::SEND_ZC, fixed, index),
            Way::Vector => (op::SEND_ZC, usage | send_flag::VECTORIZED, 0),
            Way::VectorFixed(index) => (op::SEND_ZC, fixed | send_flag::VECTORIZED, index),
            Way::Message => (op::SENDMSG_ZC, usage, 0),
            Way::MessageFixed(index) => (op::SENDMSG_ZC, fixed, index),
        };
        let (addr, len) = match way {
            Way::Copy | Way::Message | Way::MessageFixed(_) => (at.header, 1),
            Way::Vector | Way::VectorFixed(_) => (at.iovecs, batch.iovecs as u32),
            Way::CopyRange | Way::Range | Way::RangeFixed(_) => (at.first, batch.len_bytes as u32),
        };
        Sqe { opcode, ioprio, buf_index, addr, len, op_flags, ..Sqe::default() }
    }
}

/// Whether nothing but memory is to be named.
fn is_bare(batch: &Batch) -> bool {
    !batch.has_address && batch.segment_bytes.is_none()
}

fn is_range(batch: &Batch) -> bool {
    is_bare(batch) && batch.iovecs == 1 && batch.len_bytes <= RANGE_BYTES_MAX
}

impl Way {
    pub(super) fn is_zero_copy(self) -> bool {
        !matches!(self, Way::Copy | Way::CopyRange)
    }

    /// Whether its entry points to a message header.
    #[inline]
    pub(super) fn has_header(self) -> bool {
        matches!(self, Way::Copy | Way::Message | Way::MessageFixed(_))
    }

    /// Whether its entry points to nothing but the memory that is sent.
    #[inline]
    pub(super) fn is_range(self) -> bool {
        matches!(self, Way::CopyRange | Way::Range | Way::RangeFixed(_))
    }

    pub(super) fn is_fixed(self) -> bool {
        matches!(self, Way::RangeFixed(_) | Way::VectorFixed(_) | Way::MessageFixed(_))
    }
}

#[cfg(test)]
mod tests {
    use uringspec_model::kernels::{named, names};
    use uringspec_model::mixed::entry::Headers;
    use uringspec_model::mixed::plan::lower;
    use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};

    use super::super::policy::Thresholds;
    use super::*;

    /// A batch of 24 bytes that are copied and 5000 that are lent, in one piece or in two.
    fn batch(iovecs: usize, in_arena: bool) -> Batch {
        Batch { span: 1, messages: 1, len_bytes: 5024, iovecs, in_arena, ..Batch::default() }
    }

    fn chosen(ways: &Ways, iovecs: usize, in_arena: bool, buffer: Option<u16>) -> Way {
        let always = || Thresholds::always();
        let policy = Policy { fixed: always(), plain: always(), ..Policy::default() };
        ways.choose(&batch(iovecs, in_arena), &policy, buffer, true)
    }

    #[test]
    fn every_release_has_its_ways() {
        let ways = |name| Ways::of(&named(name).expect("it is known"));
        let all = |name| {
            [(1, true), (2, true), (1, false), (2, false)].map(|(n, a)| chosen(&ways(name), n, a, Some(3)))
        };
        use Way::*;
        let table = [
            ("5.10", [CopyRange, Copy, CopyRange, Copy]),
            ("5.19", [CopyRange, Copy, CopyRange, Copy]),
            ("6.0", [RangeFixed(3), Copy, Range, Copy]),
            ("6.1", [RangeFixed(3), Message, Range, Message]),
            ("6.14", [RangeFixed(3), Message, Range, Message]),
            ("6.15", [RangeFixed(3), MessageFixed(3), Range, Message]),
            ("6.17", [RangeFixed(3), MessageFixed(3), Range, Vector]),
            ("6.18", [RangeFixed(3), MessageFixed(3), Range, Vector]),
            ("7.1", [RangeFixed(3), VectorFixed(3), Range, Vector]),
            ("7.3", [RangeFixed(3), VectorFixed(3), Range, Vector]),
        ];
        for (name, expected) in table {
            assert_eq!(all(name), expected, "{name}");
        }
        // between two lines nothing changes
        let mut last = "";
        for name in names() {
            let in_table = table.iter().any(|(known, _)| *known == name);
            assert!(in_table || last.is_empty() || all(name) == all(last) || name == "proposal", "{name}");
            last = name;
        }
    }

    #[test]
    fn what_needs_a_header_has_one() {
        let ways = Ways::of(&named("7.3").expect("it is known"));
        let always = || Thresholds::always();
        let policy = Policy { fixed: always(), plain: always(), ..Policy::default() };
        for named in [
            Batch { has_address: true, ..batch(1, true) },
            Batch { segment_bytes: Some(9), ..batch(1, true) },
        ] {
            assert_eq!(ways.choose(&named, &policy, Some(3), true), Way::MessageFixed(3));
            assert_eq!(ways.choose(&named, &policy, None, true), Way::Message);
            assert_eq!(ways.choose(&named, &policy, None, false), Way::Copy);
        }
    }

    #[test]
    fn entries_are_those_of_the_lowerings_that_are_proved() {
        let plain = (Memory::Plain, Memory::Plain);
        let fixed = (Memory::Plain, Memory::Registered(3));
        let ways = [
            (Way::Copy, Lowering::Copy, plain, 2),
            (Way::Message, Lowering::Staged, plain, 2),
            (Way::MessageFixed(3), Lowering::StagedFixed, fixed, 2),
            (Way::Vector, Lowering::Vectorized, plain, 2),
            (Way::VectorFixed(3), Lowering::VectorizedFixed, fixed, 2),
            (Way::RangeFixed(3), Lowering::Contiguous, fixed, 1),
        ];
        let profile = named("7.3").expect("it is known");
        for (way, lowering, (header, payload), iovecs) in ways {
            let segment = |addr, len_bytes, memory, transfer| Segment { addr, len_bytes, memory, transfer };
            let send = MixedSend {
                user_data: 5,
                fd: 9,
                msg: msg::NOSIGNAL | msg::WAITALL,
                reports: true,
                segments: vec![
                    segment(0x1000, 24, header, Transfer::Copy),
                    segment(0x10_000, 5000, payload, Transfer::ZeroCopy),
                ],
                ..MixedSend::default()
            };
            let staging = lowering.staging(&send, &profile, false).expect("7.3 has this lowering");
            let plan = lower(&send, lowering, staging, 0x2000, 100, &mut Headers::at(0x3000));
            let at = Targets { header: 0x3000, iovecs: 0x3000, first: 0x10_000 - 24 };
            let entry = Ways::of(&profile).entry(way, &batch(iovecs, true), true, &at);
            assert_eq!(plan.sqes, [Sqe { fd: send.fd, user_data: send.user_data, ..entry }], "{lowering:?}");
        }
    }
}
