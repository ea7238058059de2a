//! The bodies of messages that a connection in replication mode receives. No I/O.

use bytes::{Buf, Bytes};

use crate::position::Lsn;
use crate::postgres::copy::{Row, row};
use crate::postgres::protocol_error::{ProtocolError, ProtocolResult};

/// What the server sends while it streams.
#[derive(Debug)]
pub enum Event {
    /// One message of the output plugin.
    Data(Bytes),
    /// A keepalive: all changes before `end` were sent. `reply` requests an answer.
    Keepalive {
        /// The server's position.
        end: Lsn,
        /// Whether the server requests an answer.
        reply: bool,
    },
    /// The query's rows are complete: the connection can take the next command.
    End,
}

/// Parses an event of the log's stream.
pub(crate) fn log_event(mut body: Bytes) -> ProtocolResult<Event> {
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
        _ => Err(ProtocolError::Protocol("an unknown message of the stream")),
    }
}

/// The field of a row with one field. `None` at the end of the data.
pub(crate) fn copied_field(body: &Bytes) -> ProtocolResult<Option<Bytes>> {
    let other = || ProtocolError::Protocol("a row that is not one field");
    match row(body)? {
        Row::End => Ok(None),
        Row::Fields(mut fields) => {
            let field = fields.next().ok_or_else(other)??.ok_or_else(other)?;
            let field = body.slice_ref(field);
            if fields.left() > 0 {
                return Err(other());
            }
            fields.finish().map(|()| Some(field))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0";

    fn field(parts: &[&[u8]]) -> ProtocolResult<Option<Bytes>> {
        copied_field(&Bytes::from(parts.concat()))
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
            let _ = copied_field(&body);
        }
    }
}
