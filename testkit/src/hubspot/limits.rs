//! What an account may ask for: requests in ten seconds, searches in one, requests in a day.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What an account may ask for. None where nothing is limited.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests in any window; searches do not count.
    pub window: Option<u32>,
    /// The window: ten seconds in a real account.
    pub window_length: Duration,
    /// Searches in any second.
    pub search: Option<u32>,
    /// Requests in a day.
    pub daily: Option<u32>,
    /// Whether 429 says for how long to wait.
    pub retry_after: bool,
}

impl Default for Limits {
    /// Those of a professional account.
    fn default() -> Self {
        Self {
            window: Some(190),
            window_length: Duration::from_secs(10),
            search: Some(5),
            daily: Some(1_000_000),
            retry_after: false,
        }
    }
}

/// What was asked for lately.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    requests: VecDeque<Instant>,
    searches: VecDeque<Instant>,
    today: u32,
}

/// Which limit a request ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Window,
    Search,
    Daily,
}

impl Usage {
    /// Counts a request, or refuses it. Gives what remains of the window.
    pub(crate) fn admit(&mut self, limits: &Limits, is_search: bool) -> Result<u32, Exceeded> {
        let now = Instant::now();
        if limits.daily.is_some_and(|daily| self.today >= daily) {
            return Err(Exceeded::Daily);
        }
        let (used, limit, length, exceeded) = if is_search {
            (
                &mut self.searches,
                limits.search,
                Duration::from_secs(1),
                Exceeded::Search,
            )
        } else {
            (
                &mut self.requests,
                limits.window,
                limits.window_length,
                Exceeded::Window,
            )
        };
        while used
            .front()
            .is_some_and(|at| now.duration_since(*at) >= length)
        {
            used.pop_front();
        }
        let count = u32::try_from(used.len()).unwrap_or(u32::MAX);
        if limit.is_some_and(|limit| count >= limit) {
            return Err(exceeded);
        }
        used.push_back(now);
        self.today += 1;
        Ok(limit.map_or(u32::MAX, |limit| limit - count - 1))
    }

    /// What remains of the day.
    pub(crate) fn daily_remaining(&self, limits: &Limits) -> u32 {
        limits
            .daily
            .map_or(u32::MAX, |daily| daily.saturating_sub(self.today))
    }
}
