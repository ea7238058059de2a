//! Events of `OpenLineage`: what each run read and wrote. [`event`] and [`dataset`] say how they are written, [`send`] brings them
//! to a service and a file. When there is one, the pipeline decides.

pub(crate) mod dataset;
pub(crate) mod event;
mod facet;
pub(crate) mod send;
