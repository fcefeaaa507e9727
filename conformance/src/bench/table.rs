//! What was measured as a table of markdown, which is also for people.

use std::fmt::Write;

use uringspec_real::bench::{Lane, Strategy};

use super::judge::{Judged, PASS_MAX, rounded};

/// A table a lane: nanoseconds a message, the best strategy that a server could fix in bold, and the sender
/// over it.
pub fn tables(all: &[Judged]) -> String {
    let mut text = String::new();
    for lane in Lane::ALL {
        let cells: Vec<&Judged> = all.iter().filter(|cell| cell.planned.lane == lane).collect();
        if let Some(first) = cells.first() {
            let strategies: Vec<Strategy> =
                Strategy::ALL.into_iter().filter(|s| first.row(*s).is_some()).collect();
            let _ = writeln!(text, "{}\n\n{}", heading(lane), table(&cells, &strategies));
        }
    }
    text
}

fn heading(lane: Lane) -> String {
    let what = match lane {
        Lane::Loopback => "TCP on loopback, where what is lent is copied on delivery",
        Lane::IfbUdp => "UDP into a device that drops it, never copied",
        Lane::RepairTcp => "TCP into a device, acknowledged by another process, never copied",
    };
    format!("### {}: {what}", lane.name())
}

fn table(cells: &[&Judged], strategies: &[Strategy]) -> String {
    let mut lines = vec![["data", "flush", "source"].map(String::from).to_vec()];
    lines[0].extend(strategies.iter().map(|s| s.name().to_string()));
    lines[0].extend(["sender / best", "95 %", "itself", ""].map(String::from));
    for cell in cells {
        let Some(best) = cell.best() else { continue };
        let mut line = vec![cell.planned.size.to_string(), cell.planned.cell.batch.to_string()];
        line.push(cell.planned.cell.source.name().into());
        line.extend(strategies.iter().map(|strategy| {
            cell.row(*strategy).map_or_else(String::new, |row| {
                let ns = format!("{:.0}", row.ns_per_message);
                if row.series.strategy == best.series.strategy { format!("**{ns}**") } else { ns }
            })
        }));
        let own = cell.row(Strategy::Sender).map(|row| row.ratio);
        line.push(format!("{:.3}", best.ratio.median));
        line.push(format!("{:.3} to {:.3}", best.ratio.low, best.ratio.high));
        line.push(own.map_or_else(String::new, |own| format!("{:.3} to {:.3}", own.low, own.high)));
        line.push(verdict(cell).into());
        lines.push(line);
    }
    aligned(&lines)
}

fn verdict(cell: &Judged) -> &'static str {
    match (cell.is_resolved(), cell.passes()) {
        (false, _) => "unresolved",
        (true, true) => "",
        (true, false) => "dearer",
    }
}

/// Cells in columns as wide as they have to be; numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines[0].len();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0).max(3);
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = write!(text, "| {cell:>width$} ");
        }
        text.push_str("|\n");
        if n == 0 {
            for column in 0..columns {
                let _ = write!(text, "|{}:", "-".repeat(width(column) + 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The cells in which the sender is dearer than the best strategy, and by how much.
pub fn misses(all: &[Judged]) -> String {
    let mut text = String::new();
    for cell in all.iter().filter(|c| c.planned.lane.is_zero_copied() && c.is_resolved() && !c.passes()) {
        let Some((best, own)) = cell.best().zip(cell.row(Strategy::Sender)) else { continue };
        let _ = writeln!(
            text,
            "* {}: {:.0} ns a message, {} {:.0} ns; at least {:.3} of it, where {PASS_MAX} would do",
            cell.planned,
            own.ns_per_message,
            best.series.strategy.name(),
            best.ns_per_message,
            rounded(best.ratio.low),
        );
    }
    text
}
