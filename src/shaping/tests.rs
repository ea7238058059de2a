use arrow::array::Int64Array;

use super::*;
use crate::evolution::assign_field_ids;

fn spec(name: &str, column_type: ColumnType) -> ColumnSpec {
    ColumnSpec {
        name: name.to_owned(),
        column_type,
        nullable: false,
        source_type: "x".to_owned(),
    }
}

fn shaping(renames: &[(&str, &str)], masks: &[(&str, &str)]) -> Shaping {
    let own = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
    Shaping {
        renames: renames.iter().map(own).collect(),
        masks: masks
            .iter()
            .map(|(name, mask)| ((*name).to_owned(), Mask::parse(mask).unwrap()))
            .collect(),
        ..Shaping::default()
    }
}

fn columns() -> Vec<ColumnSpec> {
    vec![
        spec("id", ColumnType::Int64),
        spec("email", ColumnType::Text),
        spec("n", ColumnType::Int64),
    ]
}

fn check(shaping: &Shaping) -> Result<()> {
    shaping.check(Described {
        columns: &columns(),
        key: &["id".to_owned()],
        fixed: &[],
    })
}

#[test]
fn a_batch_has_the_names_types_and_field_ids_of_its_schema() {
    let shaping = shaping(
        &[("email", "correo"), ("n", "numero")],
        &[("email", "redact"), ("id", "sha256")],
    );
    check(&shaping).unwrap();
    let mut schema = assign_field_ids(None, shaping.specs(&columns()));
    shaping.mark(&mut schema, &columns());
    let source = schema.as_source();
    assert_eq!(source, {
        let mut plain = assign_field_ids(None, columns());
        plain
            .columns
            .iter_mut()
            .zip(&source.columns)
            .for_each(|(one, other)| one.id = other.id);
        plain
    });
    let batch = RecordBatch::try_new(
        source.arrow(),
        vec![
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(StringArray::from(vec!["ana@x.es"])),
            Arc::new(Int64Array::from(vec![7])),
        ],
    )
    .unwrap();
    let shaped = shaping.batch(batch).unwrap();
    assert_eq!(shaped.schema(), schema.arrow());
    assert!(!format!("{shaped:?}").contains("ana"), "{shaped:?}");
    assert_eq!(shaping.to_table(source), schema);
    let told = serde_json::to_string(&schema).unwrap();
    assert!(told.contains("\"mask\":\"redact\""), "{told}");
}

#[test]
fn what_cannot_be_is_refused() {
    for (renames, masks, expected) in [
        (&[("nada", "x")][..], &[][..], "`nada`"),
        (&[("email", "n")], &[], "one name"),
        (&[("email", "N")], &[], "one name"),
        (&[], &[("nada", "null")], "`nada`"),
        (&[], &[("id", "redact")], "cannot be told apart"),
    ] {
        let error = check(&shaping(renames, masks)).unwrap_err().report();
        assert!(error.contains(expected), "{error}");
    }
    // Two columns may take each other's names.
    check(&shaping(&[("email", "n"), ("n", "email")], &[])).unwrap();
}

#[test]
fn rows_that_were_made_otherwise_are_not_added_to() {
    let before = shaping(&[("n", "numero")], &[("email", "sha256")]);
    let mut schema = assign_field_ids(None, before.specs(&columns()));
    before.mark(&mut schema, &columns());
    let known = crate::evolution::rebuild(None, &schema);
    before.check_unchanged(&known).unwrap();
    for (after, expected) in [
        (
            shaping(&[("n", "numero")], &[]),
            "`email` had sha256, and has no mask now",
        ),
        (
            shaping(&[], &[("email", "sha256")]),
            "`n` was called `numero`, and is `n` now",
        ),
        (
            shaping(&[("n", "numero")], &[("email", "sha256"), ("id", "sha256")]),
            "`id` had no mask, and has sha256 now",
        ),
    ] {
        let error = after.check_unchanged(&known).unwrap_err().report();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_does_not_fit_and_what_was_is_masked_with_its_column() {
    let mut settings = shaping(&[("email", "correo")], &[("email", "redact")]);
    let misfits = BTreeMap::from([("email".to_owned(), "email__text".to_owned())]);
    let with_misfits = settings.with_misfits(&misfits);
    assert_eq!(with_misfits.name("email__text"), "correo__text");
    assert_eq!(with_misfits.masks.get("email__text"), Some(&Mask::Redact));

    settings.history = std::mem::take(&mut settings.masks);
    settings.renames.clear();
    let history = vec![
        spec("property", ColumnType::Text),
        spec("value", ColumnType::Text),
    ];
    let schema = assign_field_ids(None, history);
    let batch = RecordBatch::try_new(
        schema.arrow(),
        vec![
            Arc::new(StringArray::from(vec!["email", "sector"])),
            Arc::new(StringArray::from(vec!["ana@x.es", "banca"])),
        ],
    );
    let shaped = settings.batch(batch.unwrap()).unwrap();
    let values: Vec<&str> = shaped
        .column(1)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(values, ["***", "banca"]);
}

#[test]
fn columns_that_look_personal_are_found() {
    let names = [
        "email",
        "telefono_movil",
        "dni",
        "union",
        "nombre",
        "fecha_nacimiento",
        "daniel",
    ];
    let columns = names.map(|name| spec(name, ColumnType::Text));
    let mut settings = shaping(&[], &[("dni", "null")]);
    settings.kept.insert("email".to_owned());
    assert_eq!(
        settings.unmasked_personal(&columns),
        ["telefono_movil", "fecha_nacimiento"]
    );
}
