//! Notices: what people are told when runs fail, succeed again, or a stream is older than it should be. [`event`] says what,
//! [`send`] brings it to a webhook and a command. When something is told, the pipeline decides.

pub mod event;
pub(crate) mod send;

pub use event::{Event, EventStream};
pub use send::NoticeReport;
