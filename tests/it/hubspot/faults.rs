//! Refusals, limits and faults of the wire.

use super::*;

#[test]
fn s08_a_429_of_the_window_or_the_second_is_waited_out() {
    let crm = Crm::of(250, INCREMENTAL);
    let body = |policy: &str| {
        format!("{{\"status\":\"error\",\"errorType\":\"RATE_LIMIT\",\"policyName\":\"{policy}\"}}")
    };
    crm.server.inject(
        Fault::body("after=cursor", 429, &body("TEN_SECONDLY_ROLLING")).header("Retry-After", "1"),
    );
    crm.run();
    crm.assert_complete();
    crm.server
        .inject(Fault::body("/search", 429, &body("SECONDLY")));
    crm.server.portal().update(
        "companies",
        Portal::generated_id(3),
        &[("city", Some("Lugo"))],
    );
    let began = Instant::now();
    assert_eq!(counts(&crm.run(), "companies").2, 1);
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "the second was not waited for"
    );
}

#[test]
fn s08_the_daily_limit_ends_the_run_and_what_is_loaded_stays() {
    let crm = Crm::of(250, INCREMENTAL);
    crm.run();
    let position = crm.value("SELECT position FROM replica._acequia_state");
    crm.server.set_limits(Limits {
        daily: Some(1),
        ..Limits::default()
    });
    let error = crm.run_failing("companies");
    assert!(
        error.contains("daily limit") && error.contains("midnight"),
        "{error}"
    );
    assert_eq!(
        crm.value("SELECT position FROM replica._acequia_state"),
        position
    );
    crm.server.set_limits(Limits::default());
    crm.run();
    crm.assert_complete();
}

#[test]
fn s08_no_429_comes_where_the_headers_are_heeded() {
    let limits = Limits {
        window: Some(20),
        window_length: Duration::from_secs(2),
        ..Limits::default()
    };
    let crm = Crm::new(
        HubSpotServer::options().companies(6_000).limits(limits),
        FULL,
    );
    let began = Instant::now();
    crm.run();
    crm.assert_complete();
    assert_eq!(crm.server.answered(429), 0);
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "slower than it may: {:?}",
        began.elapsed()
    );
}

#[test]
fn s09_searches_are_paced_though_no_header_says_how() {
    let crm = Crm::new(
        HubSpotServer::options()
            .companies(3_000)
            .limits(unlimited()),
        INCREMENTAL,
    );
    crm.run();
    for number in 1..=3_000 {
        crm.server.portal().update(
            "companies",
            Portal::generated_id(number),
            &[("city", Some("Soria"))],
        );
    }
    assert_eq!(counts(&crm.run(), "companies").2, 3_000);
    assert_eq!(crm.server.answered(429), 0);
}

#[test]
fn s10_faults_that_pass_are_outlived() {
    let crm = Crm::of(320, FULL);
    let mut faults: Vec<Fault> = [500, 502, 503, 504, 521, 523, 524, 423]
        .into_iter()
        .map(|status| Fault::status("after=cursor", status))
        .collect();
    faults.push(Fault::body("after=cursor", 502, "<html>Bad Gateway</html>"));
    faults.push(Fault::status("after=cursor", 477).header("Retry-After", "1"));
    faults.extend(
        [
            Failure::Reset,
            Failure::CutBody,
            Failure::CutJson,
            Failure::Html,
        ]
        .map(|failure| Fault::new("after=cursor", failure)),
    );
    for fault in faults {
        let shown = format!("{fault:?}");
        crm.server.inject(fault.after(1));
        let report = crm.run();
        assert_eq!(counts(&report, "companies").0, 320, "{shown}");
        crm.assert_complete();
    }
}

#[test]
fn s10_a_batch_that_is_cut_off_is_asked_again_and_nothing_of_it_stays() {
    let crm = Crm::new(
        HubSpotServer::options().companies(320).properties(900),
        FULL,
    );
    for failure in [Failure::CutJson, Failure::Html, Failure::CutBody] {
        crm.server
            .inject(Fault::new("/batch/read", failure).after(1));
        crm.run();
        crm.assert_complete();
    }
}

/// What is not quite JSON, and could be gone over by whoever only looks for brackets and quotes.
const NOT_QUITE_JSON: [&str; 6] = [
    "[1,,2]",
    "truefalse",
    "{\"b\" 1}",
    "1-+.e5",
    "{\"b\":1:2}",
    "\"uno\ndos\"",
];

#[test]
fn s10_what_is_not_quite_json_is_refused_by_name_and_nothing_of_it_is_loaded() {
    let crm = Crm::of(250, FULL);
    // One more than a request is sent again: each of these stands in two places at which nobody looks, or where text is
    // taken as it comes.
    for round in 0..2 {
        for broken in NOT_QUITE_JSON {
            let (beside, value) = if round == 0 {
                (broken, "\"uno\"")
            } else {
                ("null", broken)
            };
            let page = format!(
                "{{\"results\":[{{\"id\":\"1\",\"createdAt\":\"2026-01-01T00:00:00Z\",\"updatedAt\":\
                 \"2026-01-01T00:00:00Z\",\"archived\":false,\"beside\":{beside},\"properties\":{{\"name\":{value}}}}}]}}"
            );
            crm.server.inject(Fault::body("after=cursor", 200, &page));
        }
    }
    let error = crm.run_failing("companies");
    assert!(
        error.contains("HubSpot's answer for the companies is cut off or is no JSON")
            && error.contains("8 times in a row"),
        "{error}"
    );
    assert!(crm.columns("companies").is_empty(), "a table was made");
    // The rest of them, and then it is whole.
    crm.run();
    crm.assert_complete();
}

#[test]
fn s11_a_token_that_is_refused_ends_the_run_and_is_never_shown() {
    let mut crm = Crm::of(20, FULL);
    crm.run();
    crm.server.expire_token();
    for (token, told) in [
        (HUBSPOT_TOKEN, "expired"),
        ("pat-eu1-de-otro-secreto", "does not accept the token"),
        ("pat con espacios secreto", "HubSpot token is not one"),
        ("pat-ñ-secreto", "HubSpot token is not one"),
    ] {
        token.clone_into(&mut crm.token);
        crm.server.forget_requests();
        for arguments in [
            &["run", "-v", "--output", "json"][..],
            &["run", "--log-format", "json"],
            &["check", "-v"],
            &["status"],
        ] {
            let output = crm.acequia(arguments);
            let shown = format!("{}{}", output.stdout, output.stderr);
            assert!(
                !shown.contains(token),
                "{arguments:?} shows the token: {shown}"
            );
            if arguments.first() == Some(&"run") {
                assert_eq!(output.status, Some(1), "{shown}");
                assert!(shown.contains(told), "{told}: {shown}");
            }
        }
        let asked = crm.server.requests().len();
        assert!(asked <= 3, "a refused token was tried again: {asked}");
    }
    crate::support::assert_in_no_file(crm.folder.path(), HUBSPOT_TOKEN);
}

#[test]
fn s12_a_missing_scope_is_named_and_the_other_streams_go_on() {
    let crm = Crm::of(20, FULL);
    crm.streams(
        "[streams.companies]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"full\"\n\
         [streams.deals]\nsource = \"crm\"\nobject = \"deals\"\nmode = \"full\"\n",
    );
    crm.server.deny_scope("crm.objects.companies.read");
    let error = crm.run_failing("companies");
    assert!(error.contains("crm.objects.companies.read"), "{error}");
    assert_eq!(crm.value("SELECT count(*) FROM replica.deals"), "10");
    let check = crm.acequia(&["check"]);
    assert_eq!(check.status, Some(1));
    let shown = format!("{}{}", check.stdout, check.stderr);
    assert!(
        shown.contains("crm.objects.companies.read") && shown.contains("Scopes"),
        "{shown}"
    );
    crm.server.deny_scope("crm.schemas.deals.read");
    assert!(crm.run_failing("deals").contains("crm.schemas.deals.read"));
}

#[test]
fn s13_errors_of_any_shape_are_told() {
    let crm = Crm::of(20, FULL);
    for (status, body, told) in [
        (400, "", "status 400"),
        (400, "<html>what?</html>", "status 400"),
        (400, "{\"message\":\"limit is wrong\"}", "limit is wrong"),
        (403, "{}", "crm.objects.companies.read"),
        (403, "[1, 2", "crm.objects.companies.read"),
        (404, "null", "does not know"),
        (
            418,
            "{\"status\":\"error\",\"correlationId\":\"c0ffee\"}",
            "c0ffee",
        ),
    ] {
        crm.server
            .inject(Fault::body("properties=annualrevenue", status, body));
        let error = crm.run_failing("companies");
        assert!(error.contains(told), "{told}: {error}");
    }
}

/// A token that a command prints: the first is refused, and another one is had; then none is right.
#[test]
fn a_token_that_is_not_taken_is_printed_anew() {
    let crm = Crm::of(20, FULL);
    let config = crm.folder.path().join("acequia.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let with = |command: &str| {
        let key = format!("token_command = \"\"\"{command}\"\"\"");
        std::fs::write(&config, text.replace("token = \"${HUBSPOT_TOKEN}\"", &key)).unwrap();
    };
    let runs = || {
        let runs = std::fs::read_to_string(crm.folder.path().join("runs")).unwrap_or_default();
        runs.lines().count()
    };
    with(
        "echo run >> runs; if [ $(wc -l < runs) = 1 ]; then echo pat-eu1-caducado; else echo $HUBSPOT_TOKEN; fi",
    );
    crm.run();
    crm.assert_complete();
    // Once when it was needed, and once when it was not taken, however many requests there were.
    assert_eq!(runs(), 2);
    assert!(crm.server.requests().len() > 3);
    assert_eq!(crm.acequia(&["check"]).status, Some(0));
    with("echo run >> runs; echo pat-eu1-s3cr3t");
    crm.server.forget_requests();
    let output = crm.acequia(&["run", "-v", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let shown = format!("{}{}", output.stdout, output.stderr);
    assert!(shown.contains("does not accept the token"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
    assert_eq!(
        crm.server.requests().len(),
        2,
        "it is asked once more, and no more"
    );
    with("echo 'vault is sealed' >&2; exit 2");
    let output = crm.acequia(&["run"]);
    assert!(
        output
            .stderr
            .contains("[sources.crm] token_command gave no secret")
            && output.stderr.contains("vault is sealed"),
        "{output:?}"
    );
    let both = "token = \"x\"\ntoken_command = \"echo x\"";
    std::fs::write(&config, text.replace("token = \"${HUBSPOT_TOKEN}\"", both)).unwrap();
    let output = crm.acequia(&["run"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("there is a `token_command` as well"),
        "{output:?}"
    );
}

/// An answer that is not all that was asked for does not pass for it.
#[test]
fn a_batch_that_says_that_it_is_not_whole_is_asked_for_again() {
    let stream = format!("{INCREMENTAL}associations = [\"contacts\"]\nhistory = [\"name\"]\n");
    let crm = Crm::of(3, &stream);
    let failed = r#"{"status":"COMPLETE","results":[],"numErrors":1,"errors":[{"status":"error","category":"INTERNAL_ERROR","message":"internal error, correlation 77"}]}"#;
    crm.run();
    let before = crm.value("SELECT count(*) FROM replica.companies__contacts");
    assert_ne!(before, "0");
    for path in ["associations", "batch/read"] {
        for (status, body, told) in [
            (200, r#"{"status":"CANCELED","results":[]}"#, "CANCELED"),
            (202, r#"{"status":"PROCESSING","results":[]}"#, "PROCESSING"),
            (
                207,
                r#"{"status":"COMPLETE","results":[],"numErrors":3}"#,
                "3 error(s)",
            ),
            (
                207,
                failed,
                "INTERNAL_ERROR: internal error, correlation 77",
            ),
        ] {
            let id = Portal::generated_id(1);
            let update = [("name", Some(body))];
            crm.server.portal().update("companies", id, &update);
            crm.server.inject(Fault::body(path, status, body));
            let output = crm.acequia(&["run"]);
            assert_eq!(output.status, Some(0), "{output:?}");
            // The first answer for a batch of records is asked for again without a word.
            let is_told = output.stderr.contains("is not complete") && output.stderr.contains(told);
            assert!(is_told || path == "batch/read", "{path}: {output:?}");
            let pairs = "SELECT count(*) FROM replica.companies__contacts";
            assert_eq!(crm.value(pairs), before, "{path}: {told}");
        }
    }
    crm.assert_complete();
}
