//! Values out of numbers.

/// SQL expressions that hash a number into a value, each salted by what it is for.
pub(crate) struct Hash {
    seed: u64,
}

impl Hash {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A bigint in `0..bound`.
    pub(crate) fn below(&self, number: &str, purpose: &str, bound: u64) -> String {
        let bound = bound.max(1);
        format!(
            "(({} & 9223372036854775807) % {bound})",
            self.bits(number, purpose)
        )
    }

    /// Any bigint.
    pub(crate) fn bits(&self, number: &str, purpose: &str) -> String {
        let salt = purpose
            .bytes()
            .fold(mix(self.seed), |salt, byte| mix(salt ^ u64::from(byte)));
        format!(
            "hashint8extended({number}, '{}'::bigint)",
            salt.cast_signed()
        )
    }

    /// One of these texts.
    pub(crate) fn pick(&self, number: &str, purpose: &str, among: &[&str]) -> String {
        let list = among.join("','");
        let bound = u64::try_from(among.len()).unwrap_or(u64::MAX);
        format!(
            "(ARRAY['{list}'])[1 + {}]",
            self.below(number, purpose, bound)
        )
    }
}

/// One step of splitmix64: spreads neighbouring seeds far apart.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
