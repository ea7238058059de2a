//! Conversions between text and exact values: decimal numbers, and days of the calendar. No I/O.
//!
//! Each source knows which texts its values may have; the number or day of such a text is computed here, for all sources.

pub(crate) mod calendar;
pub(crate) mod decimal;
