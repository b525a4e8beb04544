//! A series as a picture: a panel for each metric. What grows from one by factors is on a logarithmic
//! axis; so is a metric that grows or falls by much.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::growth::{Point, Series};

const FOLDER: &str = "benchmarks";
const PANEL: (u32, u32) = (420, 300);

/// More than this from the least to the most is shown on a logarithmic axis.
const DECADES: f64 = 20.0;

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

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(
    panel: &Panel<'_>,
    axis: &str,
    title: &str,
    values: &[(u64, f64)],
) -> Result<(), Box<dyn Error>> {
    let values: Vec<_> = values
        .iter()
        .map(|&(at, value)| (at as f64, value))
        .collect();
    let ends = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold((f64::INFINITY, 0.0_f64), |(least, most), number| {
            (least.min(number), most.max(number))
        })
    };
    let (first, last) = ends(&mut values.iter().map(|value| value.0));
    let (least, most) = ends(&mut values.iter().map(|value| value.1));
    let chart = || {
        let mut chart = ChartBuilder::on(panel);
        chart
            .margin(14)
            .caption(title, ("sans-serif", 15))
            .x_label_area_size(38)
            .y_label_area_size(52);
        chart
    };
    let across = (first * 0.9..last * 1.2).log_scale();
    let up = 0.0..if most > 0.0 { most * 1.15 } else { 1.0 };
    if first == 0.0 {
        line(
            chart().build_cartesian_2d(0.0..last * 1.05, up)?,
            axis,
            &values,
        )
    } else if least > 0.0 && most / least > DECADES {
        let up = (least * 0.6..most * 1.6).log_scale();
        line(chart().build_cartesian_2d(across, up)?, axis, &values)
    } else {
        line(chart().build_cartesian_2d(across, up)?, axis, &values)
    }
}

fn line<X, Y>(
    mut chart: ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    axis: &str,
    values: &[(f64, f64)],
) -> Result<(), Box<dyn Error>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(axis)
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&|at| short(*at))
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    let values = values.iter().copied();
    chart.draw_series(LineSeries::new(values.clone(), &BLUE))?;
    chart.draw_series(values.map(|point| Circle::new(point, 3, BLUE.filled())))?;
    Ok(())
}

/// A number that fits beside an axis.
fn short(number: f64) -> String {
    let (number, unit) = match number.abs() {
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    // At most six places, and none that say nothing.
    let places = format!("{number:.6}");
    let places = places.trim_end_matches('0').trim_end_matches('.');
    format!("{places}{unit}")
}
