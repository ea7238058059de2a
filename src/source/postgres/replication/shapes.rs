//! Looks up the shape of tables in the catalog ([`TableShape`]).

use std::collections::HashMap;

use serde::Deserialize;
use tokio_postgres::Client;
use tokio_postgres::types::Oid;

use crate::error::{Error, Result};
use crate::identity::ColumnIdentity;
use crate::shape::{Seen, ShapeColumn, TableShape};
use crate::source::postgres::connection::failed;

/// One statement, so that its result is of one moment: a new column and the rewritten file of its table appear together.
const SHAPES: &str = "
SELECT c.oid, pg_catalog.json_build_object(
  'columns', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
             'name', a.attname, 'number', a.attnum, 'type_oid', a.atttypid::int8, 'modifier', a.atttypmod,
             'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod), 'written', a.xmin::text::int8,
             'filled', a.atthasdef OR a.atthasmissing OR a.attidentity <> '', 'generated', a.attgenerated <> '') ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'last_number', c.relnatts,
  'files', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(f.oid::int8, f.relfilenode::int8) ORDER BY f.oid)
    FROM pg_catalog.pg_class f
    WHERE f.relfilenode <> 0
      AND (f.oid = c.oid OR f.oid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) p))),
  'labels', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(e.oid::int8, e.enumlabel) ORDER BY e.oid)
    FROM pg_catalog.pg_enum e WHERE e.enumtypid = ANY (used.types)),
  'fields', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
             t.oid::int8, f.attnum, pg_catalog.concat_ws(' ', f.attname, f.atttypid, f.atttypmod)) ORDER BY t.oid, f.attnum)
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute f ON f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped
    WHERE t.oid = ANY (used.types) AND t.typtype = 'c'),
  'altered', (
    SELECT pg_catalog.json_agg(DISTINCT of_type.xmin::text::int8)
    FROM pg_catalog.pg_type t CROSS JOIN LATERAL (
      SELECT e.xmin FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid
      UNION ALL SELECT f.xmin FROM pg_catalog.pg_attribute f
                WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0) AS of_type (xmin)
    WHERE t.oid = ANY (used.types) AND pg_catalog.age(of_type.xmin) < pg_catalog.age(t.xmin)),
  'horizon', pg_catalog.mod(pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::numeric, 4294967296)::int8,
  'attached', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(i.inhrelid::int8, i.xmin::text::int8) ORDER BY i.inhrelid)
    FROM pg_catalog.pg_inherits i
    WHERE i.inhrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) p WHERE p.relid <> c.oid)),
  'key', (
    SELECT pg_catalog.json_agg(k.attnum ORDER BY k.attnum)
    FROM pg_catalog.pg_index i CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
    WHERE i.indrelid = c.oid AND k.place <= i.indnkeyatts
      AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary AND i.indimmediate END),
  'publication', (SELECT p.xmin::text::int8 FROM pg_catalog.pg_publication p WHERE p.pubname = $2),
  'membership', (
    SELECT r.oid::int8 FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
    WHERE p.pubname = $2 AND r.prrelid = c.oid)
)::text
FROM pg_catalog.pg_class c CROSS JOIN LATERAL (
  WITH RECURSIVE used (oid) AS (
    SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION SELECT within.oid FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid CROSS JOIN LATERAL (
      SELECT t.typbasetype WHERE t.typtype = 'd'
      UNION ALL SELECT t.typelem WHERE t.typelem <> 0
      UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
      UNION ALL SELECT f.atttypid FROM pg_catalog.pg_attribute f
                WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) AS within (oid))
  SELECT pg_catalog.array_agg(used.oid) FROM used) AS used (types)
WHERE c.oid = ANY ($1)";

/// Enlarges the session's memory for the catalog's joins: the server's default may be tiny, and temporary files forbidden.
pub async fn make_room(client: &Client) -> Result<()> {
    let set = client.batch_execute("SET work_mem = '4MB'").await;
    set.map_err(|error| failed("cannot set the session up", &error))
}

#[derive(Deserialize)]
struct Told {
    columns: Option<Vec<ToldColumn>>,
    last_number: i16,
    files: Option<Vec<(u32, u32)>>,
    labels: Option<Vec<(u32, String)>>,
    fields: Option<Vec<(u32, i16, String)>>,
    altered: Option<Vec<u32>>,
    horizon: Option<u32>,
    attached: Option<Vec<(u32, u32)>>,
    key: Option<Vec<i16>>,
    publication: Option<u32>,
    membership: Option<u32>,
}

#[derive(Deserialize)]
struct ToldColumn {
    #[serde(flatten)]
    identity: ColumnIdentity,
    type_name: String,
    written: u32,
    filled: bool,
    generated: bool,
}

/// The shapes of tables in the catalog, or in the client's snapshot. A dropped table is missing.
///
/// # Errors
/// The server cannot be asked.
pub async fn look(
    client: &Client,
    tables: &[Oid],
    publication: &str,
) -> Result<HashMap<Oid, Seen>> {
    let rows = client
        .query(SHAPES, &[&tables, &publication])
        .await
        .map_err(|error| failed("cannot look at the tables' columns", &error))?;
    let mut seen = HashMap::with_capacity(rows.len());
    for row in rows {
        let told: String = row.get(1);
        let told: Told = serde_json::from_str(&told)
            .map_err(|error| Error::internal("the catalog's answer cannot be read").cause(error))?;
        seen.insert(row.get(0), told.into());
    }
    Ok(seen)
}

impl From<Told> for Seen {
    fn from(told: Told) -> Self {
        let told_columns = told.columns.unwrap_or_default();
        let numbers = |that: fn(&ToldColumn) -> bool| {
            let columns = told_columns.iter().filter(|column| that(column));
            columns.map(|column| column.identity.number).collect()
        };
        Self {
            filled: numbers(|column| column.filled),
            generated: numbers(|column| column.generated),
            altered: told.altered.unwrap_or_default(),
            shape: TableShape {
                columns: told_columns
                    .into_iter()
                    .map(|column| ShapeColumn {
                        identity: column.identity,
                        type_name: column.type_name,
                        written: column.written,
                    })
                    .collect(),
                last_number: told.last_number,
                files: told.files.unwrap_or_default(),
                labels: told.labels.unwrap_or_default(),
                fields: told.fields.unwrap_or_default(),
                attached: told.attached.unwrap_or_default(),
                horizon: told.horizon,
                key: told.key.unwrap_or_default(),
                publication: told.publication,
                membership: told.membership,
            },
        }
    }
}
