//! Secrets, and addresses that would give them away.

use super::*;

#[test]
fn an_address_with_a_password_is_refused_and_not_shown() {
    let crm = Crm::of(1, FULL);
    let stream = format!("[streams.companies]\nsource = \"crm\"\n{FULL}");
    for (address, told) in [
        (
            "https://usuario:contrasena@proxy.example/hubspot",
            "a user or a password",
        ),
        ("https://contrasena@proxy.example", "a user or a password"),
        ("https://proxy.example/?clave=contrasena", "`?` or `#`"),
        ("http://proxy.contrasena.example:8080", "in clear"),
        ("http://10.0.0.7", "in clear"),
        ("ftp://contrasena.example", "no address"),
        ("contrasena", "no address"),
    ] {
        crm.configure_at(address, "2026-03", &stream);
        for command in ["run", "check"] {
            let output = crm.acequia(&[command]);
            let shown = format!("{}{}", output.stdout, output.stderr);
            assert_eq!(output.status, Some(2), "{address}: {shown}");
            assert!(shown.contains(told), "{address}: {shown}");
            assert!(!shown.contains("contrasena"), "{address}: {shown}");
        }
    }
}

#[test]
fn plain_http_to_another_machine_is_only_had_by_asking_for_it() {
    let crm = Crm::of(1, FULL);
    let stream = format!("[streams.companies]\nsource = \"crm\"\n{FULL}");
    // Not a loopback address, though the system takes it for one.
    let address = crm.server.url().replace("127.0.0.1", "0.0.0.0");
    crm.configure_at(&address, "2026-03", &stream);
    let output = crm.acequia(&["run"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(crm.server.requests().is_empty());
    crm.configure_at(
        &format!("{address}\"\ninsecure_http = true\n#\""),
        "2026-03",
        &stream,
    );
    crm.run();
    crm.assert_complete();
}

#[cfg(unix)]
#[test]
fn a_file_of_secrets_that_others_can_read_is_told_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let crm = Crm::of(1, FULL);
    let file = crm.folder.path().join(".env");
    std::fs::write(&file, "HUBSPOT_OTRO=x\n").unwrap();
    for (mode, told) in [(0o644, true), (0o640, true), (0o600, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        for command in ["run", "check"] {
            let output = crm.acequia(&[command]);
            assert_eq!(output.status, Some(0), "{output:?}");
            let is_told = output.stderr.contains("can be read by others")
                && output.stderr.contains("chmod 600");
            assert_eq!(is_told, told, "{mode:o} {command}: {output:?}");
        }
    }
}
