//! One mixed send as entries and copies.

use super::entry::Headers;
use super::lowering::{Lowering, Staging, fragments};
use super::{Memory, MixedSend, Segment, Transfer};
use crate::abi::{msg, op, send_flag, sqe_flag};
use crate::program::Iovec;
use crate::sqe::Sqe;

/// A mixed send in a form that kernels have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How it is made.
    pub lowering: Lowering,
    /// What is staged before the entries are submitted, in order.
    pub copies: Vec<StagedCopy>,
    /// The entries, in order.
    pub sqes: Vec<Sqe>,
    /// Bytes of each entry.
    pub shares: Vec<u64>,
    /// What it costs.
    pub cost: Cost,
}

/// Bytes that are copied before a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedCopy {
    /// Where they are.
    pub from: u64,
    /// Where they come.
    pub to: u64,
    /// How many.
    pub len_bytes: u64,
}

/// What a lowered send costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes that are staged.
    pub staged_bytes: u64,
    /// Bytes that the kernel copies.
    pub copied_bytes: u64,
    /// Entries.
    pub sqes: u32,
    /// Completions, if all goes well.
    pub cqes: u32,
    /// Pieces of memory that packets refer to.
    pub fragments: u64,
}

/// A mistake of a lowering, so that tests can show that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// What is to be copied is staged when the program has ended, not before the submission.
    StagedLate,
    /// The result of the second entry is reported as that of all.
    SecondResult,
    /// The notification is not passed on.
    NotificationDropped,
    /// The notification is passed on where nothing was lent.
    NotificationKept,
    /// The first two segments are swapped.
    SegmentsSwapped,
    /// Memory is named as registered that lies in another buffer.
    FixedAcrossTwo,
}

/// One mixed send, lowered. `staged_at` is where its staged bytes come, `extra` the user data of all entries
/// but the first.
pub fn lower(
    send: &MixedSend,
    lowering: Lowering,
    staging: Staging,
    staged_at: u64,
    extra: u64,
    headers: &mut Headers,
) -> Plan {
    let (iovecs, copies) = staged(send, staging, staged_at);
    let base = Sqe {
        flags: send.flags,
        fd: send.fd,
        op_flags: send.msg,
        user_data: send.user_data,
        ioprio: if send.reports && lowering != Lowering::Copy { send_flag::REPORT_USAGE } else { 0 },
        ..Sqe::default()
    };
    let fixed =
        |index: u16, sqe: Sqe| Sqe { ioprio: sqe.ioprio | send_flag::FIXED_BUF, buf_index: index, ..sqe };
    let vector = |sqe: Sqe, addr| Sqe {
        opcode: op::SEND_ZC,
        ioprio: sqe.ioprio | send_flag::VECTORIZED,
        addr,
        len: iovecs.len() as u32,
        ..sqe
    };
    let sqes = match (lowering, staging) {
        (Lowering::Copy, _) => {
            let all = send.segments.iter().map(|s| Iovec { addr: s.addr, len_bytes: s.len_bytes.into() });
            let addr = headers.message(&all.collect::<Vec<_>>());
            vec![Sqe { opcode: op::SENDMSG, addr, len: 1, ..base }]
        }
        (Lowering::Linked, _) => linked(send, base, extra, headers),
        (Lowering::Contiguous, Staging::Before(index, start, bytes)) => {
            let sqe = Sqe { opcode: op::SEND_ZC, addr: start - bytes, len: send.len_bytes() as u32, ..base };
            vec![index.map_or(sqe, |index| fixed(index, sqe))]
        }
        (Lowering::StagedFixed, Staging::Inside(index, _)) => {
            let addr = headers.message(&iovecs);
            vec![fixed(index, Sqe { opcode: op::SENDMSG_ZC, addr, len: 1, ..base })]
        }
        (Lowering::VectorizedFixed, Staging::Inside(index, _)) => {
            let addr = headers.iovecs(&iovecs);
            vec![fixed(index, vector(base, addr))]
        }
        (Lowering::Vectorized, _) => {
            let addr = headers.iovecs(&iovecs);
            vec![vector(base, addr)]
        }
        _ => {
            let addr = headers.message(&iovecs);
            vec![Sqe { opcode: op::SENDMSG_ZC, addr, len: 1, ..base }]
        }
    };
    let shares = if lowering == Lowering::Linked { shares(send) } else { vec![send.len_bytes()] };
    let kernel_copies = match lowering {
        Lowering::Copy => send.len_bytes(),
        Lowering::Linked => send.copied_bytes(),
        _ => 0,
    };
    let notices = sqes.iter().filter(|sqe| sqe.is_zero_copy()).count();
    let cost = Cost {
        staged_bytes: copies.iter().map(|copy| copy.len_bytes).sum(),
        copied_bytes: kernel_copies,
        sqes: sqes.len() as u32,
        cqes: (sqes.len() + notices) as u32,
        fragments: if lowering == Lowering::Copy { 0 } else { fragments(send, staging) },
    };
    Plan { lowering, copies, sqes, shares, cost }
}

/// The pieces of memory that are sent, and what is staged for them.
fn staged(send: &MixedSend, staging: Staging, staged_at: u64) -> (Vec<Iovec>, Vec<StagedCopy>) {
    let (mut iovecs, mut copies, mut to) = (Vec::new(), Vec::new(), staged_at);
    for segment in send.filled() {
        let len_bytes = u64::from(segment.len_bytes);
        if segment.transfer == Transfer::ZeroCopy || staging == Staging::None {
            iovecs.push(Iovec { addr: segment.addr, len_bytes });
        } else {
            iovecs.push(Iovec { addr: to, len_bytes });
            copies.push(StagedCopy { from: segment.addr, to, len_bytes });
            to += len_bytes;
        }
    }
    (iovecs, copies)
}

/// Segments that go by one entry of a chain: copied ones together, lent ones each for itself.
fn runs(send: &MixedSend) -> Vec<Vec<Segment>> {
    let mut runs: Vec<Vec<Segment>> = Vec::new();
    for segment in send.filled() {
        match runs
            .last_mut()
            .filter(|run| segment.transfer == Transfer::Copy && run[0].transfer == Transfer::Copy)
        {
            Some(run) => run.push(*segment),
            None => runs.push(vec![*segment]),
        }
    }
    runs
}

fn shares(send: &MixedSend) -> Vec<u64> {
    runs(send).iter().map(|run| run.iter().map(|s| u64::from(s.len_bytes)).sum()).collect()
}

/// A chain: every entry but the last with `MSG_MORE`, and linked to the next.
fn linked(send: &MixedSend, base: Sqe, extra: u64, headers: &mut Headers) -> Vec<Sqe> {
    let runs = runs(send);
    let last = runs.len() - 1;
    let entry = |(i, run): (usize, &Vec<Segment>)| {
        let user_data = if i == 0 { base.user_data } else { extra + i as u64 - 1 };
        let mut sqe = Sqe { user_data, ..base };
        if i < last {
            sqe.flags |= sqe_flag::LINK;
            sqe.op_flags |= msg::MORE;
        }
        let Segment { addr, len_bytes, memory, transfer } = run[0];
        (sqe.addr, sqe.len) = (addr, len_bytes);
        match (transfer, memory) {
            (Transfer::Copy, _) if run.len() > 1 => {
                let iovecs = run.iter().map(|s| Iovec { addr: s.addr, len_bytes: s.len_bytes.into() });
                let addr = headers.message(&iovecs.collect::<Vec<_>>());
                Sqe { opcode: op::SENDMSG, ioprio: 0, addr, len: 1, ..sqe }
            }
            (Transfer::Copy, _) => Sqe { opcode: op::SEND, ioprio: 0, ..sqe },
            (Transfer::ZeroCopy, Memory::Plain) => Sqe { opcode: op::SEND_ZC, ..sqe },
            (Transfer::ZeroCopy, Memory::Registered(index)) => Sqe {
                opcode: op::SEND_ZC,
                ioprio: sqe.ioprio | send_flag::FIXED_BUF,
                buf_index: index,
                ..sqe
            },
        }
    };
    runs.iter().enumerate().map(entry).collect()
}
