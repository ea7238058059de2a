//! Answers that are whole and cannot be believed, waits without end, and clocks that are wrong: nothing is lost for them.

use super::*;

/// Incremental, so that nothing but search finds what changed.
const SEARCH_ALONE: &str = "object = \"companies\"\nmode = \"incremental\"\ncompare = \"never\"\n";

impl Crm {
    /// Changes all records; what they are changed to.
    fn change_all(&self, city: &str) -> usize {
        let mut portal = self.server.portal();
        let ids = portal.ids("companies");
        for id in &ids {
            portal.update("companies", *id, &[("city", Some(city))]);
        }
        ids.len()
    }

    fn count_of(&self, city: &str) -> String {
        self.value(&format!(
            "SELECT count(*) FROM replica.companies WHERE city = '{city}'"
        ))
    }

    /// Runs until told to stop by a signal, so long after it began; how it ended and how long that took.
    fn interrupted(&self, after: Duration) -> (Output, Duration) {
        let mut command = self.command(&["run"]);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let run = command.spawn().unwrap();
        std::thread::sleep(after);
        let signalled = std::process::Command::new("kill")
            .args(["-INT", &run.id().to_string()])
            .status()
            .unwrap();
        assert!(signalled.success(), "the run had ended already");
        let told = Instant::now();
        let output = run.wait_with_output().unwrap();
        let output = Output {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        (output, told.elapsed())
    }
}

#[test]
fn a_search_that_cannot_be_believed_loses_no_change() {
    let crm = Crm::of(450, SEARCH_ALONE);
    // Ids of several lengths, which sort otherwise as text.
    for id in 90..125 {
        crm.server
            .portal()
            .create_as("companies", id, &[("name", Some("Corta"))]);
    }
    crm.run();
    let oddities = [
        (Oddity::EmptyPage, true),
        (Oddity::NoPaging, false),
        (Oddity::NoPagingNorTotal, false),
        (Oddity::Unsorted, true),
        (Oddity::SortedAsText, true),
        (Oddity::FewerHits, true),
    ];
    for (oddity, told) in oddities {
        let city = format!("{oddity:?}");
        let changed = crm.change_all(&city);
        crm.server.be_odd(oddity, 1_000);
        let report = crm.run();
        assert_eq!(crm.count_of(&city), changed.to_string(), "{oddity:?}");
        let warned = Crm::warnings(&report, "companies");
        assert_eq!(
            warned.contains("cannot be believed"),
            told,
            "{oddity:?}: {warned}"
        );
        crm.server.be_sound();
    }
    // Odd once: asked again, and nothing to tell.
    let changed = crm.change_all("Soria");
    crm.server.be_odd(Oddity::Unsorted, 1);
    let report = crm.run();
    assert_eq!(crm.count_of("Soria"), changed.to_string());
    assert!(!Crm::warnings(&report, "companies").contains("believed"));
    crm.assert_complete();
}

#[test]
fn a_list_that_ends_at_a_full_page_is_not_believed() {
    for stream in [FULL, INCREMENTAL] {
        let crm = Crm::of(450, stream);
        crm.server.be_odd(Oddity::ListEnds, 1);
        crm.run();
        crm.assert_complete();
    }
    let crm = Crm::of(450, FULL);
    crm.server.be_odd(Oddity::ListEnds, 1_000);
    let error = crm.run_failing("companies");
    assert!(error.contains("search knows 350 more"), "{error}");
}

#[test]
fn a_cursor_that_comes_again_ends_with_an_error() {
    let crm = Crm::of(450, FULL);
    for id in 1_000..1_250 {
        crm.server.portal().add_owner(id, "Begoña");
    }
    let owners = "[streams.owners]\nsource = \"crm\"\nobject = \"owners\"\nmode = \"full\"\n";
    crm.streams(owners);
    crm.run();
    assert_eq!(crm.value("SELECT count(*) FROM replica.owners"), "253");
    let associations =
        format!("[streams.companies]\nsource = \"crm\"\n{FULL}associations = \"contacts\"\n");
    let full = format!("[streams.companies]\nsource = \"crm\"\n{FULL}");
    for (streams, stream) in [
        (full.as_str(), "companies"),
        (owners, "owners"),
        (associations.as_str(), "companies__contacts"),
    ] {
        crm.streams(streams);
        crm.server.forget_requests();
        crm.server.be_odd(Oddity::RoundAndRound, 100_000);
        let error = crm.run_failing(stream);
        assert!(error.contains("`after` comes again"), "{stream}: {error}");
        crm.server.be_sound();
        assert!(crm.server.requests().len() < 40, "{stream}");
        crm.run();
    }
}

#[test]
fn a_batch_that_leaves_a_record_out_is_asked_for_again() {
    let crm = Crm::of(250, SEARCH_ALONE);
    crm.run();
    let changed = crm.change_all("Soria");
    crm.server.be_odd(Oddity::BatchOmits, 1);
    let report = crm.run();
    assert_eq!(crm.count_of("Soria"), changed.to_string());
    assert!(!Crm::warnings(&report, "companies").contains("not whole"));
    crm.change_all("Lugo");
    crm.server.be_odd(Oddity::BatchOmits, 1_000);
    let warned = Crm::warnings(&crm.run(), "companies");
    assert!(warned.contains("not whole: 1 of"), "{warned}");
}

#[test]
fn a_wait_of_a_year_is_told_and_not_waited() {
    let crm = Crm::of(250, FULL);
    for (status, retry_after, told) in [
        (429, "31536000", "365 days"),
        (503, "31536000", "365 days"),
        (429, "18446744073709551615", "days"),
        (477, "18446744073709551615", "days"),
    ] {
        crm.server
            .inject(Fault::body("after=cursor", status, "{}").header("Retry-After", retry_after));
        let began = Instant::now();
        let error = crm.run_failing("companies");
        assert!(error.contains(told), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    crm.run();
    crm.assert_complete();
}

#[test]
fn every_wait_ends_when_it_is_told_to() {
    let crm = Crm::of(250, FULL);
    let fault = |path: &str| Fault::body(path, 429, "{}").header("Retry-After", "300");
    for fault in [
        fault("after=cursor"),
        fault("/properties/"),
        Fault::new("/properties/", Failure::Delay(Duration::from_mins(1))),
        Fault::new("after=cursor", Failure::Delay(Duration::from_mins(1))),
    ] {
        let shown = format!("{fault:?}");
        crm.server.inject(fault);
        let (output, took) = crm.interrupted(Duration::from_millis(1_500));
        assert_eq!(output.status, Some(130), "{shown}: {output:?}");
        assert!(took < Duration::from_secs(2), "{shown}: {took:?}");
        if shown.contains("429") {
            assert!(
                output.stderr.contains("waiting 5 min"),
                "{shown}: {output:?}"
            );
        }
    }
}

#[test]
fn no_network_is_said_to_be_none() {
    let crm = Crm::of(1, FULL);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    crm.configure_at(
        &format!("http://{closed}"),
        "2026-03",
        &format!("[streams.companies]\nsource = \"crm\"\n{FULL}"),
    );
    let began = Instant::now();
    let output = crm.acequia(&["run", "--output", "json"]);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(output.status, Some(1));
    let error = stream_report(&output.json(), "companies")["error"].to_string();
    assert!(
        error.contains("cannot be reached from this machine") && error.contains("network"),
        "{error}"
    );
    assert!(output.stderr.contains("retry 3"), "{}", output.stderr);
}

#[test]
fn absurd_headers_do_no_harm() {
    let crm = Crm::of(250, INCREMENTAL);
    for (name, value) in [
        ("x-hubspot-ratelimit-max", "4294967295"),
        ("x-hubspot-ratelimit-remaining", "0"),
        ("x-hubspot-ratelimit-interval-milliseconds", "100"),
    ] {
        crm.server.say(name, value);
    }
    crm.run();
    crm.assert_complete();
}

#[test]
fn a_clock_of_hubspots_that_is_ahead_loses_no_change() {
    let crm = Crm::of(50, SEARCH_ALONE);
    crm.run();
    crm.server.say("date", "Fri, 01 Jan 2100 00:00:00 GMT");
    crm.change_all("Soria");
    let warned = Crm::warnings(&crm.run(), "companies");
    assert!(warned.contains("ahead of this machine's"), "{warned}");
    crm.server.portal().advance(86_400);
    crm.change_all("Lugo");
    crm.run();
    assert_eq!(crm.count_of("Lugo"), "50");
}

#[test]
fn a_server_that_is_away_for_a_while_amid_a_load_is_waited_for() {
    let crm = Crm::of(450, FULL);
    crm.server
        .inject(Fault::status("after=cursor", 530).after(1).times(5));
    crm.server.forget_requests();
    crm.run();
    crm.assert_complete();
    let first = crm.server.requests();
    let firsts = first
        .iter()
        .filter(|request| {
            request.path.contains("annualrevenue") && !request.path.contains("after=")
        })
        .count();
    assert_eq!(firsts, 2, "the first page of each shelf is asked for once");
}
