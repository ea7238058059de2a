//! Crash points for the test suite: `FAILPOINTS="landing.manifest_written=return"` makes the process die there, as if
//! killed. Without the feature `failpoints` nothing of this is compiled in.

/// What an armed failpoint does: the process ends at once, with nothing flushed or undone.
#[cfg_attr(not(feature = "failpoints"), allow(dead_code))]
pub(crate) fn abort<T>(_: Option<String>) -> T {
    std::process::abort()
}

/// Arms the failpoints that the variable `FAILPOINTS` names, for the rest of the process.
#[cfg(feature = "failpoints")]
pub fn arm() {
    // The scenario disarms them when it is dropped.
    std::mem::forget(fail::FailScenario::setup());
}
