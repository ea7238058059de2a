//! Which columns look as if they held personal data, by their names. No I/O.

use crate::schema::{ColumnSpec, ColumnType};

/// Parts of names, in English and Spanish.
const PARTS: [&str; 20] = [
    "email",
    "e_mail",
    "correo",
    "phone",
    "telefono",
    "teléfono",
    "mobile",
    "movil",
    "móvil",
    "passport",
    "pasaporte",
    "firstname",
    "first_name",
    "lastname",
    "last_name",
    "apellido",
    "birth",
    "nacimiento",
    "password",
    "contrasena",
];
/// Whole words of names.
const WORDS: [&str; 9] = [
    "dni",
    "nif",
    "nie",
    "ssn",
    "iban",
    "mail",
    "address",
    "direccion",
    "curp",
];

/// Whether a column's name says that it holds personal data, and its type can.
pub(super) fn looks_personal(column: &ColumnSpec) -> bool {
    let can_hold = matches!(
        column.column_type,
        ColumnType::Text | ColumnType::Date | ColumnType::Int64
    );
    let name = column.name.to_lowercase();
    let mut words = name.split(|letter: char| !letter.is_alphanumeric());
    can_hold
        && (PARTS.iter().any(|part| name.contains(part)) || words.any(|word| WORDS.contains(&word)))
}
