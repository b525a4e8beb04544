//! One comparison: what is measured, beside whom, and what ours is held to. The tables of them are in
//! [`cases`](super::cases).

use std::fmt;

/// Cases that belong together.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) cases: &'static [Case],
}

/// One measurement, made by several implementations.
pub(super) struct Case {
    pub(super) title: &'static str,
    /// The bench and its parameters.
    pub(super) call: &'static str,
    /// The implementation that all ratios are about.
    pub(super) ours: &'static str,
    /// What ours itself is held to, in `unit`.
    pub(super) asked: Option<Goal>,
    pub(super) rivals: &'static [Rival],
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    /// What the metric is divided by to be shown in `unit`.
    pub(super) scale: f64,
    /// Whether more is better.
    pub(super) is_rate: bool,
    /// With fewer processors it says nothing.
    pub(super) cpus: usize,
    /// Where the rest goes. `{row:metric/scale}` stands for what that row says of a metric in this very
    /// run, divided by a number (or not, without `/scale`).
    pub(super) note: &'static str,
}

/// Who stands beside ours.
pub(super) struct Rival {
    pub(super) imp: &'static str,
    pub(super) what: What,
    /// What ours divided by this row is held to.
    pub(super) goal: Option<Goal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Somebody else's way to do the same.
    Peer,
    /// What the kernel and the memory take without any library.
    Limit,
    /// Another way of ours.
    Own,
    /// What a note speaks of: a part of the work, or something else in its place.
    Part,
}

#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Ours minus theirs, in the unit of the case.
    AddsAtMost(f64),
}

impl Goal {
    /// Whether `ours` is as asked; alone, where nothing is beside it.
    pub(super) fn is_met(self, ours: f64, theirs: Option<f64>) -> bool {
        let said = self.said(ours, theirs);
        match self {
            Goal::AtMost(most) | Goal::AddsAtMost(most) => said <= most,
            Goal::AtLeast(least) => said >= least,
        }
    }

    /// The figure that the goal is about.
    pub(super) fn said(self, ours: f64, theirs: Option<f64>) -> f64 {
        match (self, theirs) {
            (Goal::AddsAtMost(_), Some(theirs)) => ours - theirs,
            (_, Some(theirs)) => ours / theirs,
            (_, None) => ours,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(most) => write!(f, "<= {most}"),
            Goal::AtLeast(least) => write!(f, ">= {least}"),
            Goal::AddsAtMost(most) => write!(f, "adds <= {most}"),
        }
    }
}

impl Case {
    /// Ours first, then the others.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.ours).chain(self.rivals.iter().map(|rival| rival.imp))
    }

    const fn new(title: &'static str, call: &'static str, metric: &'static str) -> Case {
        Case {
            title,
            call,
            ours: "ours",
            asked: None,
            rivals: &[],
            metric,
            unit: "us",
            scale: 1.0,
            is_rate: false,
            cpus: 1,
            note: "",
        }
    }

    /// A metric in nanoseconds, shown in microseconds.
    pub(super) const fn micros(
        title: &'static str,
        call: &'static str,
        metric: &'static str,
    ) -> Case {
        Case::new(title, call, metric).shown("us", 1e3)
    }

    /// `ns_per_op`.
    pub(super) const fn nanos(title: &'static str, call: &'static str) -> Case {
        Case::new(title, call, "ns_per_op").shown("ns", 1.0)
    }

    /// `us_per_task`.
    pub(super) const fn tasks(title: &'static str, call: &'static str) -> Case {
        Case::new(title, call, "us_per_task")
    }

    /// So many a second, shown in millions.
    pub(super) const fn rate(
        title: &'static str,
        call: &'static str,
        metric: &'static str,
    ) -> Case {
        Case {
            is_rate: true,
            ..Case::new(title, call, metric).shown("M/s", 1e6)
        }
    }

    /// Any other metric, of which less is better.
    pub(super) const fn amount(
        title: &'static str,
        call: &'static str,
        metric: &'static str,
    ) -> Case {
        Case::new(title, call, metric)
    }

    pub(super) const fn shown(self, unit: &'static str, scale: f64) -> Case {
        Case {
            unit,
            scale,
            ..self
        }
    }

    pub(super) const fn ours(self, ours: &'static str) -> Case {
        Case { ours, ..self }
    }

    pub(super) const fn asked(self, goal: Goal) -> Case {
        Case {
            asked: Some(goal),
            ..self
        }
    }

    pub(super) const fn beside(self, rivals: &'static [Rival]) -> Case {
        Case { rivals, ..self }
    }

    pub(super) const fn cpus(self, cpus: usize) -> Case {
        Case { cpus, ..self }
    }

    pub(super) const fn note(self, note: &'static str) -> Case {
        Case { note, ..self }
    }
}

pub(super) const fn peer(imp: &'static str) -> Rival {
    Rival::new(imp, What::Peer)
}

pub(super) const fn limit(imp: &'static str) -> Rival {
    Rival::new(imp, What::Limit)
}

pub(super) const fn own(imp: &'static str) -> Rival {
    Rival::new(imp, What::Own)
}

pub(super) const fn part(imp: &'static str) -> Rival {
    Rival::new(imp, What::Part)
}

impl Rival {
    const fn new(imp: &'static str, what: What) -> Rival {
        Rival {
            imp,
            what,
            goal: None,
        }
    }

    const fn goal(self, goal: Goal) -> Rival {
        Rival {
            goal: Some(goal),
            ..self
        }
    }

    pub(super) const fn at_most(self, most: f64) -> Rival {
        self.goal(Goal::AtMost(most))
    }

    pub(super) const fn at_least(self, least: f64) -> Rival {
        self.goal(Goal::AtLeast(least))
    }

    pub(super) const fn adds_at_most(self, most: f64) -> Rival {
        self.goal(Goal::AddsAtMost(most))
    }
}
