//! What is PostgreSQL's alone about a table: grants, views, readers, names, `jsonb`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use super::*;
use crate::evolution::assign_field_ids;
use crate::schema::ColumnSpec;

const NONE: [&str; 0] = [];

fn courses(names: &[&str]) -> Load {
    Load::full("cursos", &[("nombre", "text", texts(names.to_vec()))])
}

#[test]
fn a_replacement_keeps_grants_views_and_indices() {
    let mut fixture = Fixture::<Database>::new();
    let role = format!("lectora_{}", fixture.place.database().name());
    fixture.load(&courses(&["a"]));
    fixture.sql(&format!(
        "CREATE ROLE {role}; GRANT SELECT ON replica.cursos TO {role}; \
         CREATE INDEX por_nombre ON replica.cursos (nombre); \
         CREATE VIEW replica.vista AS SELECT upper(nombre) AS n FROM replica.cursos"
    ));
    fixture.load(&courses(&["b", "c"]).with("horas", "int32", ints([1, 2])));
    assert_eq!(
        fixture.query("SELECT n FROM replica.vista ORDER BY 1"),
        ["B", "C"]
    );
    assert_eq!(
        fixture.query(&format!(
            "SELECT has_table_privilege('{role}', 'replica.cursos', 'SELECT'), to_regclass('replica.por_nombre')"
        )),
        ["t|replica.por_nombre"]
    );
    fixture.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_column_of_the_users_stays() {
    let mut fixture = Fixture::<Database>::new();
    fixture.load(&courses(&["a"]).with("horas", "int32", ints([1])));
    fixture.sql(
        "ALTER TABLE replica.cursos ADD COLUMN mayus text GENERATED ALWAYS AS (upper(nombre)) STORED",
    );
    fixture.load(&courses(&["b"]).with("horas", "int32", ints([2])));
    fixture.load(&courses(&["c"]).full_refresh());
    assert_eq!(
        fixture.query("SELECT nombre, mayus FROM replica.cursos"),
        ["c|C"]
    );
    assert_eq!(
        fixture.columns("cursos"),
        ["_acequia_load_id|text", "mayus|text", "nombre|text"]
    );
}

#[test]
fn a_reader_never_sees_the_table_empty() {
    let mut fixture = Fixture::<Database>::new();
    fixture.load(&courses(&["a", "b"]));
    let mut reader = client(&fixture.place.url);
    // Its snapshot is older than the load, and it has not touched the table yet.
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .unwrap();
    assert_eq!(
        rows(&mut reader, "SELECT 'it has a snapshot'"),
        ["it has a snapshot"]
    );
    fixture.load(&courses(&["c"]).with("horas", "int32", ints([1])));
    assert_eq!(
        rows(&mut reader, "SELECT nombre FROM replica.cursos ORDER BY 1"),
        ["a", "b"]
    );
    reader.batch_execute("COMMIT").unwrap();
    assert_eq!(
        rows(&mut reader, "SELECT nombre FROM replica.cursos"),
        ["c"]
    );
}

#[test]
fn readers_beside_a_load_see_all_or_nothing_of_it() {
    let mut fixture = Fixture::<Database>::new();
    let load = |n: i64| Load::full("cursos", &[("n", "int64", longs(vec![n; 20_000]))]);
    fixture.load(&load(0));
    let url = fixture.place.url.clone();
    let reader = std::thread::spawn(move || {
        let mut client = client(&url);
        let mut seen = BTreeSet::new();
        let mut reads = 0;
        // On a busy machine forty reads may all come before a load.
        while reads < 40 || seen.len() < 2 {
            reads += 1;
            seen.extend(rows(
                &mut client,
                "SELECT count(*), count(DISTINCT n), min(n) FROM replica.cursos",
            ));
        }
        seen
    });
    let mut last = 0;
    while !reader.is_finished() && last < 1_000 {
        last += 1;
        fixture.load(&load(last));
    }
    let seen = reader.join().unwrap();
    assert!(seen.len() > 1, "{seen:?}");
    assert!(
        seen.iter().all(|row| row.starts_with("20000|1|")),
        "{seen:?}"
    );
}

#[test]
fn a_view_that_stands_in_the_way_of_a_wider_type_is_named() {
    let mut fixture = Fixture::<Database>::new();
    let load = |before, array: ArrayRef, kind: &str| {
        Load::sales(Disposition::Merge, before, &[(1, 1, 1)]).with("importe", kind, array)
    };
    fixture.load(&load(None, ints([1]), "int32"));
    fixture.sql("CREATE VIEW replica.vista AS SELECT importe FROM replica.ventas");
    let wide = load(Some(1), longs([5_000_000_000]), "int64");
    let error = fixture.try_load(&wide).unwrap_err().report();
    assert!(
        error.contains("column `importe` of table replica.ventas")
            && error.contains("vista")
            && error.contains("create it anew"),
        "{error}"
    );
    fixture.sql("DROP VIEW replica.vista");
    assert_eq!(fixture.load(&wide), (0, 1));
}

#[test]
fn names_that_differ_in_their_case_are_different_names() {
    let mut fixture = Fixture::<Database>::new();
    let pair = Load::full(
        "x",
        &[
            ("Nombre", "int32", ints([1])),
            ("nombre", "int32", ints([2])),
        ],
    );
    fixture.load(&pair);
    let mut upper = Load::full("y", &[("n", "int32", ints([7]))]);
    "X".clone_into(&mut upper.table);
    fixture.load(&upper);
    assert_eq!(
        fixture.query("SELECT \"Nombre\", nombre FROM replica.x"),
        ["1|2"]
    );
    assert_eq!(fixture.query("SELECT n FROM replica.\"X\""), ["7"]);
}

#[test]
fn names_that_postgresql_does_not_take_are_refused() {
    let mut fixture = Fixture::<Database>::new();
    let before = fixture.everything();
    let long = format!("{}ñ", "a".repeat(62));
    for name in ["ctid", "_acequia_load_id", &long] {
        let load = Load::full(
            "x",
            &[("a", "int32", ints([1])), (name, "int32", ints([1]))],
        );
        let error = fixture.try_load(&load).unwrap_err().report();
        assert!(error.contains(name) && error.contains("exclude"), "{error}");
    }
    assert_eq!(fixture.everything(), before);
    let longest = "ñ".repeat(31);
    let mut load = Load::full("x", &[(&longest, "int32", ints([1]))]);
    load.table = format!("{longest}x");
    fixture.load(&load);
    assert_eq!(
        fixture.query(&format!("SELECT \"{longest}\" FROM replica.\"{longest}x\"")),
        ["1"]
    );
}

/// Loads rows whose column `v` the source calls that type, one for each text.
fn load_json(
    fixture: &mut Fixture<Database>,
    before: Option<i64>,
    source_type: &str,
    json: &str,
) -> Result<Loaded> {
    let id = before.unwrap_or(0) + 1;
    let load = Load::sales(Disposition::Merge, before, &[(id, 1, id)]);
    let mut staged = fixture.stage(&load.with("v", "json", texts([json])));
    let column = staged.manifest.schema.columns.last_mut().unwrap();
    source_type.clone_into(&mut column.source_type);
    fixture.db.load(&staged)
}

#[test]
fn jsonb_goes_back_to_jsonb_until_other_json_comes() {
    let mut fixture = Fixture::<Database>::new();
    load_json(&mut fixture, None, "jsonb", r#"{"a": 1}"#).unwrap();
    load_json(&mut fixture, Some(1), "jsonb", "1.50").unwrap();
    let query = "SELECT pg_typeof(v), v::text FROM replica.ventas ORDER BY id";
    assert_eq!(fixture.query(query), [r#"jsonb|{"a": 1}"#, "jsonb|1.50"]);
    // What jsonb would alter is kept from it, and what comes after.
    load_json(&mut fixture, Some(2), "json", r#"{"b":1,"b":2}"#).unwrap();
    load_json(&mut fixture, Some(3), "jsonb", r#"{"c": 1}"#).unwrap();
    assert_eq!(
        fixture.query(query),
        [
            r#"json|{"a": 1}"#,
            "json|1.50",
            r#"json|{"b":1,"b":2}"#,
            r#"json|{"c": 1}"#
        ]
    );
}

#[test]
fn text_that_postgresql_cannot_hold_is_refused_by_name() {
    let mut fixture = Fixture::<Database>::new();
    let load = |text: &str| Load::full("x", &[("nota", "text", texts([text]))]);
    fixture.load(&load("a"));
    let before = fixture.everything();
    let error = fixture.try_load(&load("a\0secreto")).unwrap_err().report();
    assert!(
        error.contains("column `nota`")
            && error.contains("NUL character")
            && error.contains("exclude = [\"nota\"]")
            && !error.contains("secreto"),
        "{error}"
    );
    assert_eq!(fixture.everything(), before);
}

#[test]
fn a_key_has_a_unique_index_that_is_made_once_and_follows_the_key() {
    let mut fixture = Fixture::<Database>::new();
    let indices = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'replica' AND tablename = 'ventas' ORDER BY 1";
    let load = |before, id| Load::sales(Disposition::Merge, before, &[(id, 1, id)]);
    fixture.load(&load(None, 1));
    let made = fixture.query(indices);
    assert!(
        made.len() == 1 && made[0].contains("UNIQUE") && made[0].ends_with("(id)"),
        "{made:?}"
    );
    fixture.load(&load(Some(1), 2));
    assert_eq!(fixture.query(indices), made);
    // A user's own does as well.
    fixture.sql(
        "DROP INDEX replica.\"_acequia_key_0\""
            .replace("_acequia_key_0", name(&made[0]))
            .as_str(),
    );
    fixture.sql("CREATE UNIQUE INDEX propio ON replica.ventas (id)");
    fixture.load(&load(Some(2), 3));
    assert_eq!(fixture.query(indices).len(), 1);
    fixture.sql("DROP INDEX replica.propio");
    fixture.load(&load(Some(3), 4));
    let mut other = load(Some(4), 5);
    other.key = vec!["version".to_owned(), "id".to_owned()];
    fixture.load(&other);
    let made = fixture.query(indices);
    assert!(
        made.len() == 1 && made[0].ends_with("(version, id)"),
        "{made:?}"
    );
    let mut append = load(None, 6);
    append.disposition = Disposition::Append;
    fixture.load(&append.full_refresh());
    assert_eq!(fixture.query(indices), NONE);
}

/// The index's name in its definition.
fn name(definition: &str) -> &str {
    definition.split_whitespace().nth(3).unwrap()
}

#[test]
fn a_key_that_was_said_to_be_unique_and_is_not_is_refused() {
    let mut fixture = Fixture::<Database>::new();
    for rows in [vec![(1, 1, 1), (1, 2, 2)], vec![(1, 1, 1)]] {
        let load = Load::sales(Disposition::Merge, None, &rows);
        let outcome = fixture.try_load(&load);
        assert_eq!(outcome.is_err(), rows.len() > 1);
    }
    let error = fixture
        .try_load(&Load::sales(
            Disposition::Merge,
            Some(1),
            &[(2, 1, 2), (2, 2, 3)],
        ))
        .unwrap_err()
        .report();
    assert!(error.contains("a key comes more than once"), "{error}");
}

#[test]
fn a_table_that_has_a_key_twice_is_told_when_it_is_to_be_merged() {
    let mut fixture = Fixture::<Database>::new();
    let load = |disposition, before, version| Load::sales(disposition, before, &[(1, 1, version)]);
    fixture.load(&load(Disposition::Append, None, 1));
    fixture.load(&load(Disposition::Append, Some(1), 2));
    let error = fixture
        .try_load(&load(Disposition::Merge, Some(2), 3))
        .unwrap_err()
        .report();
    assert!(
        error.contains("table replica.ventas holds several rows with the same key")
            && error.contains("--full-refresh"),
        "{error}"
    );
    fixture.load(&load(Disposition::Merge, None, 3).full_refresh());
    assert_eq!(fixture.query("SELECT version FROM replica.ventas"), ["3"]);
}

#[test]
fn huge_values_arrive_whole() {
    let mut fixture = Fixture::<Database>::new();
    // More than a chunk, more than a batch: and small rows beside it.
    let huge = "ñ".repeat(20 << 20);
    let values: Vec<Option<&str>> = vec![Some("a"), Some(&huge), None, Some(&huge), Some("z")];
    let array: ArrayRef = Arc::new(StringArray::from(values));
    let load = Load::full("x", &[("v", "text", array), ("n", "int64", longs(0..5))]);
    assert_eq!(fixture.load(&load), (5, 0));
    assert_eq!(
        fixture.query("SELECT n, octet_length(v), md5(v) = md5(repeat('ñ', 20 << 20)) FROM replica.x ORDER BY n"),
        ["0|1|f", "1|41943040|t", "2|NULL|NULL", "3|41943040|t", "4|1|f"]
    );
}

#[test]
fn a_part_may_have_columns_that_the_manifest_has_not() {
    let mut fixture = Fixture::<Database>::new();
    let load = Load::full(
        "x",
        &[
            ("a", "int32", ints([1])),
            ("b", "int32", ints([2])),
            ("c", "int32", ints([3])),
        ],
    );
    let mut staged = fixture.stage(&load);
    let spec = |name: &str| ColumnSpec {
        name: name.to_owned(),
        column_type: ColumnType::Int32,
        nullable: true,
        source_type: String::new(),
    };
    // And in another order.
    staged.manifest.schema = assign_field_ids(None, vec![spec("c"), spec("a")]);
    fixture.db.load(&staged).unwrap();
    assert_eq!(fixture.query("SELECT c, a FROM replica.x"), ["3|1"]);
    assert_eq!(fixture.columns("x").len(), 3);
}
