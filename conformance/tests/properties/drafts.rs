//! Random programs that shrink by their steps.

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::*;
use uringspec::draft::{Draft, Features, StepDraft};
use uringspec_model::program::Program;

/// The most bytes that a step is read from.
const STEP_BYTES: usize = 96;
/// The most steps.
const STEPS: usize = 10;

/// A program in the making, and how the kernel of a simulation decides.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The program in the making.
    pub(crate) draft: Draft,
    /// The seed of the decisions.
    pub(crate) seed: u64,
    /// What the program may have.
    allowed: Features,
}

impl Subject {
    /// Its program.
    pub(crate) fn program(&self) -> Program {
        self.draft.resolve_with(self.allowed)
    }
}

/// Such that hand over what they submit at once: properties that count what was taken do not follow calls by hand.
pub(crate) fn submitted() -> impl Strategy<Value = Subject> {
    subjects().prop_map(|subject| Subject { allowed: Features::DEFAULT, ..subject })
}

/// Drafts whose steps are a list, so that shrinking takes steps away and then makes each simpler.
pub(crate) fn subjects() -> impl Strategy<Value = Subject> {
    let head = (any::<u64>(), any::<[u8; 7]>());
    let steps = vec(vec(any::<u8>(), 0..STEP_BYTES), 1..STEPS);
    (head, steps, any::<u64>()).prop_map(|((features, head), steps, seed)| {
        let [entries, rings, a, b, c, regions, table] = head;
        let step = |bytes: &Vec<u8>| StepDraft::arbitrary(&mut Unstructured::new(bytes)).unwrap_or_default();
        let steps = steps.iter().map(step).collect();
        let draft = Draft { features, entries, rings, sockets: [a, b, c], regions, table, steps };
        Subject { draft, seed, allowed: Features::DEFAULT | Features::CALLS }
    })
}
