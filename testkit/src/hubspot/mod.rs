//! A stateful `HubSpot` on loopback, true to its published `OpenAPI` documents and to how it is known to behave: pages,
//! batches, search with its caps and its late index, properties, associations, owners, pipelines, the archive, merges,
//! limits with their headers; faults, and answers that cannot be believed, when asked for.
//!
//! Both the dated paths (`/crm/objects/2026-03/…`) and those of v3 are served. Its generated companies have the names
//! and domains of the seeded `clientes` of the same numbers, but for some that were entered twice or have a domain of before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::loopback::Loopback;

mod answer;
mod clients;
mod fault;
mod http;
mod json;
mod limits;
mod oddity;
mod portal;
mod schema;

pub use fault::{Failure, Fault};
pub use limits::Limits;
pub use oddity::Oddity;
pub use portal::Portal;
pub use schema::Property;

/// The token that everything is granted to.
pub const HUBSPOT_TOKEN: &str = "pat-eu1-acequia-prueba";

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct HubSpotOptions {
    /// Decides generated values.
    pub seed: u64,
    /// Number of generated companies.
    pub companies: u64,
    /// Number of companies after those, that nobody has sold anything to.
    pub prospects: u64,
    /// Number of properties besides the usual ones of companies.
    pub properties: usize,
    /// Port on loopback; a free one where none is given.
    pub port: Option<u16>,
    /// What the account may ask for.
    pub limits: Limits,
    /// The token to accept.
    pub token: String,
}

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct HubSpotServer {
    server: Loopback,
    token: String,
    shared: Arc<Shared>,
}

/// What requests and whoever started the server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) portal: Mutex<Portal>,
    pub(crate) desk: Mutex<Desk>,
}

/// Who may ask for what, what was asked, and which faults are to come.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) token: String,
    pub(crate) expired: bool,
    pub(crate) denied_scopes: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) usage: limits::Usage,
    pub(crate) faults: Vec<Fault>,
    pub(crate) events: Vec<Event>,
    /// Headers that every answer has, whatever it would say.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) log: Vec<Request>,
}

/// What happens.
type Happening = Box<dyn FnOnce(&mut Portal) + Send>;

/// Something that happens in the portal before a request is answered.
pub(crate) struct Event {
    path: String,
    skip: u32,
    happens: Option<Happening>,
}

/// A request that was answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The status that it was answered with; 0 where the connection was closed instead.
    pub status: u16,
}

impl Default for HubSpotOptions {
    fn default() -> Self {
        Self {
            seed: 42,
            prospects: 0,
            companies: 0,
            properties: 0,
            port: None,
            limits: Limits::default(),
            token: HUBSPOT_TOKEN.to_owned(),
        }
    }
}

impl HubSpotOptions {
    /// With so many generated companies.
    #[must_use]
    pub const fn companies(mut self, companies: u64) -> Self {
        self.companies = companies;
        self
    }

    /// With so many companies more, that nobody has sold anything to.
    #[must_use]
    pub const fn prospects(mut self, prospects: u64) -> Self {
        self.prospects = prospects;
        self
    }

    /// With so many properties more.
    #[must_use]
    pub const fn properties(mut self, properties: usize) -> Self {
        self.properties = properties;
        self
    }

    /// With other limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(self) -> Result<HubSpotServer> {
        let mut portal = Portal::new(self.seed);
        portal.add_properties("companies", self.properties);
        portal.generate("companies", self.companies + self.prospects);
        for number in self.companies + 1..=self.companies + self.prospects {
            let stage = if number.is_multiple_of(3) {
                "opportunity"
            } else {
                "lead"
            };
            portal.set_from_the_start(
                "companies",
                Portal::generated_id(number),
                &[("lifecyclestage", Some(stage))],
            );
        }
        let people = self.companies.min(10_000);
        portal.generate("contacts", people);
        portal.generate("deals", people / 2);
        for number in 1..=people {
            let (company, contact) = (Portal::generated_id(number), Portal::generated_id(number));
            portal.associate(("companies", company), ("contacts", contact), 280, None);
            if number % 5 == 0 {
                portal.associate(
                    ("companies", company),
                    ("contacts", contact),
                    37,
                    Some("Responsable de formación"),
                );
            }
            if number % 2 == 0 {
                portal.associate(
                    ("companies", company),
                    ("deals", Portal::generated_id(number / 2)),
                    342,
                    None,
                );
            }
        }
        let shared = Arc::new(Shared {
            portal: Mutex::new(portal),
            desk: Mutex::new(Desk {
                token: self.token.clone(),
                expired: false,
                denied_scopes: Vec::new(),
                limits: self.limits,
                usage: limits::Usage::default(),
                faults: Vec::new(),
                events: Vec::new(),
                headers: Vec::new(),
                log: Vec::new(),
            }),
        });
        let server = Loopback::start(
            "hubspot",
            self.port,
            http::protocol(),
            http::service(Arc::clone(&shared)),
        )?;
        Ok(HubSpotServer {
            server,
            token: self.token,
            shared,
        })
    }
}

impl HubSpotServer {
    /// How to start one.
    #[must_use]
    pub fn options() -> HubSpotOptions {
        HubSpotOptions::default()
    }

    /// The address to give as `base_url`: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The token that is accepted.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The portal, to look at and to change.
    pub fn portal(&self) -> MutexGuard<'_, Portal> {
        self.shared
            .portal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next requests end as `fault` says.
    pub fn inject(&self, fault: Fault) {
        self.desk().faults.push(fault);
    }

    /// Has something happen in the portal just before a request is answered: the first one to `path` after `skip` others.
    pub fn before(
        &self,
        path: &str,
        skip: u32,
        happens: impl FnOnce(&mut Portal) + Send + 'static,
    ) {
        self.desk().events.push(Event {
            path: path.to_owned(),
            skip,
            happens: Some(Box::new(happens)),
        });
    }

    /// Has the next so many answers that can be be odd so.
    pub fn be_odd(&self, oddity: Oddity, times: u32) {
        self.portal().oddities.add(oddity, times);
    }

    /// Has answers be as they should again.
    pub fn be_sound(&self) {
        self.portal().oddities.clear();
    }

    /// Has every answer say that in a header.
    pub fn say(&self, header: &str, value: &str) {
        self.desk()
            .headers
            .push((header.to_owned(), value.to_owned()));
    }

    /// Takes a scope away from the token.
    pub fn deny_scope(&self, scope: &str) {
        self.desk().denied_scopes.push(scope.to_owned());
    }

    /// Lets the token expire.
    pub fn expire_token(&self) {
        self.desk().expired = true;
    }

    /// Changes what the account may ask for.
    pub fn set_limits(&self, limits: Limits) {
        self.desk().limits = limits;
    }

    /// The requests that were answered so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.desk().log.clone()
    }

    /// Forgets the requests that were answered so far.
    pub fn forget_requests(&self) {
        self.desk().log.clear();
    }

    /// How many requests were answered with that status.
    #[must_use]
    pub fn answered(&self, status: u16) -> usize {
        self.desk()
            .log
            .iter()
            .filter(|request| request.status == status)
            .count()
    }

    /// The body of a list's first page, with all properties, as a request for it would be answered.
    #[must_use]
    pub fn page(&self, object: &str, records: usize) -> String {
        answer::first_page(&mut self.portal(), object, records)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.shared.desk()
    }
}

impl Shared {
    pub(crate) fn portal(&self) -> MutexGuard<'_, Portal> {
        self.portal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    /// What happens now, if it is time.
    pub(crate) fn due(&mut self, path: &str) -> Option<Happening> {
        if self.happens.is_none() || !path.contains(&self.path) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.happens.take()
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
