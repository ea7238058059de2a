//! Text and exact values: decimal numbers, and days of the calendar. No I/O.
//!
//! What text means is not for every source to work out anew. Each knows which texts its values may have; what number or
//! day such a text is, is said here, once.

pub(crate) mod calendar;
pub(crate) mod decimal;
