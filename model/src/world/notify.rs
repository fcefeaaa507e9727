//! The notification of a request: when it may come, and what it may say.

use super::World;
use crate::cqe::Usage;
use crate::deviation::Deviation;
use crate::mutation::Fault;
use crate::net::Holds;
use crate::notice::{Event, Notice, Stage, Used};
use crate::program::Step;
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

impl World<'_> {
    /// Whether a queue still refers to the request's memory.
    pub(super) fn holds(&self, id: RequestId, request: &Request) -> Holds {
        let stream = request.socket.and_then(|socket| self.stream(socket));
        if self.has_fault(Fault::ReleasedEarly) {
            return Holds::No;
        }
        stream.map_or(Holds::No, |stream| stream.holds(id))
    }

    /// Whether the request may post its notification with this usage now. `in_turn`: that it may be the next to post
    /// was judged.
    pub(super) fn judge_notification(
        &self,
        id: RequestId,
        request: &Request,
        usage: Usage,
        in_turn: bool,
    ) -> Result<(), Rule> {
        let Some(notice) = request.notice else { return self.refuse(Rule::ZcNoNoticeNoMore) };
        self.hold_to(request.phase == Phase::Done, Rule::NotifAfterResult)?;
        let released = match notice.stage {
            Stage::Allocated | Stage::Attached => notice.stage.after(Event::Release),
            other => Ok(other),
        };
        if let Err(rule) = released.and_then(|stage| stage.after(Event::Post)) {
            self.refuse(rule)?;
        }
        let declared = request.socket.is_some_and(|socket| self.lane(socket).is_declared());
        let waits = if declared { Rule::ZcAckReleases } else { Rule::NotifWaitsForRelease };
        self.hold_to(self.holds(id, request) != Holds::Surely, waits)?;
        let ring = &self.state.rings[usize::from(request.ring.0)];
        if ring.defers && matches!(self.step(), Some(Step::Peek { .. })) {
            self.hold_to(request.born_call <= ring.worked, Rule::RingDeferredWaits)?;
        }
        if request.cut {
            self.hold_to(!self.law.contract, Rule::RetiredIsSilent)?;
            self.hold_to(Deviation::OrphanNotif.applies_to(self.law.profile), Rule::RetiredIsSilent)?;
        }
        if !in_turn {
            self.judge_turn(request)?;
        }
        self.judge_usage(&notice, usage)
    }

    pub(super) fn judge_usage(&self, notice: &Notice, usage: Usage) -> Result<(), Rule> {
        let copied = usage == Usage::Copied;
        if !notice.reports {
            let clear = !copied || self.has_fault(Fault::UsageUnasked);
            return self.hold_to(clear, Rule::ZcUsageWhenAsked);
        }
        match notice.used {
            Used::Nothing => self.hold_to(copied, Rule::ZcNothingIsCopied),
            Used::Copied => self.hold_to(copied, Rule::ZcLoopbackCopies),
            Used::Device => self.hold_to(!copied, Rule::ZcDeviceIsClear),
            Used::Tapped => self.hold_to(copied, Rule::ZcTapCopies),
            Used::Untouched => self.hold_to(!copied, Rule::ZcUntouchedIsClear),
            Used::Joined if copied => self.hold_to(!self.law.contract, Rule::ZcUntouchedIsClear),
            Used::Joined | Used::Unknown => Ok(()),
        }
    }

    /// The request posts its notification.
    pub(super) fn notify(&mut self, id: RequestId, usage: Usage) -> Result<(), Rule> {
        self.judge_notification(id, self.request(id), usage, false)?;
        self.notified(id, usage);
        Ok(())
    }

    /// The request has posted its notification.
    pub(super) fn notified(&mut self, id: RequestId, usage: Usage) {
        self.hit(Rule::OneNotif);
        self.take_from_queue(id, false);
        let request = self.request_mut(id);
        let (cut, socket, user_data) = (request.cut, request.socket, request.user_data);
        let joined = request.notice.is_some_and(|n| n.used == Used::Joined && usage == Usage::Copied);
        if let Some(notice) = &mut request.notice {
            notice.stage = Stage::Posted;
        }
        if cut {
            self.met(Deviation::OrphanNotif);
        }
        if joined {
            self.met(Deviation::JoinedIsCopied);
        }
        if let Some(stream) = socket.and_then(|socket| self.stream_mut(socket)) {
            stream.released(id);
        }
        self.count(user_data, false, true);
        self.note_drained(id);
        self.retire(id);
    }
}
