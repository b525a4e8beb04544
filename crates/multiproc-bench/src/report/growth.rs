//! How cost grows with number and size: series of single measurements.

use super::row::{self, Missing};

pub(super) struct Series {
    pub(super) title: &'static str,
    /// The bench and its parameters; `{}` stands for what grows.
    pub(super) call: &'static str,
    /// What grows.
    pub(super) axis: &'static str,
    pub(super) points: &'static [u64],
    pub(super) metrics: &'static [Metric],
    /// What the reader should know of it.
    pub(super) note: &'static str,
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
        note: "One consumer reads each message. With more producers than processors, who has a turn \
               at the queue is often not running, and the others wait for the scheduler.",
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
        note: "A worker is a descriptor in its parent, which says when it ends.",
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
        note: "",
    },
    Series {
        title: "Locks",
        call: "many --kind lock --count {}",
        axis: "locks",
        points: MANY,
        metrics: EACH,
        note: FEW,
    },
    Series {
        title: "Queues",
        call: "many --kind queue --count {}",
        axis: "queues",
        points: MANY,
        metrics: EACH,
        note: FEW,
    },
    Series {
        title: "Pipes",
        call: "many --kind pipe --count {}",
        axis: "pipes",
        points: MANY,
        metrics: EACH,
        note: FEW,
    },
    Series {
        title: "Processes alive at once",
        call: "many --kind process --count {}",
        axis: "processes",
        points: &[1, 10, 100, 1_000],
        metrics: &[
            metric("ns_per_op", "start, release and join, us each", 1e3),
            metric("bytes_each", "private memory of a child, KiB", 1024.0),
            metric("fds", "descriptors of the parent in all", 1.0),
        ],
        note: "All are there before the first is let go.",
    },
    Series {
        title: "Memory of the parent",
        call: "start --reps 20 --ballast {}",
        axis: "MiB touched in the parent",
        points: &[0, 256, 1_024, 4_096, 8_192],
        metrics: &[metric("start_join_p50", "start and join, us", 1e3)],
        note: "A child is made by the fork server, which has none of it.",
    },
];

const MANY: &[u64] = &[1, 10, 100, 1_000, 10_000];

const FEW: &str = "Of one, or a few, the figure is that of the pages they are the first to touch.";

/// The points of a series, smallest first, up to the one that this machine has no room for.
pub(super) fn measure(series: &Series) -> (Vec<Point>, Option<Missing>) {
    let mut points = Vec::new();
    for &at in series.points {
        let call = series.call.replace("{}", &at.to_string());
        let values = row::run(&call, "ours").and_then(|said| {
            let value = |metric: &Metric| {
                let found = row::value(&said, metric.name).map(|value| value / metric.scale);
                found.ok_or_else(|| Missing::Failed(format!("no {} is said", metric.name)))
            };
            series.metrics.iter().map(value).collect()
        });
        match values {
            Ok(values) => points.push(Point { at, values }),
            Err(missing) => return (points, Some(missing)),
        }
    }
    (points, None)
}
