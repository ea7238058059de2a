//! What an account has: the standard objects, owners and pipelines, and which of them the token may read.

use std::sync::Arc;

use futures::future::join_all;

use super::HubSpot;
use super::object::STANDARD;
use crate::config::hubspot::{
    Calculated, HubSpotIncremental, HubSpotPart, HubSpotRead, PropertySettings, WITH_PIPELINES,
};
use crate::config::{HubSpotObject, HubSpotSource};
use crate::discovery::{FoundTable, Proposal, TableKind};
use crate::error::{Error, Result};
use crate::mask::Masks;
use crate::mode::{FullLoad, KeyedLoad, Mode};

/// The objects, of an account that takes the token. One that the token may not read has the reason beside it.
///
/// # Errors
/// HubSpot cannot be reached.
pub async fn objects(hubspot: &HubSpot, source: &Arc<HubSpotSource>) -> Result<Vec<FoundTable>> {
    let records = STANDARD.map(|(name, ..)| {
        (
            name,
            HubSpotPart::Records(PropertySettings::default(), incremental()),
        )
    });
    let pipelines = WITH_PIPELINES.map(str::to_owned).to_vec();
    let whole = [
        ("owners", HubSpotPart::Owners(FullLoad::Replace)),
        (
            "pipelines",
            HubSpotPart::Pipelines(pipelines, FullLoad::Replace),
        ),
    ];
    let looks = records
        .into_iter()
        .chain(whole)
        .map(|(name, part)| async move {
            let config = HubSpotObject {
                source: Ok(Arc::clone(source)),
                object: name.to_owned(),
                part,
                masks: Masks::default(),
            };
            let opened = hubspot.open(&config).await;
            let is_incremental = matches!(config.part, HubSpotPart::Records(..));
            match opened {
                Ok(stream) => {
                    let key = stream.description().primary_key.clone();
                    Ok(object(name, key, is_incremental, None))
                }
                // HubSpot answers, and refuses.
                Err(error @ Error::Source(_)) => {
                    Ok(object(name, Vec::new(), is_incremental, Some(told(&error))))
                }
                Err(error @ Error::Config(_)) => {
                    let mut found = object(name, Vec::new(), false, None);
                    found.proposal.why = told(&error);
                    Ok(found)
                }
                Err(error) => Err(error),
            }
        });
    join_all(looks).await.into_iter().collect()
}

fn told(error: &Error) -> String {
    match error.remedy_text() {
        Some(remedy) => format!("{error}: {remedy}"),
        None => error.to_string(),
    }
}

fn incremental() -> HubSpotRead {
    HubSpotRead::Incremental(HubSpotIncremental {
        load: KeyedLoad::Merge,
        initial: None,
        lag: None,
        compare: None,
        calculated: Calculated::Ignore,
    })
}

fn object(
    name: &str,
    key: Vec<String>,
    is_incremental: bool,
    problem: Option<String>,
) -> FoundTable {
    let (mode, why) = if is_incremental {
        (
            Mode::Incremental,
            "HubSpot tells which records have changed",
        )
    } else {
        (Mode::Full, "few, and without a time of their changes")
    };
    FoundTable {
        schema: None,
        name: name.to_owned(),
        kind: TableKind::Object,
        rows: None,
        bytes: None,
        key_is_primary: !key.is_empty(),
        key,
        cursors: Vec::new(),
        problem,
        proposal: Proposal {
            mode,
            cursor: None,
            why: why.to_owned(),
        },
    }
}
