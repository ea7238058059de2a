//! Whether a table holds the rows that it should: rows as hashes, counted and added up in buckets, compared, and reported. No
//! I/O.
//!
//! [`codec`] makes of a row of either side one hash of its key and one of its values, which do not depend on where it was read.
//! [`buckets`] adds the hashes up: 65,536 sums of each side tell in which of them the sides differ, in any order of rows and
//! in a few megabytes. [`compare`] then joins the hashes of those buckets alone. [`details`] looks at the values of the rows
//! that were found, and [`report`] is what is told. [`counts`] is a comparison of what databases count themselves.

pub(crate) mod buckets;
pub(crate) mod codec;
pub(crate) mod compare;
pub mod counts;
pub(crate) mod details;
pub mod report;
