//! Sizes and ages as text for people. No I/O.

use chrono::TimeDelta;

/// `34.5 MB`, in powers of 1000.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if number < 1000 {
        return format!("{number} B");
    }
    // Tenths of a unit, rounded: exact where a float would not be.
    let mut tenths = number / 100 + u64::from(number % 100 >= 50);
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while tenths >= 10_000 {
        let Some(next) = units.next() else { break };
        tenths = tenths / 1000 + u64::from(tenths % 1000 >= 500);
        unit = Some(next);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, unit.unwrap_or(&"kB"))
}

/// How long ago: `5 s`, `3 min`, `2 h`, `4 days`.
pub fn age(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
