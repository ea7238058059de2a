//! HubSpot over real HTTP: the scenarios that a reader of its CRM has to get right.

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testkit::hubspot::{Failure, Fault, HubSpotOptions, Limits, Portal, Property};
use testkit::{HUBSPOT_TOKEN, HubSpotServer};

use crate::support::{Output, counts, stream_report};

const FULL: &str = "object = \"companies\"\nmode = \"full\"\n";
const INCREMENTAL: &str = "object = \"companies\"\nmode = \"incremental\"\n";

/// A pipeline in a folder of its own, and a HubSpot of its own.
struct Crm {
    folder: TempDir,
    server: HubSpotServer,
    token: String,
}

impl Crm {
    fn new(options: HubSpotOptions, companies: &str) -> Self {
        let crm = Self {
            folder: tempfile::tempdir().unwrap(),
            server: options.start().unwrap(),
            token: HUBSPOT_TOKEN.to_owned(),
        };
        crm.streams(&format!(
            "[streams.companies]\nsource = \"crm\"\n{companies}"
        ));
        crm
    }

    /// With so many generated companies.
    fn of(companies: u64, stream: &str) -> Self {
        Self::new(HubSpotServer::options().companies(companies), stream)
    }

    fn streams(&self, streams: &str) {
        self.configure("2026-03", streams);
    }

    fn configure(&self, version: &str, streams: &str) {
        let text = format!(
            r#"
[pipeline]
name = "crm"
dataset = "replica"
destination = "duckdb"

[destinations.duckdb]
kind = "duckdb"
path = "crm.duckdb"

[sources.crm]
kind = "hubspot"
token = "${{HUBSPOT_TOKEN}}"
base_url = "{}"
api_version = "{version}"

{streams}"#,
            self.server.url()
        );
        std::fs::write(self.folder.path().join("acequia.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_acequia"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HUBSPOT_TOKEN", &self.token)
            .stdin(std::process::Stdio::null());
        command
    }

    fn acequia(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    fn run(&self) -> Value {
        let output = self.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        output.json()
    }

    /// A run that fails: what it says of the stream.
    fn run_failing(&self, stream: &str) -> String {
        let output = self.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        stream_report(&output.json(), stream)["error"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A query's first column, as text; `-` for NULL.
    fn values(&self, sql: &str) -> Vec<String> {
        let connection = duckdb::Connection::open(self.folder.path().join("crm.duckdb")).unwrap();
        let sql = format!("SELECT coalesce(CAST(x AS VARCHAR), '-') FROM ({sql}) AS q(x)");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn value(&self, sql: &str) -> String {
        self.values(sql).remove(0)
    }

    fn columns(&self, table: &str) -> Vec<String> {
        self.values(&format!(
            "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'replica' AND table_name = '{table}' ORDER BY column_index"
        ))
    }

    /// Asserts that the table holds just the records that the portal has, each once.
    fn assert_complete(&self) {
        let expected: Vec<String> = self
            .server
            .portal()
            .ids("companies")
            .iter()
            .map(u64::to_string)
            .collect();
        let found =
            self.values("SELECT id FROM replica.companies WHERE merged_into IS NULL ORDER BY id");
        assert_eq!(found.len(), expected.len());
        assert_eq!(found, expected);
    }
}

fn unlimited() -> Limits {
    Limits {
        window: Some(100_000),
        ..Limits::default()
    }
}

/// One company whose property `valor` is of a type, and has a value; what the table has of it: typed, and beside.
fn typed(kind: &str, values: &[Option<&str>]) -> Vec<(String, String)> {
    let crm = Crm::of(0, FULL);
    {
        let mut portal = crm.server.portal();
        portal.set_property("companies", Property::new("valor", kind));
        portal.set_property("companies", Property::new("orden", "number"));
        for (place, value) in values.iter().enumerate() {
            portal.create(
                "companies",
                &[("valor", *value), ("orden", Some(&place.to_string()))],
            );
        }
    }
    let report = crm.run();
    let typed = crm.values("SELECT valor FROM replica.companies ORDER BY orden");
    let has_beside = crm.columns("companies").contains(&"valor__text".to_owned());
    let beside = if has_beside {
        crm.values("SELECT valor__text FROM replica.companies ORDER BY orden")
    } else {
        vec!["-".to_owned(); typed.len()]
    };
    let misfits = beside.iter().filter(|text| *text != "-").count();
    let warnings = stream_report(&report, "companies")["warnings"].to_string();
    assert_eq!(
        misfits > 0,
        warnings.contains(&format!("{misfits} value(s) of `valor`")),
        "{warnings}"
    );
    typed.into_iter().zip(beside).collect()
}

fn pair(typed: &str, beside: &str) -> (String, String) {
    (typed.to_owned(), beside.to_owned())
}

#[test]
fn s01_pages_of_any_number_of_records_are_complete() {
    for companies in [0, 1, 100, 101] {
        let crm = Crm::of(companies, FULL);
        let report = crm.run();
        assert_eq!(counts(&report, "companies").0, companies);
        crm.assert_complete();
    }
}

#[test]
fn s01_the_older_paths_give_the_same() {
    let crm = Crm::of(250, FULL);
    crm.run();
    let sum = "SELECT sum(hash(c.* EXCLUDE (_acequia_load_id))) FROM replica.companies AS c";
    let sum = sum.replace(
        "c.* EXCLUDE (_acequia_load_id)",
        "id || name || annualrevenue || updated_at",
    );
    let dated = crm.value(&sum);
    crm.configure(
        "v3",
        &format!("[streams.companies]\nsource = \"crm\"\n{FULL}"),
    );
    crm.server.forget_requests();
    crm.run();
    assert_eq!(crm.value(&sum), dated);
    assert!(
        crm.server
            .requests()
            .iter()
            .all(|request| request.path.starts_with("/crm/v3/"))
    );
}

#[test]
fn s02_nine_hundred_long_property_names_all_come() {
    let crm = Crm::of(230, FULL);
    for number in 0..900 {
        let name = format!(
            "una_propiedad_de_nombre_muy_largo_como_los_que_hacen_las_importaciones_{number:04}"
        );
        crm.server
            .portal()
            .set_property("companies", Property::new(&name, "string"));
    }
    let id = Portal::generated_id(7);
    let last = "una_propiedad_de_nombre_muy_largo_como_los_que_hacen_las_importaciones_0899";
    crm.server
        .portal()
        .update("companies", id, &[(last, Some("sí"))]);
    crm.run();
    crm.assert_complete();
    assert_eq!(
        crm.value(&format!(
            "SELECT {last} FROM replica.companies WHERE id = '{id}'"
        )),
        "sí"
    );
    assert_eq!(crm.server.answered(414), 0);
}

#[test]
fn s02_an_address_that_is_too_long_after_all_is_not_asked_again() {
    let crm = Crm::of(230, FULL);
    crm.server.inject(Fault::body(
        "properties=annualrevenue",
        414,
        "<html>too long</html>",
    ));
    crm.run();
    crm.assert_complete();
}

#[test]
fn s03_a_record_that_vanishes_between_the_pieces_is_in_the_archive() {
    let crm = Crm::new(
        HubSpotServer::options().companies(450).properties(900),
        FULL,
    );
    let (gone, changed, purged) = (
        Portal::generated_id(50),
        Portal::generated_id(51),
        Portal::generated_id(52),
    );
    // On the first page of ids, and before any batch is answered: several are under way at once, in no order.
    crm.server.before("/batch/read", 0, move |portal| {
        portal.archive("companies", gone);
        portal.update("companies", changed, &[("city", Some("Teruel"))]);
        portal.purge("companies", purged);
    });
    crm.run();
    crm.assert_complete();
    assert_eq!(
        crm.value(&format!(
            "SELECT archived FROM replica.companies WHERE id = '{gone}'"
        )),
        "true"
    );
    assert_eq!(
        crm.value(&format!(
            "SELECT city FROM replica.companies WHERE id = '{changed}'"
        )),
        "Teruel"
    );
}

#[test]
fn s04_more_changes_than_a_search_shows_all_come() {
    let crm = Crm::new(
        HubSpotServer::options()
            .companies(25_300)
            .limits(unlimited()),
        INCREMENTAL,
    );
    crm.run();
    for number in 1..=25_000 {
        crm.server.portal().update(
            "companies",
            Portal::generated_id(number),
            &[("city", Some("Soria"))],
        );
    }
    let report = crm.run();
    assert_eq!(counts(&report, "companies"), (25_000, 0, 25_000, 0));
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies WHERE city = 'Soria'"),
        "25000"
    );
    crm.assert_complete();
    assert_eq!(crm.server.answered(400) + crm.server.answered(429), 0);
}

#[test]
fn s05_twelve_thousand_changes_of_one_moment_end_and_none_is_lost() {
    let crm = Crm::new(
        HubSpotServer::options()
            .companies(12_000)
            .limits(unlimited()),
        INCREMENTAL,
    );
    crm.run();
    let moment = crm.server.portal().now();
    for number in 1..=12_000 {
        crm.server.portal().update_at(
            "companies",
            Portal::generated_id(number),
            &[("city", Some("Soria"))],
            moment,
        );
    }
    let report = crm.run();
    assert_eq!(counts(&report, "companies"), (12_000, 0, 12_000, 0));
    assert_eq!(
        crm.value("SELECT count(DISTINCT id) FROM replica.companies WHERE city = 'Soria'"),
        "12000"
    );
}

#[test]
fn s06_a_record_that_search_knows_minutes_later_is_found_and_not_twice() {
    let crm = Crm::of(20, INCREMENTAL);
    crm.run();
    crm.server.portal().set_index_lag(180);
    let id = crm
        .server
        .portal()
        .create("companies", &[("name", Some("Tardía, S.L."))]);
    assert_eq!(
        counts(&crm.run(), "companies").0,
        0,
        "search does not know it yet"
    );
    crm.server.portal().advance(240);
    assert_eq!(counts(&crm.run(), "companies").1, 1);
    crm.server.portal().advance(60);
    crm.run();
    assert_eq!(
        crm.value(&format!(
            "SELECT count(*) FROM replica.companies WHERE id = '{id}'"
        )),
        "1"
    );
    crm.assert_complete();
}

#[test]
fn s07_a_change_during_the_run_is_in_it_or_in_the_next() {
    let crm = Crm::of(450, INCREMENTAL);
    let (read, unread) = (Portal::generated_id(1), Portal::generated_id(449));
    crm.server.before("after=cursor", 2, move |portal| {
        portal.update("companies", read, &[("city", Some("Lugo"))]);
        portal.update("companies", unread, &[("city", Some("Lugo"))]);
    });
    crm.run();
    crm.run();
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies WHERE city = 'Lugo'"),
        "2"
    );
    crm.assert_complete();
}

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
    for file in crate::support::files_below(crm.folder.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let holds = bytes
            .windows(HUBSPOT_TOKEN.len())
            .any(|window| window == HUBSPOT_TOKEN.as_bytes());
        assert!(!holds, "the token is in {}", file.display());
    }
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

#[test]
fn s14_numbers_are_exact_and_what_is_none_stands_beside() {
    let found = typed(
        "number",
        &[
            Some("67340.0"),
            Some("1e5"),
            Some("1234567890123456789"),
            Some("N/A"),
            Some(""),
            None,
            Some("0"),
            Some("-0.333333333333333315"),
            Some("1e40"),
        ],
    );
    let plain: Vec<(String, String)> = found
        .into_iter()
        .map(|(typed, beside)| match typed.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => {
                (whole.to_owned(), beside)
            }
            _ => (typed, beside),
        })
        .collect();
    assert_eq!(
        plain,
        [
            pair("67340", "-"),
            pair("100000", "-"),
            pair("1234567890123456789", "-"),
            pair("-", "N/A"),
            pair("-", "-"),
            pair("-", "-"),
            pair("0", "-"),
            pair("-0.333333333333333315", "-"),
            pair("-", "1e40"),
        ]
    );
}

#[test]
fn s15_bools_in_any_case_and_choices_of_several() {
    let found = typed(
        "bool",
        &[Some("true"), Some("FALSE"), Some(""), None, Some("sí")],
    );
    assert_eq!(
        found,
        [
            pair("true", "-"),
            pair("false", "-"),
            pair("-", "-"),
            pair("-", "-"),
            pair("-", "sí")
        ]
    );
    let found = typed("enumeration", &[Some("excel;sql"), Some(""), None]);
    assert_eq!(
        found,
        [pair("excel;sql", "-"), pair("", "-"), pair("-", "-")]
    );
}

#[test]
fn s16_dates_however_they_are_written() {
    let found = typed(
        "date",
        &[
            Some("2020-02-29"),
            Some("1582934400000"),
            Some("1582934400000.0"),
            Some("1.5829344E12"),
            Some("1969-07-20"),
            Some("-14256000000"),
            Some("1582934400001"),
            Some("29/02/2020"),
            Some(""),
        ],
    );
    assert_eq!(
        found,
        [
            pair("2020-02-29", "-"),
            pair("2020-02-29", "-"),
            pair("2020-02-29", "-"),
            pair("2020-02-29", "-"),
            pair("1969-07-20", "-"),
            pair("1969-07-20", "-"),
            pair("-", "1582934400001"),
            pair("-", "29/02/2020"),
            pair("-", "-"),
        ]
    );
    let found = typed(
        "datetime",
        &[
            Some("2020-02-29T10:00:00Z"),
            Some("2020-02-29T10:00:00.123Z"),
            Some("2020-02-29T11:00:00.123+01:00"),
            Some("1582970400123"),
            Some("1960-01-01T00:00:00Z"),
            Some("pronto"),
        ],
    );
    let same = "2020-02-29 10:00:00.123+00";
    assert_eq!(
        found,
        [
            pair("2020-02-29 10:00:00+00", "-"),
            pair(same, "-"),
            pair(same, "-"),
            pair(same, "-"),
            pair("1960-01-01 00:00:00+00", "-"),
            pair("-", "pronto"),
        ]
    );
}

#[test]
fn s17_archived_restored_and_purged() {
    let crm = Crm::of(150, INCREMENTAL);
    let (restored, purged, stays) = (
        Portal::generated_id(5),
        Portal::generated_id(6),
        Portal::generated_id(7),
    );
    crm.server.portal().archive("companies", stays);
    crm.server.portal().advance(3_600);
    crm.run();
    let state = |id: u64| {
        crm.value(&format!("SELECT archived || ' ' || (archived_at IS NOT NULL) FROM replica.companies WHERE id = '{id}'"))
    };
    assert_eq!(state(stays), "true true");
    crm.server.portal().advance(3_600);
    for id in [restored, purged] {
        crm.server.portal().archive("companies", id);
    }
    assert_eq!(counts(&crm.run(), "companies"), (2, 0, 2, 0));
    assert_eq!(
        (state(restored), state(purged)),
        ("true true".to_owned(), "true true".to_owned())
    );
    crm.server.portal().advance(3_600);
    crm.server.portal().restore("companies", restored);
    crm.server.portal().purge("companies", purged);
    crm.run();
    assert_eq!(state(restored), "false false");
    assert_eq!(
        state(purged),
        "true true",
        "the archive is where it was last seen"
    );
    assert_eq!(
        counts(&crm.run(), "companies").0,
        0,
        "nothing more to say of it"
    );
    assert_eq!(crm.value("SELECT count(*) FROM replica.companies"), "150");
}

#[test]
fn s18_a_merged_record_is_marked_with_the_one_that_it_is_now() {
    for stream in [FULL, INCREMENTAL] {
        let crm = Crm::of(120, stream);
        crm.run();
        let (gone, survivor) = (Portal::generated_id(30), Portal::generated_id(31));
        crm.server.portal().advance(3_600);
        crm.server.portal().merge("companies", gone, survivor);
        crm.run();
        let merged = crm.values("SELECT id || ' ' || merged_into || ' ' || archived FROM replica.companies WHERE merged_into IS NOT NULL");
        assert_eq!(merged, [format!("{gone} {survivor} true")]);
        assert_eq!(crm.value("SELECT count(*) FROM replica.companies"), "120");
        crm.run();
        crm.assert_complete();
    }
}

#[test]
fn s19_associations_with_their_pages_and_labels() {
    let crm = Crm::of(1_200, &format!("{FULL}associations = [\"contacts\"]\n"));
    let company = Portal::generated_id(3);
    let label = "Responsable de formación";
    for number in 1..=1_150 {
        crm.server.portal().associate(
            ("companies", company),
            ("contacts", Portal::generated_id(number)),
            99,
            Some("Asistente"),
        );
    }
    crm.run();
    assert_eq!(
        crm.value(&format!("SELECT count(DISTINCT to_id) FROM replica.companies__contacts WHERE from_id = '{company}' AND type_id = 99")),
        "1150"
    );
    assert_eq!(
        crm.value("SELECT count(DISTINCT from_id) FROM replica.companies__contacts"),
        "1200"
    );
    assert_eq!(
        crm.value(&format!(
            "SELECT count(*) FROM replica.companies__contacts WHERE label = '{label}'"
        )),
        "240"
    );
    crm.server.portal().dissociate(
        ("companies", company),
        ("contacts", Portal::generated_id(1)),
    );
    crm.run();
    assert_eq!(
        crm.value(&format!("SELECT count(*) FROM replica.companies__contacts WHERE from_id = '{company}' AND type_id = 99")),
        "1149"
    );
}

#[test]
fn s20_a_property_that_is_new_or_archived_is_a_column_that_comes_or_rests() {
    let crm = Crm::of(50, FULL);
    crm.run();
    crm.server.portal().set_property(
        "companies",
        Property::new("sector", "string").created_at(1_750_000_000_000),
    );
    crm.server.portal().update(
        "companies",
        Portal::generated_id(1),
        &[("sector", Some("vino"))],
    );
    crm.server.portal().archive_property("companies", "city");
    crm.run();
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies WHERE sector = 'vino'"),
        "1"
    );
    assert_eq!(crm.value("SELECT count(city) FROM replica.companies"), "0");
    assert!(crm.columns("companies").contains(&"city".to_owned()));
}

#[test]
fn s20_a_property_of_another_type_makes_the_table_anew_and_is_told() {
    let crm = Crm::of(50, FULL);
    crm.run();
    crm.server
        .portal()
        .set_property("companies", Property::new("annualrevenue", "string"));
    let output = crm.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("`annualrevenue` changed"),
        "{output:?}"
    );
    crm.assert_complete();
}

#[test]
fn s20_names_that_differ_only_in_case_are_two_columns() {
    let crm = Crm::of(5, FULL);
    crm.server.portal().set_property(
        "companies",
        Property::new("Sector", "string").created_at(1_700_000_000_000),
    );
    crm.server.portal().set_property(
        "companies",
        Property::new("sector", "string").created_at(1_750_000_000_000),
    );
    let id = Portal::generated_id(1);
    crm.server.portal().update(
        "companies",
        id,
        &[("Sector", Some("A")), ("sector", Some("b"))],
    );
    crm.run();
    let columns = crm.columns("companies");
    let second = columns
        .iter()
        .find(|name| name.starts_with("sector__"))
        .unwrap();
    assert!(columns.contains(&"Sector".to_owned()));
    assert_eq!(
        crm.value(&format!(
            "SELECT \"Sector\" || \"{second}\" FROM replica.companies WHERE id = '{id}'"
        )),
        "Ab"
    );
}

#[test]
fn s20_custom_objects_by_id_and_by_name() {
    for object in ["2-123", "p_sedes"] {
        let crm = Crm::of(
            0,
            &format!("object = \"{object}\"\nmode = \"incremental\"\n"),
        );
        crm.server.portal().generate("2-123", 130);
        crm.run();
        assert_eq!(crm.value("SELECT count(*) FROM replica.companies"), "130");
        crm.server.portal().update(
            "2-123",
            Portal::generated_id(1),
            &[("hs_title", Some("Sede"))],
        );
        assert_eq!(counts(&crm.run(), "companies").2, 1);
    }
}

#[test]
fn s20_killed_at_any_page_the_next_run_is_complete_and_has_nothing_twice() {
    for (stream, path) in [
        (FULL, "properties=annualrevenue"),
        (INCREMENTAL, "properties=annualrevenue"),
    ] {
        for page in [0, 1, 4, 6] {
            let crm = Crm::of(620, stream);
            crm.server
                .inject(Fault::new(path, Failure::Delay(Duration::from_secs(20))).after(page));
            kill_during(&crm, path, page as usize);
            crm.run();
            crm.assert_complete();
        }
    }
    let crm = Crm::of(620, INCREMENTAL);
    crm.run();
    for batch in [0, 2] {
        for number in 1..=500 {
            let city = format!("Soria {batch}");
            crm.server.portal().update(
                "companies",
                Portal::generated_id(number),
                &[("city", Some(&city))],
            );
        }
        crm.server.inject(
            Fault::new("/batch/read", Failure::Delay(Duration::from_secs(20))).after(batch),
        );
        kill_during(&crm, "/search", 2);
        crm.run();
        crm.assert_complete();
        assert_eq!(
            crm.value(&format!(
                "SELECT count(*) FROM replica.companies WHERE city = 'Soria {batch}'"
            )),
            "500"
        );
    }
}

/// Kills a run once so many requests to `path` have been answered, and the next one waits.
fn kill_during(crm: &Crm, path: &str, answered: usize) {
    crm.server.forget_requests();
    let mut run = crm
        .command(&["run"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(15);
    while crm
        .server
        .requests()
        .iter()
        .filter(|request| request.path.contains(path))
        .count()
        < answered
    {
        assert!(
            Instant::now() < until,
            "the run did not come to {answered} requests"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(150));
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn every_object_is_read_and_history_owners_and_pipelines_with_them() {
    let crm = Crm::of(40, FULL);
    let mut streams = String::from(
        "[streams.companies]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"incremental\"\nhistory = [\"city\", \"ann*\"]\n\
         associations = [\"contacts\", \"deals\"]\n\
         [streams.owners]\nsource = \"crm\"\nobject = \"owners\"\nmode = \"full\"\n\
         [streams.etapas]\nsource = \"crm\"\nobject = \"pipelines\"\nmode = \"full\"\n",
    );
    let objects = [
        "contacts",
        "deals",
        "tickets",
        "products",
        "line_items",
        "quotes",
        "calls",
        "emails",
        "meetings",
        "notes",
        "tasks",
    ];
    for object in objects {
        crm.server.portal().generate(object, 15);
        streams.push_str(&format!(
            "[streams.{object}]\nsource = \"crm\"\nobject = \"{object}\"\nmode = \"incremental\"\n"
        ));
    }
    crm.streams(&streams);
    crm.run();
    for object in objects {
        assert_eq!(
            crm.value(&format!("SELECT count(*) FROM replica.{object}")),
            crm.server.portal().count(object).to_string(),
            "{object}"
        );
    }
    assert_eq!(crm.value("SELECT count(*) FROM replica.owners"), "3");
    assert_eq!(crm.value("SELECT count(*) FROM replica.etapas"), "5");
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies__history"),
        "80"
    );
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies__deals"),
        "20"
    );

    let id = Portal::generated_id(4);
    crm.server.portal().advance(60);
    crm.server
        .portal()
        .update("companies", id, &[("city", Some("Soria"))]);
    crm.server
        .portal()
        .update("companies", id, &[("city", Some("Lugo"))]);
    crm.run();
    let history = crm.values(&format!(
        "SELECT value FROM replica.companies__history WHERE id = '{id}' AND property = 'city' ORDER BY \"timestamp\" DESC, seq DESC LIMIT 2"
    ));
    assert_eq!(history, ["Lugo", "Soria"]);
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies__history"),
        "82"
    );
}

#[test]
fn only_the_properties_that_are_asked_for_come() {
    let crm = Crm::of(
        10,
        &format!("{FULL}properties = [\"name\", \"hs_*\"]\nexclude = [\"hs_merged*\"]\n"),
    );
    crm.run();
    let mut columns = crm.columns("companies");
    columns.retain(|name| !name.starts_with("_acequia"));
    assert_eq!(
        columns,
        [
            "id",
            "created_at",
            "updated_at",
            "archived",
            "archived_at",
            "merged_into",
            "hs_lastmodifieddate",
            "hs_object_id",
            "name"
        ]
    );
    let wrong = Crm::of(1, &format!("{FULL}properties = \"nmae\"\n"));
    assert!(wrong.run_failing("companies").contains("`nmae`"));
}

#[test]
fn a_column_for_misfits_stays_once_it_is_there() {
    let crm = Crm::of(10, FULL);
    let id = Portal::generated_id(2);
    crm.run();
    assert!(
        !crm.columns("companies")
            .contains(&"annualrevenue__text".to_owned())
    );
    crm.server
        .portal()
        .update("companies", id, &[("annualrevenue", Some("mucho"))]);
    crm.run();
    assert_eq!(
        crm.value(&format!(
            "SELECT annualrevenue__text FROM replica.companies WHERE id = '{id}'"
        )),
        "mucho"
    );
    crm.server
        .portal()
        .update("companies", id, &[("annualrevenue", Some("7"))]);
    let report = crm.run();
    assert_eq!(
        crm.value("SELECT count(annualrevenue__text) FROM replica.companies"),
        "0"
    );
    assert_eq!(
        stream_report(&report, "companies")["warnings"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn the_crm_and_the_sales_have_their_companies_in_common() {
    use testkit::{Cluster, Seed};
    let database = Cluster::shared().unwrap().database("crm").unwrap();
    database.apply_schema().unwrap();
    let seed = Seed::new(42, 2_000).only_ventas();
    let mut client = database.client().unwrap();
    seed.apply(&mut client).unwrap();
    let crm = Crm::of(seed.clientes(), FULL);
    crm.run();
    let expected: Vec<String> = client
        .query(
            "SELECT coalesce(nombre || ' ' || dominio, '-') FROM clientes ORDER BY id",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        crm.values("SELECT name || ' ' || domain FROM replica.companies ORDER BY id"),
        expected
    );
}
