//! The rate limit of an account: the requests of all its streams are counted against the window that HubSpot reports, so
//! that no request is refused in a healthy run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::error::LONGEST_ASKED;

/// The window that is assumed before HubSpot has reported it: that of a free account.
const UNKNOWN_LIMIT: u32 = 100;
const UNKNOWN_WINDOW: Duration = Duration::from_secs(10);
/// Searches per second: one less than an account may send, because answers to searches do not report what other
/// applications use.
const SEARCHES: u32 = 4;
const SEARCH_WINDOW: Duration = Duration::from_secs(1);
/// How long to wait if only requests in progress fill the window.
const MOMENT: Duration = Duration::from_millis(20);

/// The allowance that a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// The account's window, ten seconds long.
    Window,
    /// Searches per second; they do not count in the window.
    Search,
}

/// The window as an answer reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowHeaders {
    /// `X-HubSpot-RateLimit-Max`.
    pub max: Option<u32>,
    /// `X-HubSpot-RateLimit-Remaining`.
    pub remaining: Option<u32>,
    /// `X-HubSpot-RateLimit-Interval-Milliseconds`.
    pub interval: Option<u64>,
}

/// The allowances of an account.
#[derive(Debug)]
pub struct RateLimiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    search: Window,
}

/// The rate limiters by address and token.
type Accounts = HashMap<(String, String), Arc<RateLimiter>>;

/// The requests of a rolling window.
///
/// HubSpot counts a request when it arrives, at some time between its sending and its answer. Therefore a request counts
/// from its sending until a whole window after its answer: whatever moment HubSpot takes, none of its windows has more
/// requests than are counted here.
#[derive(Debug)]
struct Window {
    limit: u32,
    length: Duration,
    under_way: u32,
    /// When how many requests were answered, the oldest first.
    answered: VecDeque<(Instant, u32)>,
    /// The number of these requests.
    counted: u32,
    closed_until: Option<Instant>,
}

/// A permit to send a request. It ends with the answer, or when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<RateLimiter>,
    allowance: Allowance,
}

impl RateLimiter {
    /// The limiter of an account: one for all streams that use that address and token.
    pub fn of_account(base_url: &str, token: &str) -> Arc<Self> {
        // A run creates a source for each of its streams, and the account has one window.
        static PACERS: OnceLock<Mutex<Accounts>> = OnceLock::new();
        let pacers = PACERS.get_or_init(Mutex::default);
        let mut pacers = pacers.lock().unwrap_or_else(PoisonError::into_inner);
        let account = (base_url.to_owned(), token.to_owned());
        Arc::clone(
            pacers
                .entry(account)
                .or_insert_with(|| Arc::new(Self::new())),
        )
    }

    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                window: Window::new(UNKNOWN_LIMIT, UNKNOWN_WINDOW),
                search: Window::new(SEARCHES, SEARCH_WINDOW),
            }),
        }
    }

    /// Waits until a request may be sent.
    pub async fn permit(self: &Arc<Self>, allowance: Allowance) -> Permit {
        loop {
            let wait = self.state().window_of(allowance).take(Instant::now());
            match wait {
                None => {
                    return Permit {
                        limiter: Arc::clone(self),
                        allowance,
                    };
                }
                Some(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Updates the limits from an answer.
    pub fn update_from_headers(&self, headers: &WindowHeaders) {
        self.state()
            .window
            .update_from_headers(headers, Instant::now());
    }

    /// Blocks all requests for that time, or for a whole window. Returns the time.
    pub fn close(&self, allowance: Allowance, wait: Option<Duration>) -> Duration {
        let mut state = self.state();
        let window = state.window_of(allowance);
        let wait = wait.unwrap_or(window.length).min(LONGEST_ASKED);
        let until = Instant::now() + wait;
        window.closed_until = window.closed_until.max(Some(until));
        wait
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn window_of(&mut self, allowance: Allowance) -> &mut Window {
        match allowance {
            Allowance::Window => &mut self.window,
            Allowance::Search => &mut self.search,
        }
    }
}

impl Window {
    fn new(limit: u32, length: Duration) -> Self {
        Self {
            limit,
            length,
            under_way: 0,
            answered: VecDeque::new(),
            counted: 0,
            closed_until: None,
        }
    }

    /// Counts a request that is sent now, or returns how long to wait before the next attempt.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if let Some(until) = self.closed_until {
            if until > now {
                return Some(until - now);
            }
            self.closed_until = None;
        }
        self.forget(now);
        if self.used() < self.limit {
            self.under_way += 1;
            return None;
        }
        let wait = self.answered.front().map_or(MOMENT, |(oldest, _)| {
            (*oldest + self.length).saturating_duration_since(now)
        });
        Some(wait.max(Duration::from_millis(1)))
    }

    /// Notes that a request was answered, or given up.
    fn answer(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.count(now, 1);
    }

    /// Counts requests as answered now, as one entry, however many the server reports.
    fn count(&mut self, now: Instant, requests: u32) {
        if requests > 0 {
            self.answered.push_back((now, requests));
            self.counted = self.counted.saturating_add(requests);
        }
    }

    /// Takes over the reported limit, less a margin, and counts the requests of other applications with the same allowance.
    fn update_from_headers(&mut self, headers: &WindowHeaders, now: Instant) {
        if let Some(interval) = headers
            .interval
            .filter(|interval| (100..=3_600_000).contains(interval))
        {
            self.length = Duration::from_millis(interval);
        }
        let Some(max) = headers.max.filter(|max| *max > 0) else {
            return;
        };
        self.limit = (max - max.div_ceil(50).min(max - 1)).max(1);
        self.forget(now);
        if let Some(remaining) = headers.remaining {
            let others = max.saturating_sub(remaining).saturating_sub(self.used());
            self.count(now, others);
        }
    }

    fn used(&self) -> u32 {
        self.counted.saturating_add(self.under_way)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((_, requests)) = self
            .answered
            .pop_front_if(|(oldest, _)| now.saturating_duration_since(*oldest) >= self.length)
        {
            self.counted = self.counted.saturating_sub(requests);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        self.limiter.state().window_of(self.allowance).answer(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 190;

    fn learned(remaining: u32) -> (Window, Instant) {
        let start = Instant::now();
        let mut window = Window::new(UNKNOWN_LIMIT, UNKNOWN_WINDOW);
        window.update_from_headers(
            &WindowHeaders {
                max: Some(MAX),
                remaining: Some(remaining),
                interval: Some(10_000),
            },
            start,
        );
        (window, start)
    }

    #[test]
    fn no_window_of_the_servers_has_more_requests_than_it_may() {
        let (mut window, start) = learned(MAX);
        let mut now = start;
        let mut arrivals: Vec<Instant> = Vec::new();
        for number in 0..2_000_u64 {
            while let Some(wait) = window.take(now) {
                now += wait;
            }
            // A request may arrive at once, or just before its answer.
            let latency = Duration::from_millis(number * 7 % 400);
            arrivals.push(if number % 2 == 0 { now } else { now + latency });
            window.answer(now + latency);
            now += Duration::from_millis(3);
        }
        arrivals.sort();
        for (place, first) in arrivals.iter().enumerate() {
            let within = arrivals
                .get(place..)
                .unwrap()
                .iter()
                .filter(|at| **at - *first < Duration::from_secs(10))
                .count();
            assert!(within <= MAX as usize, "{within} from {place}");
        }
        let pace = 2_000.0 / (now - start).as_secs_f64();
        assert!(pace > 17.0, "and not much fewer: {pace} a second");
    }

    #[test]
    fn what_others_take_of_the_window_counts() {
        let (mut window, start) = learned(3);
        assert_eq!(window.take(start), Some(Duration::from_secs(10)));
        assert_eq!(window.take(start + Duration::from_secs(10)), None);
    }

    #[test]
    fn absurd_headers_take_no_room_and_no_lasting_effect() {
        let (mut window, start) = learned(MAX);
        window.update_from_headers(
            &WindowHeaders {
                max: Some(u32::MAX),
                remaining: Some(0),
                interval: Some(u64::MAX),
            },
            start,
        );
        assert!(window.answered.len() < 10);
        assert!(window.take(start).is_some());
        assert_eq!(window.take(start + Duration::from_secs(10)), None);
    }

    #[test]
    fn a_wait_without_end_is_bounded() {
        let limiter = Arc::new(RateLimiter::new());
        limiter.close(Allowance::Window, Some(Duration::from_secs(u64::MAX)));
        let wait = limiter.state().window.take(Instant::now()).unwrap();
        assert!(wait <= LONGEST_ASKED);
    }

    #[test]
    fn a_closed_window_opens_again() {
        let (mut window, start) = learned(MAX);
        window.closed_until = Some(start + Duration::from_secs(3));
        assert_eq!(window.take(start), Some(Duration::from_secs(3)));
        assert_eq!(window.take(start + Duration::from_secs(3)), None);
    }

    #[test]
    fn a_limit_of_one_still_lets_one_pass() {
        let mut window = Window::new(UNKNOWN_LIMIT, UNKNOWN_WINDOW);
        window.update_from_headers(
            &WindowHeaders {
                max: Some(1),
                ..WindowHeaders::default()
            },
            Instant::now(),
        );
        assert_eq!(window.limit, 1);
    }
}
