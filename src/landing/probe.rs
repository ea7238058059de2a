//! A part that is landed to see whether an engine elsewhere can read it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use parquet::arrow::ArrowWriter;

use super::Landing;
use crate::error::{Error, Result};

/// A part of one row, which no load has.
#[derive(Debug)]
pub struct ProbePart {
    /// Where it is.
    pub url: String,
    path: Path,
}

impl Landing {
    /// Lands a part of one row.
    ///
    /// # Errors
    /// [`Error::Landing`] where it cannot be written.
    pub async fn land_probe(&self) -> Result<ProbePart> {
        // A name that begins with `_` is none of a file to Spark and its kin.
        let path = Path::from(format!(
            "acequia-probe-{}.parquet",
            uuid::Uuid::new_v4().simple()
        ));
        let part = encoded()
            .map_err(|error| Error::internal("a part of one row cannot be written").cause(error))?;
        self.store
            .put(&path, PutPayload::from(part))
            .await
            .map_err(|error| self.fault("cannot write to the landing area", &path, error))?;
        Ok(ProbePart {
            url: self.describe_file(&path),
            path,
        })
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`Error::Landing`] where it cannot be removed.
    pub async fn remove_probe(&self, part: ProbePart) -> Result<()> {
        self.store
            .delete(&part.path)
            .await
            .map_err(|error| self.fault("cannot remove from the landing area", &part.path, error))
    }
}

fn encoded() -> parquet::errors::Result<Vec<u8>> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let rows = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![Arc::new(Int64Array::from(vec![1]))],
    )?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None)?;
    writer.write(&rows)?;
    writer.into_inner()
}
