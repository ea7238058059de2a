//! Names, domains and stages of the companies: those that the seeded table `clientes` has for the same numbers, so that CRM
//! and sales can be joined by domain. As in a CRM in use some companies were entered twice, some have a domain that nobody
//! uses any more, and some have none.
//!
//! The table is filled by PostgreSQL, with its own hash function; this is that function again (`hashint8extended`, in
//! `src/common/hashfn.c`), and `tests/it/hubspot.rs` compares the two.

use crate::seed::{FORMS, PLACES, TRADES, mix};

/// Of so many companies, one is the one before it, entered again.
const TWICE: i64 = 41;
/// Of so many companies, one has the domain that its client had before.
const OUTDATED: i64 = 29;

/// The name of the company of that number.
pub(crate) fn company_name(seed: u64, number: i64) -> String {
    name(seed, meant(number))
}

/// The domain of the company of that number; some have none.
pub(crate) fn company_domain(seed: u64, number: i64) -> Option<String> {
    let domain = domain(seed, meant(number))?;
    Some(if number % OUTDATED == 0 {
        format!("antigua-{domain}")
    } else {
        domain
    })
}

/// How far its dealings with the company of that number have come: who buys is a customer, who buys little is still an
/// opportunity, and who has not bought is a lead (`seed::rows` has the same numbers buy).
pub(crate) const fn stage(number: i64) -> &'static str {
    match meant(number) % 10 {
        9 | 0 => "lead",
        7 | 8 => "opportunity",
        _ => "customer",
    }
}

/// The number of the client that the company of that number is.
const fn meant(number: i64) -> i64 {
    if number % TWICE == 0 {
        number - 1
    } else {
        number
    }
}

/// The name of the client of that number.
fn name(seed: u64, number: i64) -> String {
    let trade = pick(seed, number, "ramo", TRADES);
    let place = pick(seed, number, "lugar", PLACES);
    let form = pick(seed, number, "forma", FORMS);
    format!("{trade} {place} {form}")
}

/// The domain of the client of that number; some have none.
fn domain(seed: u64, number: i64) -> Option<String> {
    if below(seed, number, "sin dominio", 12) == 0 {
        return None;
    }
    let place = pick(seed, number, "lugar", PLACES).to_lowercase();
    let plain: String = place
        .chars()
        .map(|letter| match letter {
            ' ' => '-',
            'á' => 'a',
            'é' => 'e',
            'í' => 'i',
            'ó' => 'o',
            'ú' | 'ü' => 'u',
            'ñ' => 'n',
            other => other,
        })
        .collect();
    Some(format!("{plain}-{number}.example"))
}

fn pick<'a>(seed: u64, number: i64, purpose: &str, among: &[&'a str]) -> &'a str {
    let bound = u64::try_from(among.len()).unwrap_or(1);
    let place = usize::try_from(below(seed, number, purpose, bound)).unwrap_or(0);
    among.get(place).copied().unwrap_or_default()
}

/// A number in `0..bound`, as `Hash::below` has the server compute it.
fn below(seed: u64, number: i64, purpose: &str, bound: u64) -> u64 {
    let salt = purpose
        .bytes()
        .fold(mix(seed), |salt, byte| mix(salt ^ u64::from(byte)));
    (hashint8extended(number, salt) & (u64::MAX >> 1)) % bound.max(1)
}

/// PostgreSQL's `hashint8extended`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of the number, as the original takes them"
)]
fn hashint8extended(value: i64, seed: u64) -> u64 {
    let bits = value.cast_unsigned();
    let (low, high) = (bits as u32, (bits >> 32) as u32);
    hash_uint32(low ^ if value >= 0 { high } else { !high }, seed)
}

/// PostgreSQL's `hash_bytes_uint32_extended`, after Bob Jenkins's lookup3.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of the seed, as the original takes them"
)]
fn hash_uint32(value: u32, seed: u64) -> u64 {
    let start = 0x9e37_79b9_u32.wrapping_add(4).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (start, start, start);
    if seed != 0 {
        a = a.wrapping_add((seed >> 32) as u32);
        b = b.wrapping_add(seed as u32);
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
    }
    a = a.wrapping_add(value);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (u64::from(b) << 32) | u64::from(c)
}
