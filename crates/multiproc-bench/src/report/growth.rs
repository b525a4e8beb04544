//! How cost grows with number and size: series of single measurements.

use super::row;

pub(super) struct Series {
    pub(super) title: &'static str,
    /// The bench and its parameters; `{}` stands for what grows.
    pub(super) call: &'static str,
    /// What grows.
    pub(super) axis: &'static str,
    pub(super) points: &'static [u64],
    pub(super) metrics: &'static [Metric],
}

pub(super) struct Metric {
    name: &'static str,
    /// With its unit.
    pub(super) title: &'static str,
    /// What the metric is divided by to be shown.
    scale: f64,
}

/// One measurement of a series.
pub(super) struct Point {
    pub(super) at: u64,
    /// In the order of the series' metrics.
    pub(super) values: Vec<f64>,
}

const fn metric(name: &'static str, title: &'static str, scale: f64) -> Metric {
    Metric { name, title, scale }
}

const EACH: &[Metric] = &[
    metric("ns_per_op", "creating and dropping, ns each", 1.0),
    metric("bytes_each", "memory, bytes each", 1.0),
    metric("fds", "descriptors in all", 1.0),
];

pub(super) const SERIES: &[Series] = &[
    Series {
        title: "Producers of one queue",
        call: "oneway --size 64 --ms 200 --producers {}",
        axis: "producers",
        points: &[1, 2, 4, 8, 16, 32, 64],
        metrics: &[metric("msgs_per_s", "million messages a second", 1e6)],
    },
    Series {
        title: "Workers of a pool",
        call: "pool-growth --tasks 20000 --workers {}",
        axis: "workers",
        points: &[1, 4, 16, 64, 256],
        metrics: &[
            metric("start_seconds", "start of the pool, ms", 1e-3),
            metric("us_per_task", "us per trivial task", 1.0),
            metric("kib_per_worker", "memory of a worker, KiB", 1.0),
            metric("fds", "descriptors of the parent", 1.0),
        ],
    },
    Series {
        title: "Queued tasks",
        call: "pool-queued --tasks {}",
        axis: "tasks",
        points: &[1, 100, 10_000, 100_000, 1_000_000],
        metrics: &[
            metric("seconds", "from the first to the last result, s", 1.0),
            metric("bytes_each", "memory while queued, bytes each", 1.0),
            metric("fds", "descriptors of the parent", 1.0),
        ],
    },
    Series {
        title: "Locks",
        call: "many --kind lock --count {}",
        axis: "locks",
        points: &[1, 10, 100, 1_000, 10_000],
        metrics: EACH,
    },
    Series {
        title: "Queues",
        call: "many --kind queue --count {}",
        axis: "queues",
        points: &[1, 10, 100, 1_000, 10_000],
        metrics: EACH,
    },
    Series {
        title: "Memory of the parent",
        call: "start --reps 20 --ballast {}",
        axis: "MiB touched in the parent",
        points: &[0, 256, 1_024, 4_096, 8_192],
        metrics: &[metric("start_join_p50", "start and join, us", 1e3)],
    },
];

/// All points of a series, smallest first.
///
/// # Errors
///
/// A run that failed, or did not say what the series is about.
pub(super) fn measure(series: &Series) -> Result<Vec<Point>, Box<dyn std::error::Error>> {
    let mut points = Vec::new();
    for &at in series.points {
        let call = series.call.replace("{}", &at.to_string());
        let said = row::run(&call, "ours")?.map_err(|reason| format!("{call}: {reason}"))?;
        let value = |metric: &Metric| {
            let found = said.iter().find(|(name, _)| name == metric.name);
            let found = found.ok_or_else(|| format!("{call} does not say {}", metric.name));
            found.map(|(_, value)| value / metric.scale)
        };
        let values = series.metrics.iter().map(value).collect::<Result<_, _>>()?;
        points.push(Point { at, values });
    }
    Ok(points)
}
