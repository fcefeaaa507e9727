//! Submissions by hand: entries are queued, and handed over by calls of all kinds.
//!
//! A wait has a time of zero, unless what it waits for is surely there.

use uringspec_model::abi::{enter, op};
use uringspec_model::enter::{Argument, Enter, On};
use uringspec_model::program::{RingId, Step};
use uringspec_model::sqe::Sqe;

use super::Features;
use super::resolve::Resolver;

/// Arguments of waits that are refused.
const REFUSED: &[Argument] = &[Argument::Short, Argument::BadTime, Argument::Unreadable];

impl Resolver<'_> {
    /// Queues entries and lets one or two calls consume them, and all that was left before.
    pub(super) fn hand_over(&mut self, ring: usize, sqes: Vec<Sqe>, choice: u8, may_stop: bool) {
        let id = RingId(ring as u8);
        let count = sqes.len() as u32;
        // `left` counts these already where a batch may end early
        let all = count.max(self.rings[ring].left as u32 + 1);
        let is_clear = !may_stop && self.rings[ring].left == 0;
        let splits = count > 1 && (self.features.contains(Features::OPEN) || !sqes[0].links());
        let last = sqes.last().copied().unwrap_or_default();
        let is_there = is_clear && last.opcode == op::NOP && last.flags == 0 && !self.rings[ring].drained;
        let indexed = is_clear && self.rings[ring].has_array && sqes.len() < self.rings[ring].entries;
        let free = sqes.iter().all(|sqe| !sqe.links());
        let wanted = u32::from(choice % 5);
        let call = Enter { ring: id, to_submit: all, ..Enter::default() };
        let waits = Enter { flags: enter::GETEVENTS, wanted, argument: Argument::NoTime, ..call.clone() };
        let mut array = Vec::new();
        let calls = match choice / 5 % 10 {
            0 => vec![Enter { argument: Argument::None, wanted: 0, ..waits }],
            1 => vec![waits],
            2 => vec![Enter { to_submit: all + 3, argument: Argument::None, ..waits }],
            3 => vec![Enter { argument: REFUSED[usize::from(choice) % REFUSED.len()], ..waits }],
            4 if splits => {
                vec![Enter { to_submit: 1, ..call.clone() }, Enter { to_submit: all - 1, ..call }]
            }
            5 if indexed => {
                array = (0..count).collect();
                if free {
                    array.reverse();
                }
                array.insert(array.len() - usize::from(free && count > 1), u32::MAX - u32::from(choice));
                vec![call.clone(), call]
            }
            6 => {
                let on = if wanted % 2 == 0 { On::Closed } else { On::NoRing };
                vec![Enter { on, ..call.clone() }, call]
            }
            7 => vec![Enter { flags: 0x100 << wanted, ..call.clone() }, call],
            8 | 9 if is_there => {
                let calls = [call, Enter { to_submit: 0, wanted: 1, argument: Argument::None, ..waits }];
                calls.into_iter().collect()
            }
            _ => vec![call],
        };
        self.steps.push(Step::Queue { ring: id, sqes, array });
        self.steps.extend(calls.into_iter().map(Step::Enter));
        if choice.is_multiple_of(3) {
            self.steps.push(Step::Look { ring: id });
        }
    }

    /// Looks at a ring, or lets a call without entries do something to it.
    pub(super) fn look(&mut self, ring: usize, choice: u8) {
        let id = RingId(ring as u8);
        let waits = Enter { ring: id, flags: enter::GETEVENTS, wanted: 1, ..Enter::default() };
        let step = match choice / 4 % 8 {
            0..=3 => Step::Look { ring: id },
            4 => Step::Enter(Enter { argument: REFUSED[usize::from(choice) % REFUSED.len()], ..waits }),
            5 => Step::Enter(Enter { flags: enter::GETEVENTS | enter::EXT_ARG, ..waits }),
            _ => Step::Enter(Enter { argument: Argument::NoTime, ..waits }),
        };
        self.steps.push(step);
    }
}
