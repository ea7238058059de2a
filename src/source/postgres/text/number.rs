//! Numbers written in ASCII digits.

use std::str::{self, FromStr};

use crate::exact::decimal::{self, Inexact};
use crate::postgres::binary::FieldError;

/// An integer without leading zeros, as `int8out` and `oidout` write it.
pub(super) fn integer<T: TryFrom<i64>>(text: &[u8]) -> Result<T, FieldError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FieldError::Malformed);
    }
    let value = (digits.len() <= decimal::CHUNK).then(|| decimal::small(digits));
    let value = value.and_then(|value| {
        if negative {
            0_i64.checked_sub_unsigned(value)
        } else {
            i64::try_from(value).ok()
        }
    });
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or(FieldError::OutOfRange)
}

/// A `float4`.
pub(super) fn float4(text: &[u8]) -> Result<f32, FieldError> {
    float(text, |value: f32| value.is_infinite(), |value| value == 0.0)
}

/// A `float8`, or a number that is to be cast to one.
pub(super) fn float8(text: &[u8]) -> Result<f64, FieldError> {
    float(text, |value: f64| value.is_infinite(), |value| value == 0.0)
}

/// The nearest float of a number. If it is infinity or zero while the number is neither, the cast is refused, as by the
/// server.
/// such a cast.
fn float<F: FromStr + Copy>(
    text: &[u8],
    infinite: impl Fn(F) -> bool,
    zero: impl Fn(F) -> bool,
) -> Result<F, FieldError> {
    let value: F = str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(FieldError::Malformed)?;
    let has_digits = |from: u8| {
        text.iter()
            .take_while(|byte| !matches!(byte, b'e' | b'E'))
            .any(|byte| (from..=b'9').contains(byte))
    };
    if infinite(value) && has_digits(b'0') || zero(value) && has_digits(b'1') {
        return Err(FieldError::OutOfRange);
    }
    Ok(value)
}

/// The unscaled value of a number, exactly. It accepts what `numeric_in` accepts, except other bases, because a text may be
/// cast to `numeric`.
pub(super) fn decimal(text: &[u8], precision: u8, scale: u8) -> Result<i128, FieldError> {
    let text = trim(text);
    decimal::parse(text, precision, scale).map_err(|inexact| match inexact {
        Inexact::DoesNotFit => FieldError::DecimalOverflow { precision, scale },
        Inexact::NotANumber if is_not_finite(text) => FieldError::NotFinite,
        Inexact::NotANumber => FieldError::Malformed,
    })
}

fn is_not_finite(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        text => text,
    };
    let special: [&[u8]; 3] = [b"NaN", b"Infinity", b"inf"];
    special
        .iter()
        .any(|name| unsigned.eq_ignore_ascii_case(name))
}

/// Removes what the server's `isspace` takes for white space.
fn trim(text: &[u8]) -> &[u8] {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().take_while(|byte| white(byte)).count();
    let text = text.get(start..).unwrap_or_default();
    let end = text.iter().rev().take_while(|byte| white(byte)).count();
    text.get(..text.len() - end).unwrap_or_default()
}
