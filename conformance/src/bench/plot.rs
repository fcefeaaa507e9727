//! What was measured as a picture: a panel for each lane, source and number of messages a flush, in it each
//! way's processor time over the sender's. Above the line is dearer than the sender.

use std::path::Path;

use plotters::prelude::*;
use uringspec_real::bench::{Lane, Source, Strategy};

use super::judge::Judged;
use super::plan::{BATCHES, Size};

const PANEL: (u32, u32) = (420, 280);
const LEGEND_HEIGHT: u32 = 40;
/// Ratios outside are drawn at the edge.
const RATIOS: (f64, f64) = (0.4, 8.0);

/// Draws all cells with one length into a file of SVG.
pub fn svg(all: &[Judged], file: &Path) -> Result<(), String> {
    let mut rows: Vec<(Lane, Source)> = Vec::new();
    for cell in all {
        let row = (cell.planned.lane, cell.planned.cell.source);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let size = (PANEL.0 * BATCHES.len() as u32, PANEL.1 * rows.len().max(1) as u32 + LEGEND_HEIGHT);
    draw(all, &rows, SVGBackend::new(file, size)).map_err(|error| format!("{}: {error}", file.display()))
}

fn draw(
    all: &[Judged],
    rows: &[(Lane, Source)],
    backend: SVGBackend<'_>,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let (legend, panels) = area.split_vertically(LEGEND_HEIGHT);
    for (n, strategy) in others().enumerate() {
        let at = (20 + 150 * n as i32, 20);
        legend.draw(&PathElement::new([at, (at.0 + 20, at.1)], colour(strategy).stroke_width(3)))?;
        legend.draw(&Text::new(strategy.name(), (at.0 + 26, at.1 - 6), ("sans-serif", 14)))?;
    }
    let panels = panels.split_evenly((rows.len().max(1), BATCHES.len()));
    for ((lane, source), panels) in rows.iter().zip(panels.chunks(BATCHES.len())) {
        for (batch, panel) in BATCHES.iter().zip(panels) {
            let wanted = |cell: &&Judged| {
                let planned = &cell.planned;
                let same =
                    (planned.lane, planned.cell.source, planned.cell.batch) == (*lane, *source, *batch);
                same && planned.size != Size::Mixed
            };
            let cells: Vec<&Judged> = all.iter().filter(wanted).collect();
            let title = format!("{}, {}, {batch} a flush", lane.name(), source.name());
            draw_panel(panel, &title, &cells)?;
        }
    }
    area.present()?;
    Ok(())
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    cells: &[&Judged],
) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = cells.iter().map(|cell| cell.planned.size.to_string()).collect();
    let end = cells.len().max(2) as f64 - 1.0;
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(34)
        .build_cartesian_2d(0.0..end, (RATIOS.0..RATIOS.1).log_scale().base(2.0))?;
    chart
        .configure_mesh()
        .x_labels(cells.len().max(2))
        .x_label_formatter(&|at| names.get(at.round() as usize).cloned().unwrap_or_default())
        .y_label_formatter(&|ratio| format!("{ratio:.1}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series(LineSeries::new([(0.0, 1.0), (end, 1.0)], BLACK.stroke_width(2)))?;
    for strategy in others() {
        let points: Vec<(f64, f64)> = cells
            .iter()
            .enumerate()
            .filter_map(|(n, cell)| {
                let ratio = cell.row(strategy)?.ratio.median;
                Some((n as f64, (1.0 / ratio).clamp(RATIOS.0, RATIOS.1)))
            })
            .collect();
        chart.draw_series(LineSeries::new(points, colour(strategy).stroke_width(2)))?;
    }
    Ok(())
}

fn others() -> impl Iterator<Item = Strategy> {
    Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::Sender)
}

fn colour(strategy: Strategy) -> RGBColor {
    match strategy {
        Strategy::Writev => RGBColor(148, 103, 189),
        Strategy::Sendmsg => RGBColor(31, 119, 180),
        Strategy::SendmsgZc => RGBColor(255, 127, 14),
        Strategy::SendmsgZcFixed => RGBColor(44, 160, 44),
        Strategy::Linked => RGBColor(214, 39, 40),
        Strategy::Sender => BLACK,
        Strategy::Contiguous => RGBColor(140, 86, 75),
        Strategy::CallSendmsg => RGBColor(127, 127, 127),
        Strategy::CallZerocopy => RGBColor(188, 189, 34),
    }
}
