//! PostgreSQL's text field format, straight into Arrow builders. No I/O.
//!
//! This is the output of each type's output function, which logical replication sends unless binary is requested. Output
//! functions depend on settings; this module reads what was written under the settings of every session
//! ([`super::connection`]). A field decodes to the same value that [`ColumnBuilder::push_binary`] makes of its binary form,
//! or to the same error.

use std::io::Write as _;
use std::str;

use arrow::array::{BinaryBuilder, StringBuilder};

use super::types::{CatalogColumn, ColumnPlan};
use crate::error::{Error, Result};
use crate::postgres::binary::{ColumnBuilder, FieldError, ListBuilder};
use crate::schema::ColumnType;

mod datetime;
mod number;
#[cfg(test)]
mod tests;

/// What wrote the text of a field, or of a list's elements, if the column's type alone does not determine it: for a query,
/// the server casts a value; a text is cast here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// By the output function of the column's type, or of one whose text the column's type reads alike.
    Plain,
    /// `bool` for a text column: `t` and `f`, which a cast spells out.
    Bool,
    /// `float4` for a `float8` column: the shortest digits that tell it from other `float4`s, widened thereafter.
    Float4,
}

impl TextForm {
    /// The form of a planned column's text.
    ///
    /// # Errors
    /// Only a server can cast the text, because the cast depends on its locale.
    pub fn of(column: &CatalogColumn, plan: &ColumnPlan) -> Result<Self> {
        let wanted = &plan.spec.column_type;
        let (source, wanted) = match (&column.element, wanted) {
            (Some(element), ColumnType::List(wanted)) => (element, wanted.as_ref()),
            // An array that becomes one text is not cast element by element.
            (Some(_), _) => return Ok(Self::Plain),
            (None, wanted) => (&column.base, wanted),
        };
        match (source.builtin.then_some(source.name.as_str()), wanted) {
            (Some("bool"), ColumnType::Text) => Ok(Self::Bool),
            (Some("float4"), ColumnType::Float64) => Ok(Self::Float4),
            (Some("money"), ColumnType::Decimal { .. }) => Err(Error::config(format!(
                "column `{}` (money) cannot be read as {wanted} from the replication stream, which sends it as text of the \
                 server's locale",
                column.name
            ))
            .remedy("under [streams.STREAM.types], use `text`")),
            _ => Ok(Self::Plain),
        }
    }
}

/// Appends an optional value to a builder with the field's own decoder.
macro_rules! append {
    ($builder:expr, $field:expr, $decode:expr) => {
        match $field {
            Some(text) => $builder.append_value($decode(text)?),
            None => $builder.append_null(),
        }
    };
}

impl ColumnBuilder {
    /// Appends a field in its type's text form. `None` is NULL.
    ///
    /// # Errors
    /// As [`push_binary`](Self::push_binary). The builder's earlier values stay.
    pub fn push_text(&mut self, field: Option<&[u8]>, form: TextForm) -> Result<(), FieldError> {
        match self {
            Self::Boolean(values) => append!(values, field, boolean),
            Self::Int16(values) => append!(values, field, number::integer),
            Self::Int32(values) => append!(values, field, number::integer),
            Self::Int64(values) => append!(values, field, number::integer),
            Self::Oid(values) => append!(values, field, |text| {
                number::integer::<u32>(text).map(i64::from)
            }),
            Self::Float32(values) => append!(values, field, number::float4),
            Self::Float64(values) if form == TextForm::Float4 => {
                append!(values, field, |text| number::float4(text).map(f64::from));
            }
            Self::Float64(values) => append!(values, field, number::float8),
            Self::Decimal {
                values,
                precision,
                scale,
            } => append!(values, field, |text| {
                number::decimal(text, *precision, *scale)
            }),
            Self::Text(values) => push_str(values, field, form)?,
            Self::Binary(values) => push_bytea(values, field)?,
            Self::Uuid(values) => match field {
                Some(text) => values
                    .append_value(uuid(text)?)
                    .map_err(|_| FieldError::Malformed)?,
                None => values.append_null(),
            },
            Self::Date(values) => append!(values, field, datetime::date),
            Self::Time(values) => append!(values, field, datetime::time),
            Self::Timestamp(values) => append!(values, field, datetime::timestamp),
            Self::List(list) => list.push_text(field, form)?,
        }
        Ok(())
    }
}

fn boolean(text: &[u8]) -> Result<bool, FieldError> {
    match text {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(FieldError::Malformed),
    }
}

fn push_str(
    values: &mut StringBuilder,
    field: Option<&[u8]>,
    form: TextForm,
) -> Result<(), FieldError> {
    append!(values, field, |text| match form {
        TextForm::Bool => boolean(text).map(|value| if value { "true" } else { "false" }),
        _ => str::from_utf8(text).map_err(|_| FieldError::NotUtf8),
    });
    Ok(())
}

/// `byteaout` under `bytea_output = hex`. The digits are checked before any byte is appended, because appended bytes cannot
/// be removed.
fn push_bytea(values: &mut BinaryBuilder, field: Option<&[u8]>) -> Result<(), FieldError> {
    let Some(text) = field else {
        values.append_null();
        return Ok(());
    };
    let digits = text.strip_prefix(b"\\x").ok_or(FieldError::Malformed)?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(FieldError::Malformed);
    }
    let mut bytes = [0; 256];
    for run in pairs.chunks(bytes.len()) {
        for (byte, pair) in bytes.iter_mut().zip(run) {
            *byte = hex_pair(*pair)?;
        }
        let bytes = bytes.get(..run.len()).unwrap_or_default();
        values.write_all(bytes).map_err(|_| FieldError::TooLarge)?;
    }
    values.append_value([]);
    Ok(())
}

fn hex_pair([high, low]: [u8; 2]) -> Result<u8, FieldError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(FieldError::Malformed),
    };
    Ok(digit(high)? << 4 | digit(low)?)
}

/// What `uuid_in` accepts, because a text column may be cast to uuid: optional braces, and optional hyphens after each four
/// digits.
fn uuid(text: &[u8]) -> Result<[u8; 16], FieldError> {
    let mut rest = match text {
        [b'{', inner @ .., b'}'] => inner,
        text => text,
    };
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let (pair, tail) = rest.split_first_chunk().ok_or(FieldError::Malformed)?;
        *byte = hex_pair(*pair)?;
        rest = match tail {
            [b'-', tail @ ..] if index % 2 == 1 && index < 15 => tail,
            tail => tail,
        };
    }
    if rest.is_empty() {
        Ok(bytes)
    } else {
        Err(FieldError::Malformed)
    }
}

impl ListBuilder {
    /// `array_out`: elements in braces, separated by commas; elements that could be mistaken are quoted, with a backslash
    /// before quotes and backslashes. Bounds come first if an index does not begin at 1.
    fn push_text(&mut self, field: Option<&[u8]>, form: TextForm) -> Result<(), FieldError> {
        let Some(text) = field else {
            self.append_null();
            return Ok(());
        };
        let inner = match text {
            [b'[', ..] | [b'{', b'{', ..] => return Err(FieldError::NotAList),
            [b'{', inner @ .., b'}'] => inner,
            _ => return Err(FieldError::Malformed),
        };
        let mut count = 0_i32;
        let mut rest = inner;
        let mut unescaped = Vec::new();
        while !rest.is_empty() {
            let (element, tail) = element(rest, &mut unescaped)?;
            self.elements.push_text(element, form)?;
            count = count.checked_add(1).ok_or(FieldError::TooLarge)?;
            rest = match tail {
                [] => tail,
                [b',', next @ ..] if !next.is_empty() => next,
                _ => return Err(FieldError::Malformed),
            };
        }
        self.append(count)
    }
}

/// The first element (`None` for NULL) and the text after it. `unescaped` holds the element if it has escapes.
fn element<'e, 'text: 'e>(
    text: &'text [u8],
    unescaped: &'e mut Vec<u8>,
) -> Result<(Option<&'e [u8]>, &'text [u8]), FieldError> {
    let [b'"', quoted @ ..] = text else {
        let end = text.iter().position(|byte| *byte == b',');
        let (element, rest) = text.split_at(end.unwrap_or(text.len()));
        return match element {
            b"NULL" => Ok((None, rest)),
            _ if needs_quotes(element) => Err(FieldError::Malformed),
            _ => Ok((Some(element), rest)),
        };
    };
    let end = closing_quote(quoted)?;
    let (element, rest) = quoted.split_at(end);
    let rest = rest.get(1..).ok_or(FieldError::Malformed)?;
    if !element.contains(&b'\\') {
        return Ok((Some(element), rest));
    }
    unescaped.clear();
    let mut bytes = element.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        };
        unescaped.push(*byte.ok_or(FieldError::Malformed)?);
    }
    Ok((Some(unescaped), rest))
}

/// Whether `array_out` puts an element in quotes.
fn needs_quotes(element: &[u8]) -> bool {
    element.is_empty()
        || element.eq_ignore_ascii_case(b"NULL")
        || element
            .iter()
            .any(|byte| matches!(byte, b'{' | b'}' | b'"' | b'\\' | b' ' | b'\t'..=b'\r'))
}

/// The position of the first quote without a backslash before it.
fn closing_quote(text: &[u8]) -> Result<usize, FieldError> {
    let mut escaped = false;
    text.iter()
        .position(|byte| {
            let closes = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        })
        .ok_or(FieldError::Malformed)
}
