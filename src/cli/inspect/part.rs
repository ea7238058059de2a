//! What a Parquet file says of itself: row groups, sizes, ranges and the first rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use acequia::schema::Column;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt64Array, make_comparator,
};
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::{
    DataType, Date32Type, Field, SchemaRef, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde::Serialize;

/// The files of a load, as they are read one after the other.
pub(super) struct Parts {
    sample_rows: usize,
    columns: Vec<ColumnSummary>,
    ranges: Vec<Ranges>,
    files: Vec<PartSummary>,
    sample: Sample,
}

/// One file.
#[derive(Debug, Serialize)]
pub(super) struct PartSummary {
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) created_by: Option<String>,
    pub(super) row_groups: Vec<RowGroup>,
}

/// One row group. Sizes are those of its data, in bytes.
#[derive(Debug, Serialize)]
pub(super) struct RowGroup {
    pub(super) rows: u64,
    pub(super) compressed: u64,
    pub(super) uncompressed: u64,
}

/// One column, over all files.
#[derive(Debug, Serialize)]
pub(super) struct ColumnSummary {
    pub(super) field_id: Option<i32>,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) column_type: String,
    pub(super) nullable: bool,
    /// The number of NULLs, if every row group has it.
    pub(super) nulls: Option<u64>,
    /// The least value that the statistics know; `…` at its end where they keep a part of it only.
    pub(super) min: Option<String>,
    /// The greatest.
    pub(super) max: Option<String>,
}

/// The first rows, as text; none is NULL.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sample {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

/// The statistics of a column, per row group.
#[derive(Default)]
struct Ranges {
    mins: Vec<ArrayRef>,
    maxes: Vec<ArrayRef>,
    exact_mins: Vec<bool>,
    exact_maxes: Vec<bool>,
    nulls: Option<u64>,
}

impl Parts {
    pub(super) fn new(sample_rows: usize) -> Self {
        Self {
            sample_rows,
            columns: Vec::new(),
            ranges: Vec::new(),
            files: Vec::new(),
            sample: Sample::default(),
        }
    }

    pub(super) fn read(&mut self, path: &Path) -> Result<(), ParquetError> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())?;
        let parquet = metadata.metadata();
        self.files.push(PartSummary {
            path: path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            rows: unsigned(parquet.file_metadata().num_rows()),
            bytes,
            created_by: parquet.file_metadata().created_by().map(str::to_owned),
            row_groups: parquet
                .row_groups()
                .iter()
                .map(|group| RowGroup {
                    rows: unsigned(group.num_rows()),
                    compressed: unsigned(group.compressed_size()),
                    uncompressed: unsigned(group.total_byte_size()),
                })
                .collect(),
        });
        if self.columns.is_empty() {
            self.columns = metadata
                .schema()
                .fields()
                .iter()
                .map(|field| ColumnSummary::from_field(field))
                .collect();
            self.ranges.resize_with(self.columns.len(), Ranges::default);
        }
        for (column, ranges) in self.columns.iter().zip(&mut self.ranges) {
            ranges.add(&column.name, metadata.schema(), parquet);
        }
        self.read_rows(file, metadata)
    }

    fn read_rows(&mut self, file: File, metadata: ArrowReaderMetadata) -> Result<(), ParquetError> {
        let missing = self.sample_rows - self.sample.rows.len();
        if missing == 0 {
            return Ok(());
        }
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(missing.min(1024))
            .with_limit(missing)
            .build()?;
        for batch in reader {
            let batch = batch?;
            self.sample.add(&batch)?;
        }
        Ok(())
    }

    /// The columns, the files and the sample.
    pub(super) fn finish(mut self) -> (Vec<ColumnSummary>, Vec<PartSummary>, Sample) {
        for (column, ranges) in self.columns.iter_mut().zip(&self.ranges) {
            column.nulls = ranges.nulls;
            column.min = extreme(&ranges.mins, &ranges.exact_mins, false);
            column.max = extreme(&ranges.maxes, &ranges.exact_maxes, true);
        }
        (self.columns, self.files, self.sample)
    }
}

impl RowGroup {
    /// How many times smaller compression makes it.
    pub(super) fn ratio(&self) -> String {
        match self
            .uncompressed
            .saturating_mul(10)
            .checked_div(self.compressed)
        {
            Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
            None => "-".to_owned(),
        }
    }
}

impl ColumnSummary {
    /// What the manifest says of a column.
    pub(super) fn of(column: &Column) -> Self {
        Self {
            field_id: Some(column.id),
            name: column.name.clone(),
            column_type: column.column_type.to_string(),
            nullable: column.nullable,
            nulls: None,
            min: None,
            max: None,
        }
    }

    fn from_field(field: &Field) -> Self {
        Self {
            field_id: field
                .metadata()
                .get(parquet::arrow::PARQUET_FIELD_ID_META_KEY)
                .and_then(|id| id.parse().ok()),
            name: field.name().clone(),
            column_type: field.data_type().to_string(),
            nullable: field.is_nullable(),
            nulls: None,
            min: None,
            max: None,
        }
    }

    /// Takes what the files say of the column's values.
    pub(super) fn take_range(&mut self, found: &mut Self) {
        self.nulls = found.nulls;
        self.min = found.min.take();
        self.max = found.max.take();
    }
}

impl Ranges {
    /// Adds what a file's row groups say. Lists have no statistics of their own, so nothing is known of them.
    fn add(&mut self, name: &str, schema: &SchemaRef, metadata: &ParquetMetaData) {
        let groups = metadata.row_groups();
        let descriptor = metadata.file_metadata().schema_descr();
        let Ok(converter) = StatisticsConverter::try_new(name, schema, descriptor) else {
            return;
        };
        let first = self.mins.is_empty();
        if let (Ok(mins), Ok(maxes)) = (
            converter.row_group_mins(groups),
            converter.row_group_maxes(groups),
        ) {
            let text = is_uuid(converter.arrow_field());
            self.mins.push(if text { uuids(&mins) } else { mins });
            self.maxes.push(if text { uuids(&maxes) } else { maxes });
            let exact = |found: Result<BooleanArray, ParquetError>| -> Vec<bool> {
                found.map_or_else(
                    |_| vec![true; groups.len()],
                    |exact| exact.iter().map(|exact| exact != Some(false)).collect(),
                )
            };
            self.exact_mins
                .extend(exact(converter.row_group_is_min_value_exact(groups)));
            self.exact_maxes
                .extend(exact(converter.row_group_is_max_value_exact(groups)));
        }
        let nulls = converter
            .row_group_null_counts(groups)
            .ok()
            .as_ref()
            .and_then(total);
        self.nulls = if first {
            nulls
        } else {
            self.nulls.zip(nulls).map(|(a, b)| a + b)
        };
    }
}

/// The sum, if every value is known.
fn total(counts: &UInt64Array) -> Option<u64> {
    counts.iter().sum()
}

/// The least or the greatest value of some row groups, as text.
fn extreme(values: &[ArrayRef], exact: &[bool], greatest: bool) -> Option<String> {
    let arrays: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let values = concat(&arrays).ok()?;
    let compare = make_comparator(&values, &values, SortOptions::default()).ok()?;
    let known = (0..values.len()).filter(|index| values.is_valid(*index));
    let index = if greatest {
        known.max_by(|a, b| compare(*a, *b))
    } else {
        known.min_by(|a, b| compare(*a, *b))
    }?;
    let mut text = cell(&values, index)?;
    if exact.get(index) == Some(&false) {
        text.push('…');
    }
    Some(text)
}

impl Sample {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let schema = batch.schema();
        if self.columns.is_empty() {
            self.columns = schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
        }
        let columns: Vec<ArrayRef> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                if is_uuid(field) {
                    Ok(uuids(column))
                } else {
                    in_utc(column)
                }
            })
            .collect::<Result<_, _>>()?;
        let options = FormatOptions::default();
        let formatters = columns
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(&formatters).map(|(column, formatter)| {
                column.is_valid(row).then(|| {
                    let text = formatter.value(row).try_to_string();
                    shown(text, column, row)
                })
            });
            self.rows.push(cells.collect());
        }
        Ok(())
    }
}

/// One value as text.
fn cell(values: &ArrayRef, index: usize) -> Option<String> {
    let options = FormatOptions::default();
    let values = in_utc(values).ok()?;
    let formatter = ArrayFormatter::try_new(&values, &options).ok()?;
    let text = formatter.value(index).try_to_string();
    Some(shown(text, &values, index))
}

/// Arrow's text of a value, or another where it has none. Of a list it writes what is wrong in the place of an element.
fn shown(text: Result<String, ArrowError>, values: &ArrayRef, index: usize) -> String {
    let is_list = matches!(values.data_type(), DataType::List(_));
    match text {
        Ok(text) if !(is_list && text.contains("ERROR: ")) => text,
        _ => beyond(values, index),
    }
}

/// A value that Arrow has no text for: PostgreSQL's infinities, and the hour 24.
fn beyond(values: &ArrayRef, index: usize) -> String {
    let text = match values.data_type() {
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = values.as_primitive_opt::<Time64MicrosecondType>();
            micros.map(|values| clock(values.value(index)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = values.as_primitive_opt::<TimestampMicrosecondType>();
            micros.map(|values| match values.value(index) {
                i64::MAX => "infinity".to_owned(),
                i64::MIN..=-9_223_372_036_854_775_807 => "-infinity".to_owned(),
                micros => format!("{micros} µs since 1970"),
            })
        }
        DataType::Date32 => {
            let days = values.as_primitive_opt::<Date32Type>();
            days.map(|values| match values.value(index) {
                i32::MAX => "infinity".to_owned(),
                i32::MIN..=-2_147_483_647 => "-infinity".to_owned(),
                days => format!("{days} days since 1970"),
            })
        }
        DataType::List(_) => values.as_list_opt::<i32>().map(|lists| {
            let list = lists.value(index);
            let cells = (0..list.len()).map(|index| {
                let known = list.is_valid(index).then(|| cell(&list, index)).flatten();
                known.unwrap_or_else(|| "NULL".to_owned())
            });
            format!("[{}]", cells.collect::<Vec<_>>().join(", "))
        }),
        _ => None,
    };
    text.unwrap_or_else(|| "?".to_owned())
}

/// Microseconds since midnight as a time of day, 24:00:00 included.
fn clock(micros: i64) -> String {
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let (minutes, hours) = (seconds / 60 % 60, seconds / 3600);
    let fraction = match rest {
        0 => String::new(),
        rest => format!(".{rest:06}"),
    };
    format!("{hours:02}:{minutes:02}:{:02}{fraction}", seconds % 60)
}

/// Writes timestamps whose zone is named UTC with its offset instead: Arrow shows those without a database of zones.
fn in_utc(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let offset = |data_type: &DataType| match data_type {
        DataType::Timestamp(unit, Some(_)) => {
            Some(DataType::Timestamp(*unit, Some("+00:00".into())))
        }
        _ => None,
    };
    let wanted = match values.data_type() {
        DataType::List(element) => offset(element.data_type()).map(|data_type| {
            let element = element.as_ref().clone().with_data_type(data_type);
            DataType::List(Arc::new(element))
        }),
        scalar => offset(scalar),
    };
    match wanted {
        Some(data_type) => arrow::compute::cast(values, &data_type),
        None => Ok(Arc::clone(values)),
    }
}

fn is_uuid(field: &Field) -> bool {
    field.data_type() == &DataType::FixedSizeBinary(16)
        && field.extension_type_name() == Some("arrow.uuid")
}

/// UUIDs as people write them.
fn uuids(values: &ArrayRef) -> ArrayRef {
    let Some(uuids) = values.as_fixed_size_binary_opt() else {
        return Arc::new(StringArray::new_null(values.len()));
    };
    let text: StringArray = uuids
        .iter()
        .map(|bytes| Some(uuid::Uuid::from_slice(bytes?).ok()?.to_string()))
        .collect();
    Arc::new(text)
}

/// Parquet's counts are signed, and never negative in a sound file.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
