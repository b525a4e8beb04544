//! A series as a picture: a panel for each metric, the growing number on a logarithmic axis.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use super::growth::{Point, Series};

const FOLDER: &str = "benchmarks";
const PANEL: (u32, u32) = (460, 300);

/// Draws `points` into `folder`; the picture's path as seen from there.
pub(super) fn draw(
    folder: &Path,
    series: &Series,
    points: &[Point],
) -> Result<String, Box<dyn Error>> {
    fs::create_dir_all(folder.join(FOLDER))?;
    let name = series.title.to_lowercase().replace(' ', "-");
    let path = format!("{FOLDER}/{name}.svg");
    let file = folder.join(&path);
    let panels = series.metrics.len();
    let size = (PANEL.0 * panels as u32, PANEL.1);
    let area = SVGBackend::new(&file, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (at, panel) in area.split_evenly((1, panels)).iter().enumerate() {
        let values: Vec<_> = points
            .iter()
            .map(|point| (point.at, point.values[at]))
            .collect();
        draw_panel(panel, series.axis, series.metrics[at].title, &values)?;
    }
    area.present()?;
    Ok(path)
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    axis: &str,
    title: &str,
    values: &[(u64, f64)],
) -> Result<(), Box<dyn Error>> {
    // Nought has no place on a logarithmic axis; it stands where one would.
    let place = |at: u64| at.max(1) as f64;
    let last = values.last().map_or(1, |value| value.0);
    let most = values.iter().map(|value| value.1).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.15 } else { 1.0 };
    let mut chart = ChartBuilder::on(panel)
        .margin(12)
        .caption(title, ("sans-serif", 15))
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d((0.9..place(last) * 1.2).log_scale(), 0.0..most)?;
    chart
        .configure_mesh()
        .x_desc(axis)
        .x_labels(6)
        .y_labels(6)
        .draw()?;
    let line = values.iter().map(|&(at, value)| (place(at), value));
    chart.draw_series(LineSeries::new(line.clone(), &BLUE))?;
    chart.draw_series(line.map(|point| Circle::new(point, 3, BLUE.filled())))?;
    Ok(())
}
