//! Messages of the output plugin `pgoutput`, protocol version 1 (manual, section 55.9). No I/O.

use std::ops::Range;

use crate::position::Lsn;

/// Bytes that are not a message of `pgoutput`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a change that is not in the format of pgoutput")]
pub struct Malformed;

type Decoded<T> = Result<T, Malformed>;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// `BEGIN`: a transaction begins.
    Begin {
        /// The LSN of its commit.
        commit_lsn: Lsn,
        /// When it was committed: microseconds since 2000-01-01 UTC.
        commit_time: i64,
    },
    /// `COMMIT`: the transaction is complete.
    Commit {
        /// The first LSN after the transaction.
        end_lsn: Lsn,
    },
    /// The description of a table, which holds from here on.
    Relation(Relation),
    /// A row was inserted.
    Insert {
        /// Its table.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// A row was updated.
    Update {
        /// Its table.
        relation: u32,
        /// The old row, if the server sends it.
        old: Option<Old>,
        /// The new row.
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// Its table.
        relation: u32,
        /// The old row.
        old: Old,
    },
    /// Tables were truncated.
    Truncate {
        /// The tables.
        relations: Vec<u32>,
    },
    /// A message without rows: a type, an origin, or an application's message.
    Other,
}

/// An old row.
#[derive(Debug, PartialEq, Eq)]
pub struct Old {
    /// Whether it has all columns (REPLICA IDENTITY FULL), not only those of the identity.
    pub whole: bool,
    /// Its values. Outside of the identity they are NULL, unless it has all columns.
    pub tuple: Tuple,
}

/// The description of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Its schema. Empty for `pg_catalog`.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns that are published, in order.
    pub columns: Vec<RelationColumn>,
    /// Whether old rows have all columns (REPLICA IDENTITY FULL).
    pub whole: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: u32,
    /// The type's modifier, -1 for none.
    pub modifier: i32,
    /// Whether the column belongs to the replica identity.
    pub identifies: bool,
}

/// A row's values, as positions in the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tuple(pub Vec<Value>);

/// The position of a value in its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// The value was not sent: it is stored out of line and did not change.
    Unchanged,
    /// In text form.
    Text(Range<usize>),
    /// In binary form.
    Binary(Range<usize>),
}

/// Decodes a message. Its values are positions in `bytes`.
pub fn decode(bytes: &[u8]) -> Decoded<Message> {
    let mut reader = Reader { bytes, at: 0 };
    let message = match reader.u8()? {
        b'B' => {
            let commit_lsn = Lsn(reader.u64()?);
            let commit_time = reader.i64()?;
            reader.skip(4)?;
            Message::Begin {
                commit_lsn,
                commit_time,
            }
        }
        b'C' => {
            // The flags and the LSN of the commit itself.
            reader.skip(1 + 8)?;
            let end_lsn = Lsn(reader.u64()?);
            reader.skip(8)?;
            Message::Commit { end_lsn }
        }
        b'R' => Message::Relation(reader.relation()?),
        b'I' => {
            let relation = reader.u32()?;
            reader.expect(b'N')?;
            let new = reader.tuple()?;
            Message::Insert { relation, new }
        }
        b'U' => {
            let relation = reader.u32()?;
            let old = match reader.u8()? {
                b'N' => None,
                kind => {
                    let old = reader.old(kind)?;
                    reader.expect(b'N')?;
                    Some(old)
                }
            };
            let new = reader.tuple()?;
            Message::Update { relation, old, new }
        }
        b'D' => {
            let relation = reader.u32()?;
            let kind = reader.u8()?;
            let old = reader.old(kind)?;
            Message::Delete { relation, old }
        }
        b'T' => {
            let count = reader.u32()?;
            reader.skip(1)?;
            let mut relations = Vec::new();
            for _ in 0..count {
                relations.push(reader.u32()?);
            }
            Message::Truncate { relations }
        }
        b'Y' | b'O' | b'M' => return Ok(Message::Other),
        _ => return Err(Malformed),
    };
    if reader.at == bytes.len() {
        Ok(message)
    } else {
        Err(Malformed)
    }
}

/// Reads a message from its beginning to its end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Decoded<()> {
        self.take(length).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Decoded<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Decoded<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Decoded<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn expect(&mut self, byte: u8) -> Decoded<()> {
        if self.u8()? == byte {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// A text that ends in a zero.
    fn text(&mut self) -> Decoded<String> {
        let rest = self.bytes.get(self.at..).ok_or(Malformed)?;
        let length = rest.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?;
        self.skip(1)?;
        Ok(text.to_owned())
    }

    fn relation(&mut self) -> Decoded<Relation> {
        let oid = self.u32()?;
        let schema = self.text()?;
        let name = self.text()?;
        let whole = self.u8()? == b'f';
        let count = self.u16()?;
        let mut columns = Vec::with_capacity(count.min(1600).into());
        for _ in 0..count {
            let identifies = self.u8()? & 1 != 0;
            columns.push(RelationColumn {
                identifies,
                name: self.text()?,
                type_oid: self.u32()?,
                modifier: self.array().map(i32::from_be_bytes)?,
            });
        }
        Ok(Relation {
            oid,
            schema,
            name,
            columns,
            whole,
        })
    }

    fn old(&mut self, kind: u8) -> Decoded<Old> {
        let whole = match kind {
            b'O' => true,
            b'K' => false,
            _ => return Err(Malformed),
        };
        let tuple = self.tuple()?;
        Ok(Old { whole, tuple })
    }

    fn tuple(&mut self) -> Decoded<Tuple> {
        let count = self.u16()?;
        let mut values = Vec::with_capacity(count.min(1600).into());
        for _ in 0..count {
            let kind = self.u8()?;
            values.push(match kind {
                b'n' => Value::Null,
                b'u' => Value::Unchanged,
                b't' | b'b' => {
                    let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
                    let start = self.at;
                    self.skip(length)?;
                    let place = start..self.at;
                    if kind == b't' {
                        Value::Text(place)
                    } else {
                        Value::Binary(place)
                    }
                }
                _ => return Err(Malformed),
            });
        }
        Ok(Tuple(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Messages as a server of version 15 sent them: `CREATE TABLE t (id int PRIMARY KEY, v text)`, in one transaction
    /// an insert, an update of the key, a delete, a truncation.
    fn samples() -> Vec<Vec<u8>> {
        let text = |value: &str| {
            let mut bytes = vec![b't'];
            bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value.as_bytes());
            bytes
        };
        let tuple = |values: &[Vec<u8>]| {
            let mut bytes = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend(values.concat());
            bytes
        };
        let relation = 16_384_u32.to_be_bytes();
        let mut begin = vec![b'B'];
        begin.extend(0x16_B374_D848_u64.to_be_bytes());
        begin.extend(800_000_000_000_000_i64.to_be_bytes());
        begin.extend(733_u32.to_be_bytes());
        let mut commit = vec![b'C', 0];
        commit.extend(0x16_B374_D848_u64.to_be_bytes());
        commit.extend(0x16_B374_D878_u64.to_be_bytes());
        commit.extend(800_000_000_000_000_i64.to_be_bytes());
        let mut table = vec![b'R'];
        table.extend(relation);
        table.extend(
            b"public\0t\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0v\0\0\0\0\x19\xff\xff\xff\xff",
        );
        let insert = [
            b"I".as_slice(),
            &relation,
            b"N",
            &tuple(&[text("1"), text("a")]),
        ]
        .concat();
        let update = [
            b"U".as_slice(),
            &relation,
            b"K",
            &tuple(&[text("1"), vec![b'n']]),
            b"N",
            &tuple(&[text("2"), vec![b'u']]),
        ]
        .concat();
        let delete = [
            b"D".as_slice(),
            &relation,
            b"O",
            &tuple(&[text("2"), text("a")]),
        ]
        .concat();
        let truncate = [b"T".as_slice(), &1_u32.to_be_bytes(), &[0], &relation].concat();
        vec![begin, commit, table, insert, update, delete, truncate]
    }

    #[test]
    fn each_message_is_understood() {
        let samples = samples();
        let decoded: Vec<Message> = samples.iter().map(|bytes| decode(bytes).unwrap()).collect();
        assert_eq!(
            decoded[0],
            Message::Begin {
                commit_lsn: "16/B374D848".parse().unwrap(),
                commit_time: 800_000_000_000_000
            }
        );
        assert_eq!(
            decoded[1],
            Message::Commit {
                end_lsn: "16/B374D878".parse().unwrap()
            }
        );
        let Message::Relation(relation) = &decoded[2] else {
            panic!("{:?}", decoded[2]);
        };
        let names: Vec<&str> = relation.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            (relation.schema.as_str(), names),
            ("public", vec!["id", "v"])
        );
        let value = |bytes: &[u8], value: &Value| match value {
            Value::Text(place) => String::from_utf8(bytes[place.clone()].to_vec()).unwrap(),
            other => format!("{other:?}"),
        };
        let Message::Update {
            old: Some(old),
            new,
            ..
        } = &decoded[4]
        else {
            panic!("{:?}", decoded[4]);
        };
        assert!(!old.whole);
        let update = &samples[4];
        assert_eq!(value(update, &old.tuple.0[0]), "1");
        assert_eq!(value(update, &new.0[0]), "2");
        assert_eq!(new.0[1], Value::Unchanged);
        assert!(matches!(
            &decoded[5],
            Message::Delete {
                old: Old { whole: true, .. },
                ..
            }
        ));
        assert_eq!(
            decoded[6],
            Message::Truncate {
                relations: vec![16_384]
            }
        );
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        for sample in samples() {
            for length in 0..sample.len() {
                assert_eq!(decode(&sample[..length]), Err(Malformed));
            }
            let longer = [sample.as_slice(), &[0]].concat();
            assert_eq!(decode(&longer), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn mutated_messages_never_panic(
            which in 0_usize..7,
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = samples()[which].clone();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Ok(Message::Insert { new, .. }) = decode(&bytes) {
                for value in new.0 {
                    if let Value::Text(place) | Value::Binary(place) = value {
                        prop_assert!(bytes.get(place).is_some());
                    }
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
