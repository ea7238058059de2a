//! Looks up relations in PostgreSQL's catalog: columns and types, key, size, and privileges.

use tokio_postgres::Client;
use tokio_postgres::types::{Oid, ToSql};

use super::connection::{CATALOG_PATH, OWN_PATH, failed};
use super::replication::pgoutput::RelationColumn;
use super::sql::{literal, quote};
use super::types::{BaseType, CatalogColumn};
use crate::error::{Error, Result};
use crate::known_tables::SourceTable;

/// A relation of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogRelation {
    /// Its OID. `None` for a query.
    pub oid: Option<Oid>,
    /// Its name, for people.
    pub name: String,
    /// `pg_class.relkind`; a query counts as a view.
    pub kind: char,
    /// Whether row-level security filters the rows that this user sees.
    pub row_security: bool,
    /// The user's name.
    pub user: String,
    /// Quoted, with its schema; a query in parentheses, with an alias.
    pub from: String,
    /// Its columns, in order.
    pub columns: Vec<CatalogColumn>,
    /// The columns of its primary key, in the key's order.
    pub primary_key: Vec<String>,
    /// Its heap, if it has one that can be read by pages.
    pub heap: Option<Heap>,
    /// Whether it is a table, partitioned or not.
    pub is_table: bool,
    /// Whether this user may lock it in ACCESS SHARE mode. A user who may read only some columns may not.
    pub lockable: bool,
    /// The estimated number of rows. `None` if it was never analysed.
    pub estimated_rows: Option<u64>,
}

impl CatalogRelation {
    /// The error that a key of the stream names columns which the relation does not have.
    pub fn no_such_column(&self, key: &str, names: &[&str]) -> Error {
        let known: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        Error::config(match names {
            [name] => {
                format!("`{key}` names the column `{name}`, which is not read or does not exist")
            }
            names => format!(
                "`{key}` names the columns `{}`, which are not read or do not exist",
                names.join("`, `")
            ),
        })
        .remedy(format!("the columns are {}", known.join(", ")))
    }

    /// The error that row-level security hides some of its rows.
    pub fn filtered(&self) -> Error {
        let (from, user) = (&self.from, &self.user);
        Error::source(format!(
            "row-level security hides rows of {from} from {user}: a subset would be read as if it were the whole"
        ))
        .remedy(format!(
            "ALTER ROLE {} BYPASSRLS; or, where the subset is what you want and mode is not \"cdc\": row_security = true for \
             [streams.STREAM]",
            quote(user)
        ))
    }
}

/// A table's heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    /// The number of its pages in the file system now.
    pub pages: u32,
}

/// The tables and views of all schemas but the server's own and those of temporary tables, in order; with their columns if that is
/// asked for.
pub async fn tables(client: &Client, with_columns: bool, place: &str) -> Result<Vec<SourceTable>> {
    let rows = client
        .query(
            "SELECT n.nspname::text, c.relname::text,
                    c.relkind IN ('r', 'p') AND NOT c.relispartition
                    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                    AND d.deptype = 'e'),
                    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE $1 AND a.attrelid = c.oid AND a.attnum > 0
                          AND NOT a.attisdropped ORDER BY a.attnum),
                    ARRAY(SELECT a.attnum FROM pg_attribute a WHERE $1 AND a.attrelid = c.oid AND a.attnum > 0
                          AND NOT a.attisdropped ORDER BY a.attnum)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
               AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname::text, 'pg_')
             ORDER BY 1, 2",
            &[&with_columns],
        )
        .await
        .map_err(|error| failed(format!("cannot list the tables at {place}"), &error))?;
    let table = |row: &tokio_postgres::Row| SourceTable {
        schema: row.get(0),
        name: row.get(1),
        is_plain: row.get(2),
        columns: {
            let (names, numbers): (Vec<String>, Vec<i16>) = (row.get(3), row.get(4));
            names.into_iter().zip(numbers).collect()
        },
    };
    Ok(rows.iter().map(table).collect())
}

/// Looks up a table or view.
///
/// # Errors
/// It does not exist, or the user may not read it.
pub async fn table(
    client: &Client,
    schema: Option<&str>,
    name: &str,
    place: &str,
) -> Result<CatalogRelation> {
    let qualified = match schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(name)),
        None => quote(name),
    };
    let what = || format!("cannot look up table {qualified} at {place}");
    let select = "SELECT pg_catalog.to_regclass($1::pg_catalog.text)::pg_catalog.oid";
    let parameters: [&(dyn ToSql + Sync); 1] = [&qualified];
    let asked = client.query_one(select, &parameters);
    // Without a schema, the role's own search path decides which table it is.
    let named = match schema {
        Some(_) => asked.await,
        None => on_own_path(client, asked).await,
    };
    let oid: Option<Oid> = named.map_err(|error| failed(what(), &error))?.get(0);
    let found = client
        .query_opt(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.reltuples::float8, c.relrowsecurity,
                    has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT'),
                    CASE WHEN c.relkind IN ('r', 'm', 't')
                         THEN pg_relation_size(c.oid) / current_setting('block_size')::int8 END,
                    COALESCE(am.amname = 'heap', false), current_user::text, has_table_privilege(c.oid, 'SELECT'),
                    row_security_active(c.oid)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam
             WHERE c.oid = $1 AND c.relkind IN ('r', 'v', 'm', 'f', 'p')",
            &[&oid],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
    let Some(row) = found else {
        return Err(no_such_table(client, &qualified, name, place).await);
    };
    let oid: Oid = row.get(0);
    let (schema, name): (String, String) = (row.get(1), row.get(2));
    let from = format!("{}.{}", quote(&schema), quote(&name));
    let kind: String = row.get(3);
    let estimate: f64 = row.get(4);
    let row_security: bool = row.get(5);
    let user: String = row.get(9);
    if !row.get::<_, bool>(6) {
        return Err(
            Error::source(format!("{user} may not read table {from} at {place}")).remedy(format!(
                "GRANT USAGE ON SCHEMA {} TO {}; GRANT SELECT ON {from} TO {};",
                quote(&schema),
                quote(&user),
                quote(&user)
            )),
        );
    }
    let pages: Option<i64> = row.get(7);
    let has_heap: bool = row.get(8);
    let heap = pages
        .filter(|_| has_heap && !row_security)
        .map(|pages| Heap {
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
        });

    let rows = client
        .query(
            "SELECT attname::text, atttypid, atttypmod, attnotnull FROM pg_attribute
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&oid],
        )
        .await
        .map_err(|error| failed(what(), &error))?;
    let columns: Vec<RawColumn> = rows
        .iter()
        .map(|row| RawColumn {
            name: row.get(0),
            type_oid: row.get(1),
            modifier: row.get(2),
            nullable: !row.get::<_, bool>(3),
        })
        .collect();
    let primary_key = index_columns(client, oid, KeyIndex::PrimaryKey)
        .await
        .map_err(|error| failed(what(), &error))?;
    Ok(CatalogRelation {
        oid: Some(oid),
        name: format!("{schema}.{name}"),
        kind: kind.chars().next().unwrap_or('r'),
        row_security: row.get(11),
        user,
        from,
        columns: resolve(client, columns)
            .await
            .map_err(|error| failed(what(), &error))?,
        primary_key,
        heap,
        is_table: matches!(kind.as_str(), "r" | "p"),
        lockable: matches!(kind.as_str(), "r" | "p") && row.get(10),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        estimated_rows: (estimate >= 0.0 && matches!(kind.as_str(), "r" | "m" | "p"))
            .then_some(estimate as u64),
    })
}

/// An index that identifies a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyIndex {
    /// The index of the primary key.
    PrimaryKey,
    /// The index that `REPLICA IDENTITY USING INDEX` names.
    ReplicaIdentity,
}

/// The key columns of such an index, in its order. Empty if there is no such index.
pub async fn index_columns(
    client: &Client,
    table: Oid,
    index: KeyIndex,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let which = match index {
        KeyIndex::PrimaryKey => "indisprimary",
        KeyIndex::ReplicaIdentity => "indisreplident",
    };
    let statement = format!(
        "SELECT a.attname::text FROM pg_index i
         CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE i.indrelid = $1 AND i.{which} AND k.place <= i.indnkeyatts ORDER BY k.place"
    );
    let rows = client.query(&statement, &[&table]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether a unique index enforces, immediately and for all rows, that these columns together are unique and never NULL.
pub async fn is_unique(
    client: &Client,
    table: Oid,
    columns: &[String],
) -> Result<bool, tokio_postgres::Error> {
    has_unique_index(client, table, columns, false).await
}

/// The same of those rows alone that have no NULL in these columns.
pub async fn is_unique_but_for_nulls(
    client: &Client,
    table: Oid,
    columns: &[String],
) -> Result<bool, tokio_postgres::Error> {
    has_unique_index(client, table, columns, true).await
}

async fn has_unique_index(
    client: &Client,
    table: Oid,
    columns: &[String],
    nullable: bool,
) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT EXISTS (
               SELECT FROM pg_index i
               WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                 AND NOT EXISTS (SELECT FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
                                 LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                                   AND a.attname = ANY ($2::text[]) AND (a.attnotnull OR $3)
                                 WHERE k.place <= i.indnkeyatts AND a.attnum IS NULL))",
            &[&table, &columns, &nullable],
        )
        .await?;
    Ok(row.get(0))
}

/// Looks up a query's columns by preparing it.
pub async fn query(client: &Client, text: &str, place: &str) -> Result<CatalogRelation> {
    let what = || format!("the server cannot run the stream's query at {place}");
    let text = text.trim().trim_end_matches(';').trim_end();
    // The line break ends a comment that the query may end in.
    let from = format!("({text}\n) AS query");
    let select = format!("SELECT * FROM {from}");
    let statement = on_own_path(client, client.prepare(&select))
        .await
        .map_err(|error| failed(what(), &error))?;
    let columns = statement
        .columns()
        .iter()
        .map(|column| RawColumn {
            name: column.name().to_owned(),
            type_oid: column.type_().oid(),
            modifier: column.type_modifier(),
            nullable: true,
        })
        .collect();
    Ok(CatalogRelation {
        oid: None,
        name: "the query".to_owned(),
        kind: 'v',
        row_security: false,
        user: String::new(),
        from,
        columns: resolve(client, columns)
            .await
            .map_err(|error| failed(what(), &error))?,
        primary_key: Vec::new(),
        heap: None,
        is_table: false,
        lockable: false,
        estimated_rows: None,
    })
}

/// The columns that the user may not read.
pub async fn unreadable_columns(
    client: &Client,
    from: &str,
    columns: &[String],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT name FROM unnest($2::text[]) AS name WHERE NOT has_column_privilege($1::text::regclass, name, 'SELECT')",
            &[&from, &columns],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether an index begins with that column, so that a lower bound on it need not read the whole table.
pub async fn has_index_on(
    client: &Client,
    from: &str,
    column: &str,
) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                            WHERE i.indrelid = $1::text::regclass AND i.indisvalid AND a.attname = $2)",
            &[&from, &column],
        )
        .await?;
    Ok(row.get(0))
}

/// Adds the types to a table's columns as the log describes them. `None` if a type does not exist any more.
pub async fn typed(
    client: &Client,
    columns: &[RelationColumn],
) -> Result<Option<Vec<CatalogColumn>>> {
    let raw = columns
        .iter()
        .map(|column| RawColumn {
            name: column.name.clone(),
            type_oid: column.type_oid,
            modifier: column.modifier,
            nullable: true,
        })
        .collect();
    let resolved = resolve(client, raw)
        .await
        .map_err(|error| failed("cannot look the types of a table up", &error))?;
    Ok((resolved.len() == columns.len()).then_some(resolved))
}

/// The names of a table's columns that have, or had when they were added, a default or an identity: existing rows got a
/// value.
pub async fn columns_with_defaults(
    client: &Client,
    table: Oid,
    columns: &[String],
) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attname = ANY ($2::text[])
             AND NOT attisdropped AND (atthasdef OR atthasmissing OR attidentity <> '') ORDER BY attnum",
            &[&table, &columns],
        )
        .await
        .map_err(|error| failed("cannot look the defaults of a table up", &error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The number of rows that have NULL in a column.
pub async fn count_nulls(
    client: &Client,
    from: &str,
    column: &str,
    conditions: &[String],
) -> Result<i64, tokio_postgres::Error> {
    let mut all = vec![format!("{} IS NULL", quote(column))];
    all.extend_from_slice(conditions);
    let statement = format!(
        "SELECT pg_catalog.count(*) FROM {from} WHERE {}",
        all.join(" AND ")
    );
    let counted = on_own_path(client, client.query_one(&statement, &[])).await?;
    Ok(counted.get(0))
}

/// Runs a request with SQL that a person wrote: its names are resolved on the role's own search path.
async fn on_own_path<T>(
    client: &Client,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    client.batch_execute(OWN_PATH).await?;
    let done = work.await?;
    client.batch_execute(CATALOG_PATH).await?;
    Ok(done)
}

struct RawColumn {
    name: String,
    type_oid: Oid,
    modifier: i32,
    nullable: bool,
}

/// Resolves domains to their base types, and arrays to their elements' types.
async fn resolve(
    client: &Client,
    columns: Vec<RawColumn>,
) -> Result<Vec<CatalogColumn>, tokio_postgres::Error> {
    let oids: Vec<Oid> = columns.iter().map(|column| column.type_oid).collect();
    let modifiers: Vec<i32> = columns.iter().map(|column| column.modifier).collect();
    let rows = client
        .query(
            "WITH RECURSIVE wanted AS (
                 SELECT w.place, w.oid, w.modifier FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS w (oid, modifier, place)
             ), base AS (
                 SELECT place, oid, modifier FROM wanted
                 UNION ALL
                 SELECT b.place, t.typbasetype, CASE WHEN b.modifier = -1 THEN t.typtypmod ELSE b.modifier END
                 FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
             ), element AS (
                 SELECT b.place, t.typelem AS oid, b.modifier
                 FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typcategory = 'A' AND t.typtype = 'b' AND t.typelem <> 0
                 UNION ALL
                 SELECT e.place, t.typbasetype, CASE WHEN e.modifier = -1 THEN t.typtypmod ELSE e.modifier END
                 FROM element e JOIN pg_type t ON t.oid = e.oid WHERE t.typtype = 'd'
             )
             SELECT format_type(w.oid, w.modifier),
                    t.typname::text, t.typtype::text, t.typnamespace = 'pg_catalog'::regnamespace, b.modifier,
                    et.typname::text, et.typtype::text, et.typnamespace = 'pg_catalog'::regnamespace, e.modifier
             FROM wanted w
             JOIN base b USING (place) JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
             LEFT JOIN (element e JOIN pg_type et ON et.oid = e.oid AND et.typtype <> 'd') USING (place)
             ORDER BY w.place",
            &[&oids, &modifiers],
        )
        .await?;
    let base = |row: &tokio_postgres::Row, first: usize| -> Option<BaseType> {
        let name: Option<String> = row.get(first);
        let kind: Option<String> = row.get(first + 1);
        let builtin: Option<bool> = row.get(first + 2);
        let modifier: Option<i32> = row.get(first + 3);
        Some(BaseType {
            name: name?,
            kind: kind?.chars().next()?,
            builtin: builtin?,
            modifier: modifier?,
        })
    };
    Ok(columns
        .into_iter()
        .zip(&rows)
        .filter_map(|(column, row)| {
            Some(CatalogColumn {
                name: column.name,
                nullable: column.nullable,
                type_name: row.get(0),
                base: base(row, 1)?,
                element: base(row, 5),
            })
        })
        .collect())
}

/// The error that a table does not exist. It names a schema that has a table of that name.
async fn no_such_table(client: &Client, qualified: &str, name: &str, place: &str) -> Error {
    let fault = Error::source(format!("there is no table or view {qualified} at {place}"));
    let similar = format!(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
           AND (lower(c.relname) = lower({0}) OR lower(c.relname) LIKE lower({0}) || '%' OR lower({0}) LIKE lower(c.relname) || '%')
         ORDER BY 1 LIMIT 5",
        literal(name)
    );
    let known: Vec<String> = match client.query(&similar, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(_) => Vec::new(),
    };
    if known.is_empty() {
        fault.remedy("correct `table`, or the database's name in the source's `url`")
    } else {
        fault.remedy(format!("correct `table`; there is {}", known.join(", ")))
    }
}
