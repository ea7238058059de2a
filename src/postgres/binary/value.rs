//! Values in binary form.

use super::FieldError;
use crate::exact::calendar::DAY_MICROS;
use crate::postgres::{EPOCH_DAYS, EPOCH_MICROS};

/// Days since 1970 of a `date`. Infinity is the highest 32-bit number and its negation, as DuckDB has it.
pub(super) fn date(days: i32) -> Result<i32, FieldError> {
    match days {
        i32::MAX => Ok(i32::MAX),
        i32::MIN => Ok(-i32::MAX),
        days => days.checked_add(EPOCH_DAYS).ok_or(FieldError::Malformed),
    }
}

/// Microseconds since midnight of a `time`.
pub(super) fn time(micros: i64) -> Result<i64, FieldError> {
    if (0..=DAY_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        Err(FieldError::Malformed)
    }
}

/// Microseconds since 1970 of a `timestamp` or `timestamptz`. Infinity is the highest 64-bit number and its negation, as
/// DuckDB has it.
pub(super) fn timestamp(micros: i64) -> Result<i64, FieldError> {
    match micros {
        i64::MAX => Ok(i64::MAX),
        i64::MIN => Ok(-i64::MAX),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .filter(|micros| *micros != i64::MAX)
            .ok_or(FieldError::TimestampOverflow),
    }
}

/// The unscaled value of a `numeric`, exactly.
///
/// `numeric_send`: number of digits, weight of the first, sign, displayed scale, then the digits, to the base of 10,000.
pub(super) fn decimal(bytes: &[u8], precision: u8, scale: u8) -> Result<i128, FieldError> {
    const POSITIVE: u16 = 0x0000;
    const NEGATIVE: u16 = 0x4000;
    const NAN: u16 = 0xC000;
    const INFINITY: u16 = 0xD000;
    const NEGATIVE_INFINITY: u16 = 0xF000;

    let overflow = FieldError::DecimalOverflow { precision, scale };
    let mut reader = Reader(bytes);
    let digits = reader.i16()?;
    let weight = i32::from(reader.i16()?);
    let sign = u16::from_be_bytes(read(reader.take(2)?)?);
    let _displayed_scale = reader.i16()?;
    let negative = match sign {
        POSITIVE => false,
        NEGATIVE => true,
        NAN | INFINITY | NEGATIVE_INFINITY => return Err(FieldError::NotFinite),
        _ => return Err(FieldError::Malformed),
    };
    if usize::try_from(digits).ok().map(|count| count * 2) != Some(reader.0.len()) {
        return Err(FieldError::Malformed);
    }
    let mut value: i128 = 0;
    // The power of ten that the digit just added stands for, once the value is scaled.
    let mut power = (weight + 1) * 4 + i32::from(scale);
    for _ in 0..digits {
        let digit = reader.i16()?;
        if !(0..10_000).contains(&digit) {
            return Err(FieldError::Malformed);
        }
        power -= 4;
        if power >= 0 {
            value = value
                .checked_mul(10_000)
                .and_then(|value| value.checked_add(digit.into()))
                .ok_or(overflow)?;
        } else if power > -4 {
            let cut = 10_i16.pow(power.unsigned_abs());
            if digit % cut != 0 {
                return Err(overflow);
            }
            value = value
                .checked_mul(10_i128.pow(4 - power.unsigned_abs()))
                .and_then(|value| value.checked_add((digit / cut).into()))
                .ok_or(overflow)?;
        } else if digit != 0 {
            return Err(overflow);
        }
    }
    if power > 0 && value != 0 {
        value = 10_i128
            .checked_pow(power.unsigned_abs())
            .and_then(|factor| value.checked_mul(factor))
            .ok_or(overflow)?;
    }
    if value.unsigned_abs() >= 10_u128.pow(u32::from(precision)) {
        return Err(overflow);
    }
    Ok(if negative { -value } else { value })
}

/// Exactly `N` bytes.
pub(super) fn read<const N: usize>(bytes: &[u8]) -> Result<[u8; N], FieldError> {
    bytes.try_into().map_err(|_| FieldError::Malformed)
}

/// Reads along a field.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: i32) -> Result<&'a [u8], FieldError> {
        let length = usize::try_from(length).map_err(|_| FieldError::Malformed)?;
        let (head, tail) = self
            .0
            .split_at_checked(length)
            .ok_or(FieldError::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn i16(&mut self) -> Result<i16, FieldError> {
        self.take(2).and_then(read).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, FieldError> {
        self.take(4).and_then(read).map(i32::from_be_bytes)
    }
}
