//! The binary format of COPY (manual, page of COPY, "Binary Format"), as the server's messages contain it: a data message
//! is one row; the first has the file's header before it. No I/O.

use super::protocol_error::{ProtocolError, ProtocolResult};

/// The signature at the beginning of the data.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The contents of a data message.
#[derive(Debug)]
pub(crate) enum Row<'a> {
    /// A row.
    Fields(Fields<'a>),
    /// The trailer after the last row.
    End,
}

/// The fields of a row, in order. `None` is NULL.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    left: usize,
}

/// Parses a data message.
pub(crate) fn row(body: &[u8]) -> ProtocolResult<Row<'_>> {
    let body = match body.strip_prefix(SIGNATURE) {
        Some(rest) => after_header(rest)?,
        None => body,
    };
    let Some((&count, bytes)) = body.split_first_chunk::<2>() else {
        return Err(ProtocolError::Protocol(
            "a row without its number of fields",
        ));
    };
    match i16::from_be_bytes(count) {
        -1 if bytes.is_empty() => Ok(Row::End),
        count => usize::try_from(count)
            .map(|left| Row::Fields(Fields { bytes, left }))
            .map_err(|_| ProtocolError::Protocol("a row of no possible number of fields")),
    }
}

/// The data after the flags and the header's extension.
fn after_header(bytes: &[u8]) -> ProtocolResult<&[u8]> {
    let cut = ProtocolError::Protocol("a header that is cut short");
    let Some((_flags, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(cut);
    };
    let Some((&extension, rest)) = rest.split_first_chunk::<4>() else {
        return Err(cut);
    };
    let extension = usize::try_from(u32::from_be_bytes(extension)).unwrap_or(usize::MAX);
    rest.get(extension..).ok_or(cut)
}

impl<'a> Fields<'a> {
    /// How many fields are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Checks that the row ends with its last field.
    pub(crate) fn finish(self) -> ProtocolResult<()> {
        if self.left == 0 && self.bytes.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::Protocol("a row of another length"))
        }
    }

    fn take(&mut self) -> ProtocolResult<Option<&'a [u8]>> {
        let cut = ProtocolError::Protocol("a field that is cut short");
        let Some((&length, rest)) = self.bytes.split_first_chunk::<4>() else {
            return Err(cut);
        };
        let length = i32::from_be_bytes(length);
        if length == -1 {
            self.bytes = rest;
            return Ok(None);
        }
        let length = usize::try_from(length)
            .map_err(|_| ProtocolError::Protocol("a field of no possible length"))?;
        let Some((field, rest)) = rest.split_at_checked(length) else {
            return Err(cut);
        };
        self.bytes = rest;
        Ok(Some(field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = ProtocolResult<Option<&'a [u8]>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.take())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0";

    fn fields(parts: &[&[u8]]) -> ProtocolResult<Option<Vec<Option<Vec<u8>>>>> {
        let bytes = parts.concat();
        let mut fields = match row(&bytes)? {
            Row::Fields(fields) => fields,
            Row::End => return Ok(None),
        };
        let mut row = Vec::new();
        for field in fields.by_ref() {
            row.push(field?.map(<[u8]>::to_vec));
        }
        fields.finish()?;
        Ok(Some(row))
    }

    #[test]
    fn a_row_is_its_fields() {
        let row = b"\0\x03\0\0\0\x03abc\xff\xff\xff\xff\0\0\0\0";
        let expected = Some(vec![Some(b"abc".to_vec()), None, Some(Vec::new())]);
        assert_eq!(fields(&[row]).unwrap(), expected);
        assert_eq!(fields(&[HEADER, b"\0\0\0\x02xx", row]).unwrap(), expected);
        assert_eq!(fields(&[b"\xff\xff"]).unwrap(), None);
        assert_eq!(fields(&[HEADER, b"\0\0\0\0\xff\xff"]).unwrap(), None);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let rows: [&[&[u8]]; 9] = [
            &[],
            &[b"\0"],
            &[b"\0\x02\0\0\0\0"],
            &[b"\0\x01\xff\xff\xff\xfe"],
            &[b"\0\x01\0\0\0\x02a"],
            &[b"\0\x01\0\0\0\x01ab"],
            &[b"\xff\xfe"],
            &[HEADER],
            &[HEADER, b"\xff\xff\xff\xff"],
        ];
        for parts in rows {
            assert!(fields(parts).is_err(), "{parts:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            beginning in prop::sample::select(vec![b"".as_slice(), b"\0\x02\0\0", HEADER]),
        ) {
            let _ = fields(&[beginning, &bytes]);
        }
    }
}
