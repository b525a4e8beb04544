//! No cycles are looked for here: the search changes no word that another thread acts upon.

use crate::door::robust::Word;

pub(crate) struct Edge;

impl Edge {
    pub(crate) fn publish(_lock: &Word) -> Option<Edge> {
        None
    }

    pub(crate) fn closes_a_cycle(&self) -> bool {
        false
    }
}
