use anyhow::{Context as _, Result, ensure};
use testkit::oracle::{self, Column, ColumnChecksum, Dialect, Kind, ROWS};
use testkit::{Cluster, TestDb};

fn db() -> Result<TestDb> {
    let db = Cluster::shared()?.database("oraculo")?;
    db.batch(
        "CREATE DOMAIN importe AS numeric(12,3);
         CREATE TYPE tono AS ENUM ('rojo', 'azul');
         CREATE TABLE todo (
             i2 int2, i8 int8, b bool, n numeric(10,2), n0 numeric, d importe, f4 float4, f8 float8, t text, c char(5),
             e tono, x bytea, fecha date, hora time, ts timestamp, tz timestamptz, u uuid, j jsonb, ai int[], at text[],
             iv interval, \"la \"\"Columna\" text
         );
         INSERT INTO todo VALUES
             (1, -9223372036854775808, true, 12.50, 0.000000001, 1.5, 1.5, '-0.0', 'año', 'ab', 'rojo', '\\xdeadBEEF',
              '0001-01-01', '24:00:00', '2024-02-29 12:34:56.789012', '1969-12-31 23:59:59.999999+00',
              'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{\"b\": 1, \"a\": [1.50]}', '{1,NULL,3}', '{\"\",\"a,b\",NULL}',
              '1 day 02:03:04', 'x'),
             (-1, 9223372036854775807, false, -99999999.99, 1, -1.5, 'NaN', 'NaN', '', '', 'azul', '',
              'infinity', '00:00:00.000001', '-infinity', 'infinity', NULL, 'null', '{}', '{}', NULL, NULL),
             (NULL, NULL, NULL, NULL, NULL, NULL, '-infinity', 1e300, NULL, NULL, NULL, NULL, '9999-12-31', NULL,
              '9999-12-31 23:59:59.999999', '0001-01-01 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL);",
    )?;
    Ok(db)
}

fn line<'a>(sums: &'a [ColumnChecksum], column: &str) -> Result<&'a ColumnChecksum> {
    sums.iter()
        .find(|sum| sum.column == column)
        .with_context(|| format!("no line {column}"))
}

#[test]
fn kinds_are_found_from_the_catalogue() -> Result<()> {
    let columns = oracle::columns_of(&mut db()?.client()?, "todo")?;
    let kind = |name: &str| {
        columns
            .iter()
            .find(|column| column.name == name)
            .map(|column| column.kind.clone())
    };
    ensure!(columns.len() == 22);
    ensure!(kind("n") == Some(Kind::Numeric { scale: 2 }));
    ensure!(kind("n0") == Some(Kind::Numeric { scale: 9 }));
    ensure!(kind("d") == Some(Kind::Numeric { scale: 3 }));
    ensure!(kind("e") == Some(Kind::Text) && kind("iv") == Some(Kind::Text));
    ensure!(kind("ai") == Some(Kind::List(Box::new(Kind::Integer))));
    ensure!(oracle::columns_of(&mut db()?.client()?, "nada").is_err());
    Ok(())
}

#[test]
fn a_checksum_sees_every_value_but_not_the_order() -> Result<()> {
    let db = db()?;
    let mut client = db.client()?;
    let columns = oracle::columns_of(&mut client, "todo")?;
    let before = oracle::checksums(&mut client, "todo", &columns)?;
    ensure!(before.len() == 23 && before.iter().all(|sum| sum.rows == 3));
    ensure!(line(&before, "t")?.non_null == 2 && line(&before, "f8")?.non_null == 3);
    client.batch_execute("CREATE TABLE vuelta AS SELECT * FROM todo ORDER BY f8 DESC, i2 DESC")?;
    ensure!(before == oracle::checksums(&mut client, "vuelta", &columns)?);

    for (change, column) in [
        ("f8 = 0.0 WHERE f8 = 0", "f8"),
        ("c = 'abc' WHERE c = 'ab'", "c"),
        ("t = NULL WHERE t = ''", "t"),
        ("n0 = 0.0000000011 WHERE n0 < 1", "n0"),
        (
            "ts = ts + interval '1 microsecond' WHERE isfinite(ts)",
            "ts",
        ),
        ("fecha = '-infinity' WHERE fecha = 'infinity'", "fecha"),
        ("at = '{\"\",a,b,NULL}' WHERE cardinality(at) > 0", "at"),
    ] {
        let mut tx = client.transaction()?;
        tx.batch_execute(&format!("UPDATE vuelta SET {change}; ALTER TABLE todo RENAME TO antes; ALTER TABLE vuelta RENAME TO todo"))?;
        tx.commit()?;
        let after = oracle::checksums(&mut client, "todo", &columns)?;
        for (a, b) in before.iter().zip(&after) {
            let same = a == b;
            ensure!(
                same != (a.column == column || a.column == ROWS),
                "{change}: {} same: {same}",
                a.column
            );
        }
        client.batch_execute(
            "DROP TABLE todo; ALTER TABLE antes RENAME TO todo; CREATE TABLE vuelta AS TABLE todo",
        )?;
    }
    Ok(())
}

#[test]
fn values_in_the_wrong_rows_are_noticed() -> Result<()> {
    let db = Cluster::shared()?.database("filas")?;
    db.batch(
        "CREATE TABLE a (x int, y text); INSERT INTO a VALUES (1, 'a'), (2, 'b');
         CREATE TABLE b (x int, y text); INSERT INTO b VALUES (1, 'b'), (2, 'a');",
    )?;
    let columns = [
        Column::new("x", Kind::Integer),
        Column::new("y", Kind::Text),
    ];
    let (a, b) = (
        oracle::checksums(&mut db.client()?, "a", &columns)?,
        oracle::checksums(&mut db.client()?, "b", &columns)?,
    );
    ensure!(line(&a, "x")? == line(&b, "x")? && line(&a, "y")? == line(&b, "y")?);
    ensure!(line(&a, ROWS)? != line(&b, ROWS)?);
    Ok(())
}

#[test]
fn an_empty_table_sums_to_nothing() -> Result<()> {
    let db = Cluster::shared()?.database("vacia")?;
    db.batch("CREATE TABLE a (x int)")?;
    let sums = oracle::checksums(&mut db.client()?, "a", &[Column::new("x", Kind::Integer)])?;
    ensure!(
        sums.iter()
            .all(|sum| sum.rows == 0 && sum.non_null == 0 && sum.sum == "0"),
        "{sums:?}"
    );
    Ok(())
}

#[test]
fn the_first_sixty_bits_of_the_md5_are_summed() -> Result<()> {
    let db = Cluster::shared()?.database("suma")?;
    db.batch("CREATE TABLE a (x text); INSERT INTO a VALUES ('a'), (NULL), ('b')")?;
    let sums = oracle::checksums(&mut db.client()?, "a", &[Column::new("x", Kind::Text)])?;
    // md5('a') = 0cc175b9c0f1b6a8…, md5('b') = 92eb5ffee6ae2fec…
    let expected = 0x0cc_175b_9c0f_1b6a_u64 + 0x92e_b5ff_ee6a_e2fe_u64;
    ensure!(line(&sums, "x")?.sum == expected.to_string());
    Ok(())
}

#[test]
fn both_dialects_name_the_same_columns() {
    let columns = [
        Column::new("x", Kind::Float8),
        Column::new("l", Kind::List(Box::new(Kind::Bytes))),
    ];
    let duckdb = oracle::checksum_sql(Dialect::DuckDb, "replica.a", &columns);
    assert!(
        duckdb.contains("FROM replica.a")
            && duckdb.contains("AS BIT")
            && duckdb.contains("FOR e IN \"l\"")
    );
    assert!(duckdb.contains("SELECT column_name, row_count, non_null, checksum FROM"));
}
