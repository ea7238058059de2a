//! The classification of answers that are not a success: retry, or end and say who must act. No I/O.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;

/// How often a request is sent again after transient faults, if nothing was answered yet: with the waits in between, for
/// about a minute.
pub const MAX_FAULTS: u32 = 7;
/// How often it is sent again if no connection can be made: for some seconds.
pub const MAX_UNREACHABLE: u32 = 3;
/// How often a request is sent again whose answer is implausible.
pub const MAX_ODD: u32 = 2;
/// How long a request is sent again if there were answers before: everything would have to be read again.
pub const OUTAGE: Duration = Duration::from_mins(10);
/// How long a request waits in all because of rate limits.
pub const MAX_WAITED: Duration = Duration::from_mins(30);
/// The longest wait that HubSpot may request: a longer one ends the run with an error.
pub const LONGEST_ASKED: Duration = Duration::from_mins(10);
/// The first wait after a fault; each further one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The class of an answer that is not a success.
#[derive(Debug)]
pub enum ResponseClass {
    /// The request may succeed the next time.
    Fault {
        /// What happened, for people.
        what: String,
        /// How long to wait, if the answer says so.
        wait: Option<Duration>,
    },
    /// Too many requests: all requests must wait.
    TooMany {
        /// How long to wait, if the answer says so.
        wait: Option<Duration>,
        /// Whether it was too many searches in a second, or too many requests in the window.
        of_searches: bool,
    },
    /// The address is too long.
    TooLong,
    /// The request will not succeed.
    End(Error),
}

/// An answer that is not a success.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Its status.
    pub status: u16,
    /// Its `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Its body.
    pub body: &'a [u8],
    /// What was requested, for people: `the companies`.
    pub subject: &'a str,
    /// The scopes that the request needs.
    pub scopes: &'a [String],
    /// Whether the request was a search.
    pub is_search: bool,
    /// The token, which must not be shown.
    pub token: &'a str,
}

/// The body of an error: any part may be missing, and it may not be JSON at all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    message: Option<String>,
    category: Option<String>,
    policy_name: Option<String>,
    correlation_id: Option<String>,
    context: Option<Context>,
    errors: Option<Vec<Detail>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: Option<String>,
    context: Option<Context>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    #[serde(rename = "requiredGranularScopes")]
    granular: Option<Vec<String>>,
    #[serde(rename = "requiredScopes")]
    required: Option<Vec<String>>,
    #[serde(rename = "missingScopes")]
    missing: Option<Vec<String>>,
}

/// Classifies an answer that is not a success.
pub fn meaning(refusal: &Refusal<'_>) -> ResponseClass {
    let body: Body = serde_json::from_slice(refusal.body).unwrap_or_default();
    let wait = refusal.retry_after.map(Duration::from_secs);
    let subject = refusal.subject;
    let says = body.says(refusal.token);
    let is_to_wait = matches!(refusal.status, 408 | 423 | 429 | 477 | 500..);
    if let Some(wait) = wait.filter(|wait| is_to_wait && *wait > LONGEST_ASKED) {
        return ResponseClass::End(
            Error::source(format!(
                "HubSpot wants to be asked for {subject} again only after {} (status {}){says}",
                span(wait),
                refusal.status
            ))
            .remedy(format!(
                "run again then: a run waits {} at most, and the position stays where it is",
                span(LONGEST_ASKED)
            )),
        );
    }
    match refusal.status {
        401 => ResponseClass::End(
            Error::source(format!("HubSpot does not accept the token{says}")).remedy(
                "renew the private app's or service key's token in HubSpot (Settings > Integrations) and set it where \
                 `token` under [sources] takes it from",
            ),
        ),
        403 => ResponseClass::End(forbidden(&body, refusal, &says)),
        414 => ResponseClass::TooLong,
        429 if body.is_daily() => ResponseClass::End(
            Error::source("HubSpot's daily limit of requests for the account is reached").remedy(
                "run again after midnight in the account's time zone: what is loaded stays; what this run has read and not \
                 loaded is read again",
            ),
        ),
        429 => ResponseClass::TooMany {
            wait,
            of_searches: match body.policy_name.as_deref() {
                Some("SECONDLY") => true,
                Some("TEN_SECONDLY_ROLLING") => false,
                _ => refusal.is_search,
            },
        },
        423 => ResponseClass::Fault {
            what: format!("HubSpot has {subject} locked{says}"),
            wait: Some(wait.unwrap_or(Duration::from_secs(2))),
        },
        477 => ResponseClass::Fault {
            what: format!("HubSpot is moving the account to another data centre{says}"),
            wait,
        },
        408 | 500 | 502 | 503 | 504 | 520..=527 | 530 | 598 | 599 => ResponseClass::Fault {
            what: format!("HubSpot answered {subject} with status {}{says}", refusal.status),
            wait,
        },
        404 => ResponseClass::End(
            Error::source(format!("HubSpot does not know {subject}{says}")).remedy(
                "correct the stream's `object`: a plural name (companies), a type id (2-123), or the full name of a custom \
                 object",
            ),
        ),
        status => ResponseClass::End(
            Error::source(format!("HubSpot refused {subject} with status {status}{says}"))
                .remedy("correct the stream; where it is right, report this with the correlation id to acequia"),
        ),
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum RequestError {
    /// The address is too long.
    TooLong,
    /// The token is valid, but lacks the scope.
    Forbidden(Error),
    /// The answer stays implausible after it was requested again, for this reason.
    Odd(String, Error),
    /// Anything else.
    Failed(Error),
}

impl From<RequestError> for Error {
    fn from(no_answer: RequestError) -> Self {
        match no_answer {
            RequestError::TooLong => {
                Self::source("HubSpot finds the address of a request too long (414)")
                    .remedy("take fewer properties with `properties`")
            }
            RequestError::Forbidden(error)
            | RequestError::Odd(_, error)
            | RequestError::Failed(error) => error,
        }
    }
}

/// The wait before a request is sent again, after that many faults: it doubles each time, and `chance` spreads it, so that
/// streams do not all retry at once.
pub fn back_off(faults: u32, chance: u32) -> Duration {
    let longest = FIRST_WAIT
        .saturating_mul(1 << faults.saturating_sub(1).min(10))
        .min(LONGEST_WAIT);
    longest.mul_f64(0.75 + f64::from(chance % 256) / 1024.0)
}

/// A duration for people, in its largest unit.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn forbidden(body: &Body, refusal: &Refusal<'_>, says: &str) -> Error {
    let named = body.scopes();
    let (scopes, certain) = if named.is_empty() {
        (refusal.scopes.to_vec(), false)
    } else {
        (named, true)
    };
    let list = scopes.join(", ");
    let what = if certain || body.category.as_deref() == Some("MISSING_SCOPES") {
        format!("the token lacks a scope for {}: {list}", refusal.subject)
    } else {
        format!("HubSpot forbids {}{says}", refusal.subject)
    };
    Error::source(what).remedy(format!(
        "grant the scope to the private app or service key in HubSpot (Settings > Integrations > Scopes): {list}"
    ))
}

impl Body {
    /// The message of the body, for the end of an error.
    fn says(&self, token: &str) -> String {
        let mut text = String::new();
        if let Some(message) = &self.message {
            let _ = write!(text, ": {}", without(message, token));
        }
        if let Some(id) = &self.correlation_id {
            let _ = write!(text, " (correlation id {})", without(id, token));
        }
        text
    }

    fn is_daily(&self) -> bool {
        match self.policy_name.as_deref() {
            Some(policy) => policy == "DAILY",
            None => self
                .message
                .as_deref()
                .is_some_and(|message| message.contains("daily limit")),
        }
    }

    fn scopes(&self) -> Vec<String> {
        let mut scopes = Vec::new();
        let details = self.errors.iter().flatten();
        let contexts = details
            .filter_map(|detail| detail.context.as_ref())
            .chain(self.context.as_ref());
        for context in contexts {
            let lists = [&context.granular, &context.missing, &context.required];
            for scope in lists.into_iter().flatten().flatten() {
                if !scopes.contains(scope) {
                    scopes.push(scope.clone());
                }
            }
        }
        scopes
    }
}

/// A text of the server without the token, shortened.
fn without(text: &str, token: &str) -> String {
    let text = if token.is_empty() {
        text.to_owned()
    } else {
        text.replace(token, "***")
    };
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning_of(status: u16, body: &str) -> ResponseClass {
        meaning(&Refusal {
            status,
            retry_after: None,
            body: body.as_bytes(),
            subject: "the companies",
            scopes: &["crm.objects.companies.read".to_owned()],
            is_search: false,
            token: "pat-secreto",
        })
    }

    fn end(status: u16, body: &str) -> String {
        match meaning_of(status, body) {
            ResponseClass::End(error) => error.report(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_that_pass_are_told_from_those_that_do_not() {
        for status in [423, 477, 500, 502, 503, 504, 521, 523, 524, 530] {
            assert!(
                matches!(meaning_of(status, "<html>"), ResponseClass::Fault { .. }),
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 405, 501] {
            assert!(
                matches!(meaning_of(status, ""), ResponseClass::End(_)),
                "{status}"
            );
        }
        assert!(matches!(meaning_of(414, "<html>"), ResponseClass::TooLong));
    }

    #[test]
    fn each_policy_of_429_means_another_wait() {
        let policy = |policy: &str| meaning_of(429, &format!("{{\"policyName\":\"{policy}\"}}"));
        assert!(matches!(
            policy("SECONDLY"),
            ResponseClass::TooMany {
                of_searches: true,
                ..
            }
        ));
        assert!(matches!(
            policy("TEN_SECONDLY_ROLLING"),
            ResponseClass::TooMany {
                of_searches: false,
                ..
            }
        ));
        assert!(matches!(policy("DAILY"), ResponseClass::End(_)));
        assert!(matches!(
            meaning_of(429, "{\"message\":\"You have reached your daily limit.\"}"),
            ResponseClass::End(_)
        ));
        assert!(matches!(
            meaning_of(429, "<html>too many</html>"),
            ResponseClass::TooMany { .. }
        ));
    }

    #[test]
    fn a_missing_scope_is_named() {
        let text = end(
            403,
            "{\"category\":\"MISSING_SCOPES\",\"errors\":[{\"message\":\"x\",\"context\":{\"requiredGranularScopes\":[\"crm.schemas.companies.read\"]}}]}",
        );
        assert!(
            text.contains("crm.schemas.companies.read") && !text.contains("objects.companies"),
            "{text}"
        );
        assert!(end(403, "no JSON").contains("crm.objects.companies.read"));
    }

    #[test]
    fn a_token_that_the_server_says_back_is_not_repeated() {
        let text = end(
            401,
            "{\"message\":\"the token pat-secreto is expired\",\"correlationId\":\"1\"}",
        );
        assert!(
            !text.contains("pat-secreto") && text.contains("is expired"),
            "{text}"
        );
    }

    #[test]
    fn a_wait_that_is_longer_than_a_run_ends_it() {
        let asked = |status: u16, retry_after: u64| {
            meaning(&Refusal {
                status,
                retry_after: Some(retry_after),
                body: b"",
                subject: "the companies",
                scopes: &[],
                is_search: false,
                token: "",
            })
        };
        for status in [423, 429, 477, 500, 503] {
            for (seconds, told) in [
                (31_536_000, "365 days"),
                (u64::MAX, "days"),
                (3_600, "60 min"),
            ] {
                match asked(status, seconds) {
                    ResponseClass::End(error) => {
                        assert!(error.report().contains(told), "{error:?}");
                    }
                    other => panic!("{status} {seconds}: {other:?}"),
                }
            }
            assert!(
                !matches!(asked(status, 600), ResponseClass::End(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn waits_grow_and_end() {
        assert!(back_off(1, 0) < back_off(2, 0) && back_off(2, 255) < back_off(4, 0));
        assert!(back_off(60, 255) <= LONGEST_WAIT);
    }
}
