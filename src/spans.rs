//! Whose spans they are that tell what a run is at.

/// The target of all of acequia's spans, so that a log can leave them out and a collector take them alone.
pub const TARGET: &str = "acequia::span";
