//! Decimal numbers as text: exactly, or not at all. No I/O.

/// Digits that every `u64` has room for.
pub(crate) const CHUNK: usize = 19;
/// No text has as many digits: an exponent beyond it might as well be it.
const FARTHEST: i64 = 1_000_000_000_000_000_000;

/// Why a text is no value of a decimal type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inexact {
    /// It is not written as a number.
    NotANumber,
    /// It has more digits, before the point or after it, than the type.
    DoesNotFit,
}

/// The unscaled value of a number with `scale` digits after the point, of at most `precision` digits in all: `67340.0`,
/// `-.5`, `5.`, `1e5`. Digits beyond the scale must be zeros.
pub(crate) fn parse(text: &[u8], precision: u8, scale: u8) -> Result<i128, Inexact> {
    let value = unscaled(text, scale)?;
    let bound = 10_u128.checked_pow(precision.into());
    if bound.is_some_and(|bound| value.unsigned_abs() >= bound) {
        return Err(Inexact::DoesNotFit);
    }
    Ok(value)
}

/// The unscaled value of a number, of as many digits as an `i128` has room for.
pub(crate) fn unscaled(text: &[u8], scale: u8) -> Result<i128, Inexact> {
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
        return Err(Inexact::DoesNotFit);
    }
    let mut value: u128 = 0;
    for digits in without_leading_zeros(whole)
        .chunks(CHUNK)
        .chain(fraction.chunks(CHUNK))
    {
        value = shifted(value, digits.len())
            .and_then(|value| value.checked_add(small(digits).into()))
            .ok_or(Inexact::DoesNotFit)?;
    }
    if power > 0 {
        value = usize::try_from(power)
            .ok()
            .and_then(|power| shifted(value, power))
            .ok_or(Inexact::DoesNotFit)?;
    }
    let value = i128::try_from(value).map_err(|_| Inexact::DoesNotFit)?;
    Ok(if negative { -value } else { value })
}

/// An unscaled value as text, with `scale` digits after the point: `-0.05`.
pub(crate) fn text(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// The value of at most [`CHUNK`] digits, which is why nothing need be checked on the way.
pub(crate) fn small(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |value, digit| {
        value.wrapping_mul(10).wrapping_add(u64::from(digit & 0x0F))
    })
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
    i64::try_from(digits.len()).unwrap_or(FARTHEST)
}

/// The parts of a number.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Inexact> {
        let (negative, text) = sign(text);
        let (whole, rest) = digits(text);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            rest => (&[][..], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', exponent @ ..] => Self::exponent(exponent)?,
            _ => return Err(Inexact::NotANumber),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Inexact::NotANumber);
        }
        Ok(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    fn exponent(text: &[u8]) -> Result<i64, Inexact> {
        let (negative, text) = sign(text);
        let (digits, rest) = digits(text);
        if digits.is_empty() || !rest.is_empty() {
            return Err(Inexact::NotANumber);
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

/// The digits that a text begins with, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOT_A_NUMBER: Result<i128, Inexact> = Err(Inexact::NotANumber);
    const DOES_NOT_FIT: Result<i128, Inexact> = Err(Inexact::DoesNotFit);

    #[test]
    fn numbers_are_exact_or_none() {
        let zeros = format!("1.{}", "0".repeat(60));
        let cases: &[(&str, Result<i128, Inexact>)] = &[
            ("67340.0", Ok(6_734_000)),
            ("1e5", Ok(10_000_000)),
            ("1E+5", Ok(10_000_000)),
            ("1.5E-2", DOES_NOT_FIT),
            ("1.5E-1", Ok(15)),
            ("-0.01", Ok(-1)),
            ("-0", Ok(0)),
            ("+7", Ok(700)),
            (".5", Ok(50)),
            ("5.", Ok(500)),
            ("0.001", DOES_NOT_FIT),
            (&zeros, Ok(100)),
            ("0e99", Ok(0)),
            ("0e99999999999999999999", Ok(0)),
            ("0.00e-9223372036854775808", Ok(0)),
            ("1e99", DOES_NOT_FIT),
            ("1e-99999999999999999999", DOES_NOT_FIT),
            ("", NOT_A_NUMBER),
            (".", NOT_A_NUMBER),
            ("-", NOT_A_NUMBER),
            ("--1", NOT_A_NUMBER),
            ("1e", NOT_A_NUMBER),
            ("e1", NOT_A_NUMBER),
            ("1e1.5", NOT_A_NUMBER),
            ("1,5", NOT_A_NUMBER),
            ("1.2.3", NOT_A_NUMBER),
            (" 1", NOT_A_NUMBER),
            ("1 ", NOT_A_NUMBER),
            ("0x10", NOT_A_NUMBER),
            ("NaN", NOT_A_NUMBER),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes(), 38, 2), *expected, "{text}");
        }
        assert_eq!(parse(b"999.99", 5, 2), Ok(99_999));
        assert_eq!(parse(b"1000", 5, 2), DOES_NOT_FIT);
        assert_eq!(unscaled(i128::MAX.to_string().as_bytes(), 0), Ok(i128::MAX));
        assert_eq!(parse(i128::MAX.to_string().as_bytes(), 38, 0), DOES_NOT_FIT);
        assert_eq!(unscaled(&[b'9'; 40], 0), DOES_NOT_FIT);
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_it_is_written(
            unscaled in -i128::MAX..=i128::MAX,
            scale in 0_u8..=38,
            zeros in 0_usize..50,
        ) {
            let text = text(unscaled, scale);
            prop_assert_eq!(super::unscaled(text.as_bytes(), scale), Ok(unscaled));
            if scale > 0 {
                let longer = format!("{text}{}", "0".repeat(zeros));
                prop_assert_eq!(super::unscaled(longer.as_bytes(), scale), Ok(unscaled));
            }
            let shifted = format!("{unscaled}e-{scale}");
            prop_assert_eq!(super::unscaled(shifted.as_bytes(), scale), Ok(unscaled));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+.eE0-9]{0,50}|.*", precision in 1_u8..=38, scale in 0_u8..=38) {
            let _ = parse(text.as_bytes(), precision, scale);
        }
    }
}
