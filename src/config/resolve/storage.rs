//! Object storage, as the usual variables of the environment tell of it: those that the landing area goes by.

use crate::config::{ObjectStorage, Secret};

/// The region of whoever names none: that of what only speaks as S3 does is not asked for.
const REGION: &str = "us-east-1";

/// What the environment says; none where it has no key.
pub(super) fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Option<ObjectStorage> {
    let first = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| variable(name));
        values.find(|value| !value.is_empty())
    };
    let endpoint = first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]);
    let by_host = first(&["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"])
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Some(ObjectStorage {
        key_id: first(&["AWS_ACCESS_KEY_ID"])?,
        secret: Secret::new(first(&["AWS_SECRET_ACCESS_KEY"])?),
        session_token: first(&["AWS_SESSION_TOKEN"]).map(Secret::new),
        region: first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or_else(|| REGION.to_owned()),
        by_path: endpoint.is_some() && !by_host,
        endpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_ones_own_is_asked_by_path_and_nothing_comes_of_half_a_key() {
        let of = |set: &[(&str, &str)]| {
            from_environment(&|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let key = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[key[0]]), None);
        let aws = of(&key).unwrap();
        assert_eq!((aws.by_path, aws.region.as_str()), (false, REGION));
        let at = ("AWS_ENDPOINT_URL", "http://127.0.0.1:8333");
        let own = of(&[key[0], key[1], at, ("AWS_REGION", "eu-west-1")]).unwrap();
        assert_eq!(own.endpoint.as_deref(), Some(at.1));
        assert_eq!((own.by_path, own.region.as_str()), (true, "eu-west-1"));
        let by_host = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        assert!(!of(&[key[0], key[1], at, by_host]).unwrap().by_path);
        assert!(!format!("{own:?}").contains("\"s\""));
    }
}
