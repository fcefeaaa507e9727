//! Who decides for the kernel in a simulation.

/// Takes one of several ways on.
pub trait Choices {
    /// An index below `ways`, which is at least 1.
    fn pick(&mut self, ways: usize) -> usize;
}

/// Decides by a seeded generator (xorshift64*), the same way for the same seed.
pub struct Seeded(u64);

impl Seeded {
    /// Any seed will do.
    pub fn new(seed: u64) -> Seeded {
        Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl Choices for Seeded {
    fn pick(&mut self, ways: usize) -> usize {
        if ways <= 1 {
            return 0;
        }
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * ways as u64) >> 32) as usize
    }
}

/// Walks through every sequence of decisions, like an odometer.
///
/// ```
/// use uringspec_model::choices::{Choices, Exhaustive};
/// let mut seen = Vec::new();
/// let mut all = Exhaustive::default();
/// while let Some(mut run) = all.next_run() {
///     seen.push((run.pick(2), run.pick(3)));
/// }
/// assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
/// ```
#[derive(Default)]
pub struct Exhaustive {
    /// The digits of the odometer: (taken, ways).
    digits: Vec<(usize, usize)>,
    started: bool,
}

/// One run of an `Exhaustive`.
pub struct ExhaustiveRun<'a> {
    digits: &'a mut Vec<(usize, usize)>,
    at: usize,
}

impl Exhaustive {
    /// The next run, until every sequence was taken.
    pub fn next_run(&mut self) -> Option<ExhaustiveRun<'_>> {
        if self.started {
            loop {
                let (taken, ways) = self.digits.pop()?;
                if taken + 1 < ways {
                    self.digits.push((taken + 1, ways));
                    break;
                }
            }
        }
        self.started = true;
        Some(ExhaustiveRun { digits: &mut self.digits, at: 0 })
    }
}

impl Choices for ExhaustiveRun<'_> {
    fn pick(&mut self, ways: usize) -> usize {
        if self.at == self.digits.len() {
            self.digits.push((0, ways));
        }
        let taken = self.digits[self.at].0;
        self.at += 1;
        taken
    }
}
