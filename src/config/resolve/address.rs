//! Whether a service on the web may be asked at an address. No I/O.

use url::{Host, Url};

/// What is wrong and what to do, never with the address, which may hold a password. `insecure` says that a secret may travel in
/// clear.
pub(super) fn check(text: &str, insecure: bool) -> Result<(), (&'static str, &'static str)> {
    let url = check_reached(text, insecure)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err((
            "it has a `?` or `#` in it",
            "write the address up to there: paths are added at its end",
        ));
    }
    Ok(())
}

/// As [`check`], of an address that is used as it is, and may be a secret as a whole.
pub(super) fn check_hook(text: &str, insecure: bool) -> Result<(), (&'static str, &'static str)> {
    check_reached(text, insecure).map(drop)
}

fn check_reached(text: &str, insecure: bool) -> Result<Url, (&'static str, &'static str)> {
    let no_address = ("this is no address", "write https://…");
    let url = Url::parse(text).map_err(|_| no_address)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(no_address);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err((
            "it has a user or a password in it",
            "take what stands before the `@` out: credentials have keys of their own",
        ));
    }
    if url.scheme() == "http" && !is_this_machine(&url) && !insecure {
        return Err((
            "a secret would travel in clear to another machine",
            "write https://…; where the way there is safe by other means, set insecure_http = true",
        ));
    }
    Ok(url)
}

/// Whether an address is one of this machine.
pub(in crate::config) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
