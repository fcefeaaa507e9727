//! Ratios with intervals, and whether a cell is resolved and passes.
//!
//! A ratio is the median of the ratios of the pairs. Its interval is that of the sign test: two of the sorted
//! ratios, as far out that the true median lies outside with at most 5 %, whatever the distribution. With
//! fewer than six pairs there is no such interval; then it goes from the least to the greatest.

use serde::Serialize;
use uringspec_real::bench::{Lane, Series, Strategy};

use super::plan::{Planned, Size};

/// A cell whose interval begins above this does not pass.
pub const PASS_MAX: f64 = 1.03;
/// Linked pairs are to take so many times as long as the sender.
const LINKED_MIN: f64 = 1.5;
/// A cell in which the sender against itself may differ by more than this is not resolved.
const RESOLVED: f64 = 0.03;

/// A median and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The median.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Ratio {
    /// Of numbers, of which there is at least one.
    pub fn of(mut all: Vec<f64>) -> Ratio {
        all.sort_by(f64::total_cmp);
        let outside = outside(all.len());
        Ratio { median: median(&all), low: all[outside], high: all[all.len() - 1 - outside] }
    }

    fn is_resolved(&self) -> bool {
        self.low >= 1.0 - RESOLVED && self.high <= 1.0 + RESOLVED
    }
}

/// How many of `n` sorted numbers lie outside of the interval on each side.
fn outside(n: usize) -> usize {
    // the chance that at most `k` of `n` fall on one side of the median
    let (mut chance, mut term) = (0.0, 0.5_f64.powi(n as i32));
    for k in 0..n / 2 {
        chance += term;
        if chance > 0.025 {
            return k.saturating_sub(1).min(n.saturating_sub(1) / 2);
        }
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    0
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// A strategy in a cell.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub series: Series,
    /// Nanoseconds of processor time a message, the median of the slices.
    pub ns_per_message: f64,
    /// The sender over it; of the sender, over itself.
    pub ratio: Ratio,
}

/// A cell and what follows.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Which one.
    pub planned: Planned,
    /// A row a strategy.
    pub rows: Vec<Row>,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The greatest lower end of the sender's ratio to the best strategy that a server could fix, over the
    /// resolved cells in which nothing is copied.
    pub sender_over_best_max: Option<f64>,
    /// The median of its ratio to contiguous memory, over the same cells.
    pub sender_over_bound_median: Option<f64>,
    /// The median of its ratio to linked pairs, over the cells with 8 messages a flush on declared TCP, resolved
    /// or not: what it is compared with is far from what noise can do.
    pub sender_over_linked_median: Option<f64>,
    /// Whether the pairs take `LINKED_MIN` times as long at least.
    pub linked_passes: Option<bool>,
    /// The greatest ratio to any strategy on the mixed workload where nothing is copied, resolved or not.
    pub sender_over_best_mixed: Option<f64>,
    /// Whether the sender is ahead of all of them there; `None` also where noise decides.
    pub mixed_passes: Option<bool>,
    /// Cells of which nothing can be said.
    pub unresolved: usize,
    /// Cells that were measured, and resolved ones in which nothing is copied: those that pass, and all.
    pub cells: usize,
    /// Of the resolved cells in which nothing is copied, those that pass.
    pub passed: usize,
    /// All of them.
    pub of: usize,
    /// Lanes that are not to be had here, and cells that broke off.
    pub skipped: usize,
    /// On what.
    pub kernel: String,
}

impl Judged {
    /// Judges what was measured in a cell; `None` if that is not whole.
    pub fn new(planned: Planned, all: Vec<Series>) -> Option<Judged> {
        let mut rows = Vec::new();
        for series in all {
            let per_message = |ns: u64| ns as f64 / series.messages.max(1) as f64;
            let mut each: Vec<f64> = series.pairs_ns.iter().map(|(_, ns)| per_message(*ns)).collect();
            each.sort_by(f64::total_cmp);
            if each.is_empty() {
                return None;
            }
            let ratios = series.pairs_ns.iter().map(|(ours, ns)| *ours as f64 / (*ns).max(1) as f64);
            let (ns_per_message, ratio) = (median(&each), Ratio::of(ratios.collect()));
            rows.push(Row { series, ns_per_message, ratio });
        }
        rows.iter().any(|row| row.series.strategy == Strategy::Sender).then_some(Judged { planned, rows })
    }

    /// The row of a strategy.
    pub fn row(&self, strategy: Strategy) -> Option<&Row> {
        self.rows.iter().find(|row| row.series.strategy == strategy)
    }

    /// The fastest of the strategies that a server could fix.
    pub fn best(&self) -> Option<&Row> {
        let fixed = self.rows.iter().filter(|row| row.series.strategy.is_fixed());
        fixed.min_by(|a, b| a.ns_per_message.total_cmp(&b.ns_per_message))
    }

    /// Whether the sender agrees with itself.
    pub fn is_resolved(&self) -> bool {
        self.row(Strategy::Sender).is_some_and(|row| row.ratio.is_resolved())
    }

    /// Whether the sender is as fast as the best.
    pub fn passes(&self) -> bool {
        self.best().is_none_or(|best| best.ratio.low <= PASS_MAX)
    }
}

impl Summary {
    /// What follows from all cells.
    pub fn of(all: &[Judged], skipped: usize, kernel: String) -> Summary {
        let counted: Vec<&Judged> =
            all.iter().filter(|c| c.planned.lane.is_zero_copied() && c.is_resolved()).collect();
        let bound = counted.iter().filter_map(|cell| Some(cell.row(Strategy::Contiguous)?.ratio.median));
        let middle = |mut ratios: Vec<f64>| {
            ratios.sort_by(f64::total_cmp);
            (!ratios.is_empty()).then(|| rounded(median(&ratios)))
        };
        let most = |ratios: &mut dyn Iterator<Item = f64>| ratios.max_by(f64::total_cmp).map(rounded);
        let with_linked =
            |cell: &&Judged| cell.planned.lane == Lane::RepairTcp && cell.planned.cell.batch == 8;
        let linked = all.iter().filter(with_linked);
        let linked = linked.filter_map(|cell| Some(cell.row(Strategy::Linked)?.ratio.median));
        let sender_over_linked_median = middle(linked.collect());
        let is_mixed =
            |cell: &&Judged| cell.planned.lane.is_zero_copied() && cell.planned.size == Size::Mixed;
        let mixed: Vec<Ratio> =
            all.iter().filter(is_mixed).filter_map(|cell| Some(cell.best()?.ratio)).collect();
        let mixed_passes = match &mixed[..] {
            [] => None,
            mixed if mixed.iter().any(|ratio| ratio.low > 1.0) => Some(false),
            mixed => mixed.iter().all(|ratio| ratio.high <= 1.0).then_some(true),
        };
        Summary {
            sender_over_best_max: most(&mut counted.iter().filter_map(|cell| Some(cell.best()?.ratio.low))),
            sender_over_bound_median: middle(bound.collect()),
            sender_over_linked_median,
            linked_passes: sender_over_linked_median.map(|ratio| ratio * LINKED_MIN <= 1.0),
            sender_over_best_mixed: most(&mut mixed.iter().map(|ratio| ratio.median)),
            mixed_passes,
            unresolved: all.iter().filter(|cell| !cell.is_resolved()).count(),
            cells: all.len(),
            passed: counted.iter().filter(|cell| cell.passes()).count(),
            of: counted.len(),
            skipped,
            kernel,
        }
    }
}

/// Three digits behind the point are more than is known.
pub fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_sign_test() {
        // as tables of the sign test have them, at most 2.5 % on each side
        for (n, out) in [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (21, 5), (25, 7)] {
            assert_eq!(outside(n), out, "{n}");
        }
        let ratio = Ratio::of((1..=15).rev().map(f64::from).collect());
        assert_eq!((ratio.median, ratio.low, ratio.high), (8.0, 4.0, 12.0));
    }

    #[test]
    fn one_odd_pair_moves_nothing() {
        let mut all = vec![1.0; 15];
        all[3] = 100.0;
        assert_eq!(Ratio::of(all), Ratio { median: 1.0, low: 1.0, high: 1.0 });
    }
}
