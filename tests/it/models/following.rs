//! Models of a run that follows.
