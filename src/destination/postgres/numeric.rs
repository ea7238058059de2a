//! `numeric_recv`: an unscaled value as digits to the base of 10,000. No I/O.

/// The number of base-10,000 digits of the longest value: 38 decimal digits, of which some of the first group may be before
/// the point and some of the last after it.
const GROUPS: usize = 12;
const NEGATIVE: u16 = 0x4000;

/// Appends a field with the value of `unscaled / 10^scale`: its length, the number of digits, the weight of the first, the
/// sign, the displayed scale, and the digits.
pub(super) fn put_numeric(unscaled: i128, scale: u8, out: &mut Vec<u8>) {
    let mut groups = [0_u16; GROUPS];
    let mut rest = unscaled.unsigned_abs();
    // The lowest group first. Where the scale is no multiple of four, its last digits are zeros beyond the scale.
    let behind = u32::from(scale % 4);
    let mut slots = groups.iter_mut();
    let mut count = 0;
    if behind > 0
        && let Some(slot) = slots.next()
    {
        let digits = take(&mut rest, 10_u64.pow(behind));
        *slot = digits * 10_u16.pow(4 - behind);
        count = 1;
    }
    for slot in slots {
        if rest == 0 {
            break;
        }
        *slot = take(&mut rest, 10_000);
        count += 1;
    }
    let used = groups.get(..count).unwrap_or_default();
    let lowest = used.iter().position(|group| *group != 0);
    let highest = used.iter().rposition(|group| *group != 0);
    let (digits, weight) = match (lowest, highest) {
        (Some(lowest), Some(highest)) => (
            used.get(lowest..=highest).unwrap_or_default(),
            small(highest) - i16::from(scale.div_ceil(4)),
        ),
        _ => (&[][..], 0),
    };
    let sign = if unscaled < 0 { NEGATIVE } else { 0 };
    let number = small(digits.len());
    out.extend_from_slice(&(8 + 2 * i32::from(number)).to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&i16::from(scale).to_be_bytes());
    for digit in digits.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// Takes the lowest digits off: `rest % unit`, with a 64-bit division where that does.
fn take(rest: &mut u128, unit: u64) -> u16 {
    let digits = if let Ok(short) = u64::try_from(*rest) {
        *rest = u128::from(short / unit);
        short % unit
    } else {
        let digits = *rest % u128::from(unit);
        *rest /= u128::from(unit);
        u64::try_from(digits).unwrap_or_default()
    };
    // Less than `unit`, which is 10,000 at most.
    u16::try_from(digits).unwrap_or_default()
}

/// A number of groups, twelve at most.
fn small(number: usize) -> i16 {
    i16::try_from(number).unwrap_or_default()
}
