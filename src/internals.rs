//! Parts of the path, for benches and tests that look at one of them alone; no part of the library's face.

pub use crate::destination::{Destination, Parts, StagedLoad, open};
pub use crate::evolution::{assign_field_ids, with_misfits};
pub use crate::landing::writer::LoadWriter;
pub use crate::source::{Beginning, OpenStream};

/// Of the source HubSpot.
pub mod hubspot {
    pub use crate::source::hubspot::builder::{RECORD_COLUMNS, RecordBuilder, record_columns};
    pub use crate::source::hubspot::column::ColumnBuilder;
    pub use crate::source::hubspot::properties::{Property, PropertyColumn, columns, misfits};
}

/// Of the source PostgreSQL.
pub mod postgres {
    pub use crate::postgres::binary::{ColumnBuilder, FieldError};
    pub use crate::postgres::connection::Server;
    pub use crate::postgres::quote;
    pub use crate::source::postgres::catalog::table;
    pub use crate::source::postgres::text::TextForm;
    pub use crate::source::postgres::types::{CatalogColumn, plan};
}
