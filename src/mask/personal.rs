//! Columns that look as if they told of people, by their names.

use crate::schema::{ColumnSpec, ColumnType};

/// Words of names of such columns, in English and Spanish, without accents.
const WORDS: [&str; 33] = [
    "email",
    "mail",
    "correo",
    "phone",
    "telefono",
    "mobile",
    "movil",
    "fax",
    "dni",
    "nif",
    "nie",
    "passport",
    "pasaporte",
    "ssn",
    "iban",
    "birth",
    "birthday",
    "birthdate",
    "nacimiento",
    "surname",
    "apellido",
    "apellidos",
    "firstname",
    "lastname",
    "address",
    "direccion",
    "domicilio",
    "street",
    "calle",
    "ip",
    "gender",
    "genero",
    "salary",
];
/// The same, of two words.
const PAIRS: [(&str, &str); 4] = [
    ("first", "name"),
    ("last", "name"),
    ("full", "name"),
    ("date", "birth"),
];

/// The columns that look as if they told of people.
pub(crate) fn personal(columns: &[ColumnSpec]) -> impl Iterator<Item = &str> {
    let columns = columns.iter().filter(|column| {
        let is_flag = column.column_type == ColumnType::Boolean;
        // HubSpot's own properties: there are hundreds, and few of them are told by people.
        !is_flag && !column.name.starts_with("hs_") && looks_personal(&column.name)
    });
    columns.map(|column| column.name.as_str())
}

fn looks_personal(name: &str) -> bool {
    let words = words(name);
    let said = |word: &String| WORDS.contains(&word.as_str());
    let pair = |pair: &[String]| match pair {
        [a, b] => PAIRS.contains(&(a.as_str(), b.as_str())),
        _ => false,
    };
    words.iter().any(said) || words.windows(2).any(pair)
}

/// The words of a name, in small letters and without accents: `fechaNacimiento` has two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        let is_boundary = !letter.is_alphanumeric() || (was_small && letter.is_uppercase());
        if is_boundary {
            words.push(String::new());
        }
        was_small = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase().map(|small| match small {
                'á' => 'a',
                'é' => 'e',
                'í' => 'i',
                'ó' => 'o',
                'ú' => 'u',
                small => small,
            }));
        }
    }
    words.retain(|word| !word.is_empty() && word != "of" && word != "de");
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_their_words() {
        for name in [
            "email",
            "Correo",
            "e_mail",
            "contactEmail",
            "teléfono",
            "fechaNacimiento",
            "first_name",
            "firstName",
            "date_of_birth",
            "IBAN",
            "dni",
        ] {
            assert!(looks_personal(name), "{name}");
        }
        for name in [
            "nombre_curso",
            "importe",
            "mailing",
            "shipment",
            "name",
            "ipsum",
            "birthmark",
        ] {
            assert!(!looks_personal(name), "{name}");
        }
    }
}
