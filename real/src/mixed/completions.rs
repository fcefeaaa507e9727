//! Taking completions: what a result means for the messages of its request, and when memory is free.

use uringspec_model::abi::errno;
use uringspec_model::cqe::{Completion, Cqe, Errno, Res, Usage};

use super::connection::Connection;
use super::kernel::Kernel;
use super::outcome::Outcome;
use super::release::Sink;
use super::requests::Request;
use super::sender::Sender;

/// User data of entries that cancel.
pub(super) const CANCEL: u64 = u64::MAX >> 8;

impl<K: Kernel> Sender<K> {
    pub(super) fn take_completions(&mut self) {
        while let Some(cqe) = self.kernel.next() {
            self.counters.completions += 1;
            self.take_completion(cqe);
        }
    }

    #[inline]
    fn take_completion(&mut self, cqe: Cqe) {
        let completion = cqe.completion();
        let Some((place, request)) = self.requests.find(cqe.user_data) else {
            return self.take_other(cqe.user_data);
        };
        match completion {
            Some(Completion::Result { res, more }) if !request.has_result => {
                request.has_result = true;
                request.since = self.now;
                let parts = request.parts.take();
                let is_whole = res == Res::Bytes(request.len_bytes) && request.has_no_gaps();
                let known = *request;
                self.requests.free_parts(parts);
                if !more {
                    self.owed = self.owed.saturating_sub(1);
                }
                if is_whole {
                    self.finish_whole(place, &known, more);
                } else {
                    self.finish(place, &known, res, more);
                }
            }
            Some(Completion::Notification(usage)) if request.has_result => {
                let known = *request;
                self.owed = self.owed.saturating_sub(1);
                self.notified(&known, usage);
                self.let_go(place, &known);
            }
            _ => self.counters.strays += 1,
        }
    }

    /// The kernel took all of a request: what `finish` does, without looking at what else may be the case.
    #[inline]
    fn finish_whole(&mut self, place: u32, request: &Request, more: bool) {
        let Request { first, span, len_bytes, .. } = *request;
        let index = request.connection as usize;
        self.counters.sent_bytes += len_bytes;
        if !request.is_zero_copy {
            self.counters.copied_bytes += len_bytes;
        }
        let Sender { arena, events, counters, connections, .. } = self;
        let Some(Some(connection)) = connections.get_mut(index) else { return };
        connection.results_owed -= 1;
        connection.sent_whole(first, span, &mut Sink { arena, events, counters });
        if !more {
            self.let_go(place, request);
        }
        self.after_result(index);
    }

    /// A completion of no request.
    #[cold]
    fn take_other(&mut self, user_data: u64) {
        if user_data == CANCEL {
            self.owed = self.owed.saturating_sub(1);
        } else {
            self.counters.strays += 1;
        }
    }

    /// A request has its result.
    fn finish(&mut self, place: u32, request: &Request, res: Res, more: bool) {
        let index = request.connection as usize;
        if let Some(connection) = self.connection_mut(index) {
            connection.results_owed -= 1;
        }
        match res {
            Res::Bytes(count) => self.sent(index, request, count),
            Res::Err(errno) => self.refused(index, request, errno),
        }
        if !more {
            self.let_go(place, request);
        }
        self.after_result(index);
    }

    /// What waited for the result of a connection's request.
    #[inline]
    fn after_result(&mut self, index: usize) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        connection.aborts &= connection.results_owed > 0;
        if !connection.is_ready && connection.can_flush() {
            connection.is_ready = true;
            self.ready.push_back(index as u32);
        }
    }

    fn sent(&mut self, index: usize, request: &Request, count: u64) {
        let Request { first, span, .. } = *request;
        self.counters.sent_bytes += count;
        if !request.is_zero_copy {
            self.counters.copied_bytes += count;
        }
        let rest = self.with_sink(index, |connection, sink| {
            let rest = connection.sent(first, span, count, sink);
            if rest && connection.aborts {
                connection.end_queued(first, sink, |sent_bytes| Outcome::Cancelled { sent_bytes });
            } else if rest && connection.traits.keeps_messages {
                // a datagram that was cut short cannot be made whole
                connection.fail(first, span, Errno(errno::EMSGSIZE), sink);
            } else if rest && count == 0 {
                // a kernel that takes nothing and says nothing would be asked for ever
                connection.break_off(first, Errno(errno::EIO), sink);
            }
            rest
        });
        self.counters.resumed += u64::from(rest == Some(true));
    }

    /// The kernel took nothing of a request.
    fn refused(&mut self, index: usize, request: &Request, errno: Errno) {
        let Request { first, span, messages, .. } = *request;
        let zero_copy = request.is_zero_copy;
        if zero_copy && matches!(errno.0, errno::ENOMEM | errno::ENOBUFS) {
            self.copies_left = self.policy.copies_after_enomem.max(1);
        }
        let copies = self.policy.copies_after_enomem.max(1);
        let fell_back = self.with_sink(index, |connection, sink| {
            connection.sent(first, span, 0, sink);
            if connection.aborts {
                connection.end_queued(first, sink, |sent_bytes| Outcome::Cancelled { sent_bytes });
                return false;
            }
            match errno.0 {
                errno::EINTR | errno::EAGAIN => {
                    connection.send_again(first, span);
                    return false;
                }
                _ if connection.traits.keeps_messages && messages > 1 => {
                    // one of them may be at fault, or there are no such requests here
                    let is_unknown = matches!(errno.0, errno::EINVAL | errno::EIO | errno::EOPNOTSUPP);
                    connection.traits.segments &= !is_unknown;
                    connection.send_again(first, span);
                    return true;
                }
                errno::EOPNOTSUPP | errno::EINVAL if zero_copy => {
                    connection.traits.zero_copy = false;
                    connection.send_again(first, span);
                    return true;
                }
                errno::ENOMEM | errno::ENOBUFS | errno::EMSGSIZE | errno::EFAULT if zero_copy => {
                    connection.copies_left = copies;
                    connection.send_again(first, span);
                    return true;
                }
                _ => {}
            }
            let its_own = matches!(errno.0, errno::EFAULT | errno::EMSGSIZE | errno::EINVAL | errno::ENOMEM);
            if connection.traits.keeps_messages {
                connection.fail(first, span, errno, sink);
            } else if its_own && messages > 1 {
                connection.alone_until = first + span;
            } else {
                connection.break_off(first, errno, sink);
                connection.has_ended |= !its_own;
            }
            false
        });
        self.counters.fallbacks += u64::from(fell_back == Some(true));
    }

    fn notified(&mut self, request: &Request, usage: Usage) {
        self.counters.notifications += 1;
        let copied = usage == Usage::Copied;
        self.counters.copied_notifications += u64::from(copied);
        if !request.begins_alone {
            return;
        }
        let policy = &self.policy.copied;
        let Some(Some(connection)) = self.connections.get_mut(request.connection as usize) else { return };
        connection.reports += 1;
        connection.copied_reports += u32::from(copied);
        let window = if connection.is_worth_it { policy.window } else { policy.first_window };
        if connection.reports >= window.max(1) {
            let (copied, all) = (u64::from(connection.copied_reports), u64::from(connection.reports));
            connection.is_worth_it = copied * 100 < all * u64::from(policy.percent);
            if !connection.is_worth_it {
                connection.copies_left = connection.copies_left.max(policy.copies);
            }
            (connection.reports, connection.copied_reports) = (0, 0);
        }
    }

    /// A request has posted its last completion.
    fn let_go(&mut self, place: u32, request: &Request) {
        let index = request.connection as usize;
        self.requests.free(place);
        let Sender { arena, events, counters, connections, .. } = self;
        let Some(Some(connection)) = connections.get_mut(index) else { return };
        connection.let_go(request.first, request.span, &mut Sink { arena, events, counters });
        if connection.socket.is_none() {
            self.forget_if_over(index);
        }
    }
}

impl<S> Connection<S> {
    /// Datagrams fail, as far as they have not ended.
    fn fail(&mut self, first: u64, span: u64, errno: Errno, sink: &mut Sink<'_>) {
        for number in first..first + span {
            let sent_bytes = self.sent_bytes(number);
            self.end_message(number, Outcome::Failed { errno, sent_bytes }, sink);
        }
    }

    /// The first message from `from` on fails; those behind it are not sent.
    fn break_off(&mut self, from: u64, errno: Errno, sink: &mut Sink<'_>) {
        let mut partly = false;
        let mut first = true;
        self.end_queued(from, sink, |sent_bytes| {
            if std::mem::take(&mut first) {
                partly = sent_bytes > 0;
                Outcome::Failed { errno, sent_bytes }
            } else {
                Outcome::NotSent
            }
        });
        self.has_ended |= partly;
    }
}
