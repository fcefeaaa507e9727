//! What a trace shows of the things that a case lists: its outcome.

use std::collections::BTreeMap;

use uringspec_model::cqe::{Completion, Cqe};
use uringspec_model::trace::{Ending, Run, Trace, What, Words};

use crate::case::lowered::{Expected, Lowered};

/// What was seen at the steps of a case of which something is expected. Time, and the order of
/// completions of different requests, play no part, except where `first` keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// What the system calls returned, by step.
    pub returned: BTreeMap<u32, i64>,
    /// Whether the rings said that completions waited outside their queues, by step.
    pub overflows: BTreeMap<u32, bool>,
    /// What the `expect` blocks took, by step.
    pub blocks: BTreeMap<u32, Block>,
    /// What rings said of themselves, by step.
    pub words: BTreeMap<u32, Words>,
    /// What the peer read up to each `received` line since the one before it, by step: datagrams each
    /// for itself, a stream in one part.
    pub received: BTreeMap<u32, Vec<Vec<Run>>>,
    /// What left again, by step.
    pub resent: BTreeMap<u32, Vec<Run>>,
    /// Completions seen at steps that list none.
    pub strays: Vec<(u32, Cqe)>,
    /// The result of each request.
    pub results: BTreeMap<u64, i32>,
    /// The step that did not end in time, or did not end at all.
    pub waiting: Option<u32>,
}

/// The completions that one `expect` block took.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// By user data, in the order of the queue.
    pub by_request: BTreeMap<u64, Vec<Cqe>>,
    /// User data in the order of the results.
    pub order: Vec<u64>,
}

impl Outcome {
    /// The outcome of a trace of `lowered`.
    pub fn of(lowered: &Lowered, trace: &Trace) -> Outcome {
        let mut outcome = Outcome::default();
        for expectation in &lowered.expectations {
            match expectation.what {
                Expected::Completions(_) => _ = outcome.blocks.insert(expectation.step, Block::default()),
                Expected::Arrivals(_) => _ = outcome.received.insert(expectation.step, Vec::new()),
                Expected::Resent(_) => _ = outcome.resent.insert(expectation.step, Vec::new()),
                Expected::Returned(_) | Expected::Overflow(_) | Expected::Words(_) => {}
            }
        }
        for seen in &trace.seen {
            match &seen.what {
                What::Returned(value) => _ = outcome.returned.insert(seen.step, *value),
                What::Overflow { set, .. } => _ = outcome.overflows.insert(seen.step, *set),
                What::Words(words) => _ = outcome.words.insert(seen.step, *words),
                What::Cqe(taken) => outcome.take(lowered, seen.step, taken.cqe),
                What::Received(received) => {
                    let line = lowered.received_at(received.socket, seen.step);
                    let Some(parts) = line.and_then(|step| outcome.received.get_mut(&step)) else { continue };
                    match parts.last_mut().filter(|_| !lowered.is_datagram(received.socket)) {
                        Some(stream) => stream.extend(received.runs.iter().cloned()),
                        None => parts.push(received.runs.clone()),
                    }
                }
                What::GaveUp => outcome.waiting = outcome.waiting.or(Some(seen.step)),
                What::SentAgain(again) => {
                    outcome.resent.entry(seen.step).or_default().extend(again.runs.iter().cloned());
                }
                What::Acked { .. } | What::Room(_) | What::PeerEnded { .. } => {}
            }
        }
        if let Ending::Hung { step } = trace.end {
            outcome.waiting = outcome.waiting.or(Some(step));
        }
        outcome
    }

    fn take(&mut self, lowered: &Lowered, step: u32, cqe: Cqe) {
        let is_result = matches!(cqe.completion(), Some(Completion::Result { .. }));
        if is_result {
            self.results.entry(cqe.user_data).or_insert(cqe.res);
        }
        match self.blocks.get_mut(&step) {
            Some(block) => {
                block.by_request.entry(cqe.user_data).or_default().push(cqe);
                if is_result {
                    block.order.push(cqe.user_data);
                }
            }
            // `settle` takes whatever comes; that it may come is for the model to say.
            None if lowered.settles_at(step) => {}
            None => self.strays.push((step, cqe)),
        }
    }
}
