//! Bodies of the protocol's messages that a connection in replication mode receives. No I/O.

use bytes::{Buf, Bytes};

use super::wire::{WireError, WireResult};
use crate::position::Lsn;

/// What binary COPY data begin with.
const COPY_SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// What the server sends while it streams.
#[derive(Debug)]
pub enum Event {
    /// One message of the output plugin.
    Data(Bytes),
    /// Everything before `end` was sent. `reply` asks for an answer.
    Keepalive {
        /// Where the server stands.
        end: Lsn,
        /// Whether it wants to hear from us.
        reply: bool,
    },
    /// The query's rows are over: the connection takes the next command.
    End,
}

/// A failure that the server reports.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
}

/// A row of a command's answer, as text.
pub type TextRow = Vec<Option<String>>;

/// An event of the log's stream.
pub(super) fn log_event(mut body: Bytes) -> WireResult<Event> {
    match body.first() {
        // start, end, the server's clock: 8 bytes each.
        Some(b'w') if body.len() >= 25 => {
            body.advance(25);
            Ok(Event::Data(body))
        }
        Some(b'k') if body.len() >= 18 => {
            body.advance(1);
            let end = Lsn(body.get_u64());
            body.advance(8);
            let reply = body.get_u8() != 0;
            Ok(Event::Keepalive { end, reply })
        }
        _ => Err(WireError::Protocol("an unknown message of the stream")),
    }
}

/// The field of a row of one field. None where the data end. A message of the server is one row; the first has the
/// header before it.
pub(super) fn copied_field(mut body: Bytes) -> WireResult<Option<Bytes>> {
    let broken = |_| WireError::Protocol("a row that is not one field");
    if body.starts_with(COPY_SIGNATURE) {
        body.advance(COPY_SIGNATURE.len());
        let _flags = body.try_get_u32().map_err(broken)?;
        let extension = body.try_get_u32().map_err(broken)?;
        let extension = usize::try_from(extension).unwrap_or(usize::MAX);
        if body.len() < extension {
            return Err(WireError::Protocol("a header that is cut short"));
        }
        body.advance(extension);
    }
    match body.try_get_i16().map_err(broken)? {
        -1 => Ok(None),
        1 => {
            let length = body.try_get_i32().map_err(broken)?;
            if usize::try_from(length) == Ok(body.len()) {
                Ok(Some(body))
            } else {
                Err(WireError::Protocol("a field of another length"))
            }
        }
        _ => Err(WireError::Protocol("a row that is not one field")),
    }
}

pub(super) fn text_row(mut body: Bytes) -> WireResult<TextRow> {
    let short = || WireError::Protocol("a short row");
    if body.len() < 2 {
        return Err(short());
    }
    let fields = body.get_u16();
    let mut row = Vec::with_capacity(fields.into());
    for _ in 0..fields {
        if body.len() < 4 {
            return Err(short());
        }
        let length = body.get_i32();
        if length < 0 {
            row.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| short())?;
        if body.len() < length {
            return Err(short());
        }
        let text = body.split_to(length);
        row.push(Some(String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(row)
}

pub(super) fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError {
        code: String::new(),
        message: "an unknown failure".to_owned(),
    };
    for field in body.split(|byte| *byte == 0) {
        let Some((kind, text)) = field.split_first() else {
            continue;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match kind {
            b'C' => error.code = text,
            b'M' => error.message = text,
            _ => {}
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0";

    fn field(parts: &[&[u8]]) -> WireResult<Option<Bytes>> {
        copied_field(Bytes::from(parts.concat()))
    }

    #[test]
    fn a_copied_row_is_its_field() {
        let abc = Some(Bytes::from_static(b"abc"));
        let row = b"\0\x01\0\0\0\x03abc";
        assert_eq!(field(&[HEADER, b"\0\0\0\x02xx", row]).unwrap(), abc);
        assert_eq!(field(&[row]).unwrap(), abc);
        assert_eq!(field(&[b"\0\x01\0\0\0\0"]).unwrap(), Some(Bytes::new()));
        assert_eq!(field(&[b"\xff\xff"]).unwrap(), None);
        assert_eq!(field(&[HEADER, b"\0\0\0\0\xff\xff"]).unwrap(), None);
    }

    #[test]
    fn what_is_no_row_of_one_field_is_refused() {
        let rows: [&[&[u8]]; 8] = [
            &[],
            &[b"\0"],
            &[b"\0\x02\0\0\0\0\0\0\0\0"],
            &[b"\0\x01\xff\xff\xff\xff"],
            &[b"\0\x01\0\0\0\x02a"],
            &[b"\0\x01\0\0\0\x01ab"],
            &[HEADER],
            &[HEADER, b"\xff\xff\xff\xff"],
        ];
        for parts in rows {
            assert!(field(parts).is_err(), "{parts:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            beginning in prop::sample::select(vec![b"".as_slice(), b"w", b"k", b"\0\x01\0\0", HEADER]),
        ) {
            let body = Bytes::from([beginning, &bytes].concat());
            let _ = log_event(body.clone());
            let _ = copied_field(body.clone());
            let _ = text_row(body.clone());
            let _ = server_error(&body);
        }
    }
}
