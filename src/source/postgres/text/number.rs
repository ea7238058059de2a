//! Numbers written in ASCII digits.

use std::str::{self, FromStr};

use crate::source::postgres::field::FieldError;

/// Digits that every `u64` has room for.
const CHUNK: usize = 19;
/// No text has as many digits: an exponent beyond it might as well be it.
const FARTHEST: i64 = 1_000_000_000_000_000_000;

/// An integer without leading zeros, as `int8out` and `oidout` write it.
pub(super) fn integer<T: TryFrom<i64>>(text: &[u8]) -> Result<T, FieldError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FieldError::Malformed);
    }
    let value = (digits.len() <= CHUNK).then(|| small(digits));
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

/// The value of at most [`CHUNK`] digits, which is why nothing need be checked on the way.
fn small(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |value, digit| {
        value.wrapping_mul(10).wrapping_add(u64::from(digit & 0x0F))
    })
}

/// A `float4`.
pub(super) fn float4(text: &[u8]) -> Result<f32, FieldError> {
    float(text, |value: f32| value.is_infinite(), |value| value == 0.0)
}

/// A `float8`, or a number to be made one.
pub(super) fn float8(text: &[u8]) -> Result<f64, FieldError> {
    float(text, |value: f64| value.is_infinite(), |value| value == 0.0)
}

/// What the nearest float of a number is, unless that is infinity or zero while the number is neither: the server refuses
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

/// The unscaled value of a number, exactly. What `numeric_in` takes but for other bases: a text may be cast to `numeric`.
pub(super) fn decimal(text: &[u8], precision: u8, scale: u8) -> Result<i128, FieldError> {
    let overflow = FieldError::DecimalOverflow { precision, scale };
    let Number {
        negative,
        whole,
        fraction,
        exponent,
    } = Number::parse(text)?;
    // The power of ten that the last digit stands for, once the value is scaled.
    let power = i64::from(scale) + exponent - length(fraction);
    let below_unit = power.min(0).unsigned_abs();
    let kept = (whole.len() + fraction.len())
        .saturating_sub(usize::try_from(below_unit).unwrap_or(usize::MAX));
    let (whole, cut) = whole.split_at(kept.min(whole.len()));
    let (fraction, also_cut) = fraction.split_at(kept - whole.len());
    if cut.iter().chain(also_cut).any(|digit| *digit != b'0') {
        return Err(overflow);
    }
    let mut value: u128 = 0;
    for digits in without_leading_zeros(whole)
        .chunks(CHUNK)
        .chain(fraction.chunks(CHUNK))
    {
        value = shifted(value, digits.len())
            .and_then(|value| value.checked_add(small(digits).into()))
            .ok_or(overflow)?;
    }
    if power > 0 && value != 0 {
        value = usize::try_from(power)
            .ok()
            .and_then(|power| shifted(value, power))
            .ok_or(overflow)?;
    }
    if value >= 10_u128.pow(u32::from(precision)) {
        return Err(overflow);
    }
    let value = i128::try_from(value).map_err(|_| overflow)?;
    Ok(if negative { -value } else { value })
}

/// `value` with that many zeros after it.
fn shifted(value: u128, digits: usize) -> Option<u128> {
    if value == 0 {
        return Some(0);
    }
    let factor = 10_u128.checked_pow(u32::try_from(digits).ok()?)?;
    value.checked_mul(factor)
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn length(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

/// The parts of a number.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, FieldError> {
        let text = trim(text);
        let (negative, text) = sign(text);
        let (whole, rest) = digits(text);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            rest => (&[][..], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', exponent @ ..] => Self::exponent(exponent)?,
            _ => return Err(not_a_number(text)),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(not_a_number(text));
        }
        Ok(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    fn exponent(text: &[u8]) -> Result<i64, FieldError> {
        let (negative, text) = sign(text);
        let (digits, rest) = digits(text);
        if digits.is_empty() || !rest.is_empty() {
            return Err(FieldError::Malformed);
        }
        let digits = without_leading_zeros(digits);
        let exponent = if digits.len() >= CHUNK {
            FARTHEST
        } else {
            i64::try_from(small(digits)).unwrap_or(FARTHEST)
        };
        Ok(if negative { -exponent } else { exponent })
    }
}

/// Whether a number is negative, and the text without its sign.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

fn not_a_number(text: &[u8]) -> FieldError {
    let special: [&[u8]; 3] = [b"NaN", b"Infinity", b"inf"];
    if special.iter().any(|name| text.eq_ignore_ascii_case(name)) {
        FieldError::NotFinite
    } else {
        FieldError::Malformed
    }
}

/// The digits that a text begins with, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(count)
}

/// Without what the server's `isspace` takes for white.
fn trim(text: &[u8]) -> &[u8] {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().take_while(|byte| white(byte)).count();
    let text = text.get(start..).unwrap_or_default();
    let end = text.iter().rev().take_while(|byte| white(byte)).count();
    text.get(..text.len() - end).unwrap_or_default()
}
