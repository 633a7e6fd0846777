//! What the work on a run has cost, for whoever is to be charged for it.

/// Units that were used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::mesh) struct Meter {
    /// Read units of the table.
    pub(in crate::mesh) reads: f64,
    /// Write units of the table.
    pub(in crate::mesh) writes: f64,
    /// Requests to Step Functions.
    pub(in crate::mesh) states: f64,
}

impl Meter {
    /// The table was read.
    pub(super) fn read(&mut self, units: f64) {
        self.reads += units;
    }

    /// The table was written to.
    pub(super) fn written(&mut self, units: f64) {
        self.writes += units;
    }

    /// Step Functions was asked once.
    pub(super) fn asked(&mut self) {
        self.states += 1.0;
    }
}
