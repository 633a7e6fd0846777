//! Noting what the ways out of a log still hold of it.

use std::sync::PoisonError;

use super::super::note::Note;
use super::super::share::Way;
use super::Log;

impl Log {
    /// What `way` still holds of what it has read, for whoever looks from outside; kept with the positions that
    /// are acknowledged.
    pub(in crate::mesh::event) fn note(&self, way: Way, note: Option<Note>) {
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        acks.note(way, note);
    }
}
