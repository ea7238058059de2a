//! Every type comes through exactly. PostgreSQL is the oracle: checksums of canonical texts, computed in both.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{Project, files_below, postgres_major};

pub const T: &str = r#"
[streams.t]
source = "operativa"
table = "t"
mode = "full"
"#;

/// Each type with its edges. NULL is added to every one.
pub const MATRIX: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767", "0"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["0", "4294967295"]),
    (
        "float4",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "3.4028235e38",
            "1.4e-45",
            "0.1",
        ],
    ),
    (
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "1.7976931348623157e308",
            "5e-324",
            "0.1",
        ],
    ),
    (
        "numeric(10,2)",
        &["99999999.99", "-99999999.99", "0", "0.01"],
    ),
    (
        "numeric(38,0)",
        &[
            "99999999999999999999999999999999999999",
            "-99999999999999999999999999999999999999",
        ],
    ),
    (
        "numeric(38,38)",
        &[
            "0.99999999999999999999999999999999999999",
            "-0.00000000000000000000000000000000000001",
        ],
    ),
    ("numeric(5,-2)", &["1234500", "-9999900"]),
    ("numeric(3,5)", &["0.00999", "-0.00001"]),
    (
        "numeric",
        &[
            "0",
            "-0.000000001",
            "99999999999999999999999999999.999999999",
            "10000",
            "0.0001",
            "1e20",
        ],
    ),
    (
        "text",
        &[
            "''",
            "' '",
            "'ñ€𝄞'",
            "E'a\\nb\\tc\\\\'",
            "'NULL'",
            "repeat('largo ', 200000)",
        ],
    ),
    ("varchar(5)", &["'abcde'", "''"]),
    ("char(5)", &["'ab'", "''"]),
    ("name", &["'un_nombre'"]),
    (
        "bytea",
        &["''", "'\\x00ff'", "decode(repeat('00ff', 50000), 'hex')"],
    ),
    (
        "date",
        &[
            "'0001-01-01'",
            "'9999-12-31'",
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "'infinity'",
            "'-infinity'",
            "'2024-02-29'",
        ],
    ),
    ("time", &["'00:00'", "'23:59:59.999999'", "'24:00:00'"]),
    (
        "timestamp",
        &[
            "'0001-01-01'",
            "'9999-12-31 23:59:59.999999'",
            "'4713-01-01 BC'",
            "'294246-12-31 23:59:59.999999'",
            "'infinity'",
            "'-infinity'",
            "'1969-12-31 23:59:59.999999'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'0001-01-01 00:00+00'",
            "'9999-12-31 23:59:59.999999+00'",
            "'infinity'",
            "'-infinity'",
            "'2024-10-27 02:30:00+02'",
        ],
    ),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'01234567-89ab-cdef-0123-456789abcdef'",
        ],
    ),
    (
        "json",
        &[
            "'{\"b\": 1,  \"a\":[1.50, 1e400], \"b\":2}'",
            "'null'",
            "'\"\"'",
        ],
    ),
    (
        "jsonb",
        &[
            "'{\"b\": 1, \"a\": [12345678901234567890.123456789012345678901234567890]}'",
            "'null'",
            "'[]'",
        ],
    ),
    ("int4[]", &["'{}'", "'{1,NULL,-3}'", "'{NULL}'"]),
    ("int8[]", &["'{9223372036854775807}'"]),
    ("oid[]", &["'{4294967295}'"]),
    ("bool[]", &["'{t,f,NULL}'"]),
    ("float8[]", &["'{NaN,Infinity,-0,0.1}'"]),
    ("numeric(10,2)[]", &["'{1.25,NULL}'"]),
    ("numeric[]", &["'{1.5,-0.000000001}'"]),
    ("text[]", &["'{\"\",NULL,\"NULL\",\"a,b\",\"{\"}'"]),
    ("varchar(5)[]", &["'{ab,cde}'"]),
    ("bytea[]", &["ARRAY['\\x00'::bytea, NULL, '\\xff']"]),
    ("date[]", &["'{2024-02-29,infinity,-infinity}'"]),
    ("time[]", &["'{24:00:00,00:00:00.000001}'"]),
    ("timestamp[]", &["'{0001-01-01,infinity}'"]),
    ("timestamptz[]", &["'{2024-10-27 02:30:00+02}'"]),
    ("uuid[]", &["'{01234567-89ab-cdef-0123-456789abcdef,NULL}'"]),
    ("jsonb[]", &["ARRAY['{\"a\": 1}'::jsonb, NULL]"]),
    (
        "interval",
        &[
            "'1 year 2 mons -3 days 04:05:06.789'",
            "'-00:00:01'",
            "'178000000 years'",
        ],
    ),
    ("timetz", &["'24:00:00-15:59'", "'00:00:00.000001+15:59'"]),
    ("money", &["'-92233720368547758.08'", "12.34"]),
    ("inet", &["'192.168.0.1/24'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit(3)", &["B'101'"]),
    ("varbit", &["B''", "B'10101'"]),
    (
        "xml",
        &[
            "'<a b=\"c\">d</a>'",
            "'<?xml version=\"1.0\" encoding=\"UTF-8\"?><a/>'",
        ],
    ),
    ("point", &["'(1.5,-2)'"]),
    ("polygon", &["'((0,0),(1,1),(2,0))'"]),
    ("tsvector", &["'el gato'"]),
    ("tsquery", &["'gato & perro'"]),
    ("int4range", &["'[1,5)'", "'empty'"]),
    ("tstzrange", &["'[2024-01-01 00:00+00,)'"]),
    ("int4multirange", &["'{[1,3),[5,9)}'"]),
    ("\"char\"", &["'a'"]),
    ("regclass", &["'pg_class'"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("interval[]", &["'{1 day,02:00}'"]),
    ("animo", &["'alegre'", "'muy triste'"]),
    ("animo[]", &["'{alegre,NULL}'"]),
    ("precio", &["12.50"]),
    ("precio[]", &["'{12.50,1}'"]),
    ("par", &["ROW(1, 'x,\"y')::par"]),
    ("citext", &["'MiXto'"]),
    ("hstore", &["'a=>1,b=>NULL'"]),
];

/// The types of the matrix that are not the server's own.
pub const MATRIX_TYPES: &str = "CREATE EXTENSION citext; CREATE EXTENSION hstore;
     CREATE TYPE animo AS ENUM ('alegre', 'muy triste');
     CREATE DOMAIN importe AS numeric(8,2); CREATE DOMAIN precio AS importe CHECK (VALUE > 0);
     CREATE TYPE par AS (a int, b text);";

/// A type of the matrix, as the tests' servers know it: before PostgreSQL 15, a scale lies between 0 and the precision.
pub fn known_type(column_type: &str) -> &str {
    match column_type {
        "numeric(5,-2)" if postgres_major() < 15 => "numeric(7,0)",
        "numeric(3,5)" if postgres_major() < 15 => "numeric(5,5)",
        known => known,
    }
}

/// Makes the table `t`, with a row for each value of the matrix and one of NULLs.
pub fn fill_matrix(project: &Project) {
    let database = project.source.name().to_owned();
    project
        .source
        .batch(&format!(
            "ALTER DATABASE {database} SET timezone TO 'UTC'; {MATRIX_TYPES}"
        ))
        .unwrap();
    let columns: Vec<String> = (0..MATRIX.len())
        .map(|n| format!("c{n} {}", known_type(MATRIX[n].0)))
        .collect();
    let mut sql = format!("CREATE TABLE t (id int, {});", columns.join(", "));
    for (n, (column_type, values)) in MATRIX.iter().enumerate() {
        let column_type = known_type(column_type);
        for value in *values {
            sql.push_str(&format!(
                "INSERT INTO t (id, c{n}) VALUES ({n}, CAST({value} AS {column_type}));"
            ));
        }
    }
    sql.push_str("INSERT INTO t (id) VALUES (-1);");
    project.source.batch(&sql).unwrap();
}

/// connectorx decodes by itself, so it is the oracle of our own reader, and the other way round.
#[test]
fn both_readers_give_equal_batches() {
    let source = |name: &str| {
        format!(
            "[sources.{name}]\nkind = \"postgres\"\nurl = \"${{OPERATIVA_URL}}\"\nreader = \"{name}\"\n
             [streams.{name}]\nsource = \"{name}\"\ntable = \"t\"\nmode = \"full\"\n"
        )
    };
    let streams = [source("copy"), source("connectorx")].concat();
    let project = Project::new("lectores", &streams);
    fill_matrix(&project);
    project.run(&[]);
    let [copied, oracle] = ["copy", "connectorx"].map(|stream| batches(&project.loads(stream)[0]));
    assert!(copied.iter().map(RecordBatch::num_rows).sum::<usize>() > MATRIX.len());
    assert_eq!(copied, oracle);
}

/// What the parts of a load hold.
fn batches(load: &Path) -> Vec<RecordBatch> {
    let parts = files_below(load).into_iter();
    parts
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "parquet")
        })
        .flat_map(|part| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(part).unwrap());
            reader.unwrap().build().unwrap().map(Result::unwrap)
        })
        .collect()
}

#[test]
fn every_type_arrives_with_its_edges() {
    let project = Project::new("matrix", T).with_warehouse();
    fill_matrix(&project);
    project.run(&["--destination", "almacen"]);
    project.assert_same_in_warehouse("t");
    assert_types_go_back(&project);
    project.run(&[]);
    project.assert_same("t");
    let types = project
        .value("SELECT string_agg(DISTINCT data_type, ' ' ORDER BY data_type) FROM duckdb_columns() WHERE table_name = 't'")
        .unwrap();
    for expected in [
        "BLOB",
        "DECIMAL(38,9)",
        "JSON",
        "TIME",
        "TIMESTAMP WITH TIME ZONE",
        "UUID",
        "UUID[]",
        "DECIMAL(10,2)[]",
    ] {
        assert!(types.contains(expected), "{expected} is not in {types}");
    }
}

/// Every type of the table in docs/types.md is itself again, and all others are text.
fn assert_types_go_back(project: &Project) {
    let types = project
        .warehouse()
        .value(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ') FROM pg_attribute
             WHERE attrelid = 'replica.t'::regclass AND attname ~ '^c[0-9]+$'",
        )
        .unwrap()
        .unwrap();
    let types: std::collections::HashSet<&str> = types.split(", ").collect();
    for (n, (column_type, _)) in MATRIX.iter().enumerate() {
        let (element, array) = column_type
            .strip_suffix("[]")
            .map_or((*column_type, ""), |element| (element, "[]"));
        let back = match element {
            "bool" => "boolean",
            "int2" => "smallint",
            "int4" => "integer",
            "int8" | "oid" => "bigint",
            "float4" => "real",
            "float8" => "double precision",
            "numeric" => "numeric(38,9)",
            "numeric(5,-2)" => "numeric(7,0)",
            "numeric(3,5)" => "numeric(5,5)",
            "precio" => "numeric(8,2)",
            "time" => "time without time zone",
            "timestamp" => "timestamp without time zone",
            "timestamptz" => "timestamp with time zone",
            "bytea" | "date" | "uuid" | "json" | "jsonb" => element,
            numeric if numeric.starts_with("numeric(") => numeric,
            _ => "text",
        };
        // An array of what has no list of its own is text as a whole.
        let array = if element == "interval" { "" } else { array };
        let expected = format!("c{n} {back}{array}");
        assert!(
            types.contains(expected.as_str()),
            "{column_type}: {expected} is not in {types:?}"
        );
    }
}

/// A row of the property test. Numbers that are not NULL come from their whole range.
type Row = (
    (Option<i16>, Option<i32>, Option<i64>, Option<bool>),
    (Option<f32>, Option<f64>, Option<String>, Option<Vec<u8>>),
    (Option<i64>, Option<i64>, Option<u128>, Option<i64>),
    Option<Vec<Option<i32>>>,
);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = "[^\\x00]{0,40}";
    let micros = -200_000_000_000_000_000_i64..250_000_000_000_000_000;
    let row = (
        (
            any::<Option<i16>>(),
            any::<Option<i32>>(),
            any::<Option<i64>>(),
            any::<Option<bool>>(),
        ),
        (
            proptest::option::of(proptest::num::f32::ANY),
            proptest::option::of(proptest::num::f64::ANY),
            proptest::option::of(text),
            proptest::option::of(vec(any::<u8>(), 0..60)),
        ),
        (
            proptest::option::of(micros.clone()),
            any::<Option<i64>>(),
            any::<Option<u128>>(),
            proptest::option::of(0_i64..=86_400_000_000),
        ),
        proptest::option::of(vec(any::<Option<i32>>(), 0..6)),
    );
    vec(row, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_of_any_row_is_altered(rows in rows()) {
        let project = Project::new("property", T);
        let mut client = project.source.client().unwrap();
        client
            .batch_execute(
                "CREATE TABLE t (a int2, b int4, c int8, d bool, e float4, f float8, g text, h bytea,
                                 i timestamp, j timestamptz, k numeric(19,4), l numeric, m uuid, n time, o date, p int4[])",
            )
            .unwrap();
        let mut transaction = client.transaction().unwrap();
        let insert = transaction
            .prepare(
                "INSERT INTO t SELECT $1, $2, $3, $4, $5, $6, $7, $8,
                     timestamp 'epoch' + $9::int8 / 3600000000 * interval '1 hour' + $9 % 3600000000 * interval '1 microsecond',
                     timestamptz 'epoch' + $9 / 3600000000 * interval '1 hour' + $9 % 3600000000 * interval '1 microsecond',
                     $10::int8::numeric / 10000, $10::int8::numeric / 1000000000, $11::text::uuid,
                     ($12::int8 * interval '1 microsecond')::time,
                     date '1970-01-01' + ($2 % 2000000), $13",
            )
            .unwrap();
        for ((a, b, c, d), (e, f, g, h), (i, k, m, n), p) in &rows {
            let uuid = m.map(|bits| uuid::Uuid::from_u128(bits).to_string());
            transaction
                .execute(&insert, &[a, b, c, d, e, f, g, h, i, k, &uuid, n, p])
                .unwrap();
        }
        transaction.commit().unwrap();
        project.run(&[]);
        project.assert_same("t");
    }
}
