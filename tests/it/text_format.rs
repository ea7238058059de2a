//! What the server's output functions write decodes to what its send functions' bytes decode to: an extract reads binary,
//! the replication stream brings text, and a value must not depend on the way that it came.

use acequia::config::PostgresUrl;
use acequia::internals::postgres::{
    CatalogColumn, ColumnBuilder, FieldError, Server, TextForm, plan, quote, table,
};
use acequia::schema::{Column, ColumnType};
use arrow::array::ArrayRef;
use testkit::{Cluster, TestDb};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::types::{MATRIX, MATRIX_TYPES, known_type};

/// Columns that are read as a type other than their own: source type, type asked for, values.
const CONVERTED: &[(&str, &str, &[&str])] = &[
    ("bool", "text", &["true", "false"]),
    ("acuerdo", "text", &["true", "false"]),
    ("bool[]", "list<text>", &["'{t,NULL,f}'"]),
    ("bool[]", "text", &["'{t,NULL,f}'"]),
    (
        "float4",
        "float64",
        &["0.1", "'NaN'", "'-Infinity'", "1e-45"],
    ),
    ("float4[]", "list<float64>", &["'{0.1,NULL,3.4028235e38}'"]),
    (
        "numeric",
        "float64",
        &["0.1", "1e300", "-123456789.123456789", "'NaN'"],
    ),
    ("numeric[]", "list<float64>", &["'{0.1,NULL}'"]),
    ("numeric(10,2)", "decimal(20,4)", &["99999999.99", "-0.01"]),
    ("int8", "float64", &["9007199254740993", "-1"]),
    ("int8", "decimal(20,1)", &["-9223372036854775808"]),
    ("int8", "int16", &["-32768"]),
    ("int2", "int64", &["-32768"]),
    ("int2[]", "list<int64>", &["'{1,NULL,-32768}'"]),
    (
        "text",
        "decimal(20,5)",
        &["' 12.5 '", "'-1.5e3'", "'+.5'", "'7.'", "'000'"],
    ),
    (
        "text",
        "uuid",
        &[
            "'{01234567-89AB-cdef-0123-456789abcdef}'",
            "'0123456789abcdef0123456789abcdef'",
        ],
    ),
    (
        "date",
        "timestamp",
        &["'2024-02-29'", "'4713-01-01 BC'", "'infinity'"],
    ),
    ("date", "text", &["'2024-02-29'", "'4713-01-01 BC'"]),
    ("timestamptz", "text", &["'2024-10-27 02:30:00.5+02'"]),
    (
        "timestamptz[]",
        "list<text>",
        &["'{2024-10-27 02:30:00.5+02,infinity}'"],
    ),
    ("bytea[]", "list<text>", &["ARRAY['\\x00ff'::bytea]"]),
    ("jsonb", "text", &["'{\"b\": [1, null]}'"]),
    ("oid", "text", &["4294967295"]),
];

/// Values that their column's type cannot carry: both ways say so alike.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "numeric",
        &["'NaN'", "'Infinity'", "1e30", "0.0000000001", "-1e1000"],
    ),
    ("timestamp", &["'294276-12-31 23:59:59'"]),
    ("timestamptz", &["'294276-12-31 23:59:59+00'"]),
    ("int4[]", &["'{{1,2},{3,4}}'", "'[2:3]={1,2}'"]),
    ("text[]", &["'{{a},{b}}'", "'[0:0]={a}'"]),
];

/// Any field, as the bytes that came.
struct Bytes(Vec<u8>);

impl FromSql<'_> for Bytes {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A table of one row with NULLs, and of one row for each value, in a column of its type.
fn create(database: &TestDb, columns: &[(&str, &[&str])]) {
    let types: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(n, (column_type, _))| format!("c{n} {}", known_type(column_type)))
        .collect();
    let mut sql = format!(
        "SET timezone TO 'UTC'; CREATE TABLE t (n serial, {}); INSERT INTO t DEFAULT VALUES;",
        types.join(", ")
    );
    for (n, (column_type, values)) in columns.iter().enumerate() {
        let column_type = known_type(column_type);
        for value in *values {
            sql.push_str(&format!(
                "INSERT INTO t (c{n}) VALUES (CAST({value} AS {column_type}));"
            ));
        }
    }
    database
        .batch(&format!(
            "{MATRIX_TYPES} CREATE DOMAIN acuerdo AS bool; {sql}"
        ))
        .unwrap();
}

/// Does something with the columns of the table, in a session as an extract has it.
fn with_columns(database: &TestDb, each: &impl AsyncFn(&Client, usize, &CatalogColumn)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::parse(&PostgresUrl::new(database.url())).unwrap();
        let client = server.connect().await.unwrap();
        let relation = table(&client, None, "t", "here").await.unwrap();
        for (n, column) in relation.columns[1..].iter().enumerate() {
            each(&client, n, column).await;
        }
    });
}

/// The values of a column, each decoded from its binary form and from its text.
async fn both_ways(
    client: &Client,
    column: &CatalogColumn,
    wanted: Option<&ColumnType>,
) -> Vec<(Option<String>, [Result<ArrayRef, FieldError>; 2])> {
    let plan = plan(column, wanted).unwrap();
    let form = TextForm::of(column, &plan).unwrap();
    let decode = |push: &dyn Fn(&mut ColumnBuilder) -> Result<(), FieldError>| {
        let column = Column {
            id: 1,
            name: plan.spec.name.clone(),
            column_type: plan.spec.column_type.clone(),
            nullable: true,
            source_type: plan.spec.source_type.clone(),
            element_id: None,
            mask: None,
        };
        let mut builder = ColumnBuilder::new(&column, plan.wire);
        push(&mut builder)?;
        Ok(builder.finish())
    };
    let sent = client
        .query(
            &format!("SELECT {} FROM public.t ORDER BY n", plan.expression),
            &[],
        )
        .await
        .unwrap();
    let written = client
        .simple_query(&format!(
            "SELECT {} FROM public.t ORDER BY n",
            quote(&column.name)
        ))
        .await
        .unwrap();
    let written: Vec<Option<String>> = written
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(ToOwned::to_owned)),
            _ => None,
        })
        .collect();
    assert_eq!(written.len(), sent.len());
    sent.iter()
        .zip(written)
        .map(|(sent, written)| {
            let bytes: Option<Bytes> = sent.get(0);
            let from_binary =
                decode(&|builder| builder.push_binary(bytes.as_ref().map(|bytes| &bytes.0[..])));
            let from_text =
                decode(&|builder| builder.push_text(written.as_ref().map(String::as_bytes), form));
            (written, [from_binary, from_text])
        })
        .collect()
}

#[test]
fn text_and_binary_of_every_type_are_the_same_value() {
    let database = Cluster::shared().unwrap().database("text_matrix").unwrap();
    create(&database, MATRIX);
    with_columns(&database, &async |client, _, column| {
        for (written, [from_binary, from_text]) in both_ways(client, column, None).await {
            assert!(from_binary.is_ok(), "{column:?}: {from_binary:?}");
            assert_eq!(from_text, from_binary, "{written:?} of {column:?}");
        }
    });
}

#[test]
fn a_text_that_is_cast_here_is_what_the_server_casts_it_to() {
    let database = Cluster::shared().unwrap().database("text_cast").unwrap();
    let columns: Vec<(&str, &[&str])> = CONVERTED
        .iter()
        .map(|(column_type, _, values)| (*column_type, *values))
        .collect();
    create(&database, &columns);
    with_columns(&database, &async |client, n, column| {
        let wanted: ColumnType = CONVERTED[n].1.parse().unwrap();
        for (written, [from_binary, from_text]) in both_ways(client, column, Some(&wanted)).await {
            assert!(from_binary.is_ok(), "{column:?}: {from_binary:?}");
            assert_eq!(
                from_text, from_binary,
                "{written:?} of {column:?} as {wanted}"
            );
        }
    });
}

#[test]
fn text_and_binary_are_refused_for_the_same_reason() {
    let database = Cluster::shared().unwrap().database("text_refused").unwrap();
    create(&database, REFUSED);
    with_columns(&database, &async |client, n, column| {
        let mut refused = 0;
        for (written, [from_binary, from_text]) in both_ways(client, column, None).await {
            assert_eq!(from_text, from_binary, "{written:?} of {column:?}");
            refused += usize::from(from_text.is_err());
        }
        assert_eq!(refused, REFUSED[n].1.len(), "{column:?}");
    });
}
