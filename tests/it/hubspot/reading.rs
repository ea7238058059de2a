//! What is read, and how: pages, batches, every object, and what goes with it.

use super::*;

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
fn s20_a_property_of_another_type_keeps_its_column_until_the_table_is_made_anew() {
    for stream in [FULL, INCREMENTAL] {
        let crm = Crm::of(50, stream);
        crm.run();
        let id = Portal::generated_id(3);
        crm.server
            .portal()
            .set_property("companies", Property::new("annualrevenue", "string"));
        crm.server
            .portal()
            .set_property("companies", Property::new("city", "number"));
        crm.server
            .portal()
            .update("companies", id, &[("annualrevenue", Some("mucho"))]);
        let warned = Crm::warnings(&crm.run(), "companies");
        assert!(
            warned.contains("`annualrevenue` is string now")
                && warned.contains("`city` is number now")
                && warned.contains("--full-refresh"),
            "{warned}"
        );
        assert_eq!(
            crm.value(&format!(
                "SELECT coalesce(annualrevenue::VARCHAR, '') || annualrevenue__text FROM replica.companies WHERE id = '{id}'"
            )),
            "mucho"
        );
        crm.assert_complete();
        let output = crm.acequia(&["run", "--full-refresh"]);
        assert_eq!(output.status, Some(0), "{output:?}");
        assert_eq!(
            crm.value(&format!(
                "SELECT annualrevenue FROM replica.companies WHERE id = '{id}'"
            )),
            "mucho"
        );
        assert!(!Crm::warnings(&crm.run(), "companies").contains("now"));
        crm.assert_complete();
    }
    let crm = Crm::of(5, &format!("{FULL}schema_contract = \"freeze\"\n"));
    crm.run();
    crm.server
        .portal()
        .set_property("companies", Property::new("annualrevenue", "string"));
    assert!(crm.run_failing("companies").contains("`annualrevenue`"));
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
            "deleted_at",
            "hs_lastmodifieddate",
            "hs_object_id",
            "name"
        ]
    );
    let wrong = Crm::of(1, &format!("{FULL}properties = \"nmae\"\n"));
    assert!(wrong.run_failing("companies").contains("`nmae`"));
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
            // One in 41 was entered twice in place of its neighbour, one in 29 has the domain of before.
            "SELECT coalesce(c.nombre || ' ' || CASE WHEN n.id % 29 = 0 THEN 'antigua-' ELSE '' END || c.dominio, '-')
             FROM clientes n JOIN clientes c ON c.id = n.id - (n.id % 41 = 0)::int ORDER BY n.id",
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

#[test]
fn what_properties_are_and_how_their_choices_are_called() {
    let crm = Crm::of(10, &format!("{INCREMENTAL}definitions = true\n"));
    crm.server
        .portal()
        .set_property("companies", Property::new("suma", "number").calculated());
    crm.server
        .portal()
        .archive_property("companies", "is_public");
    crm.run();
    let count = crm.server.portal().property_kinds("companies").len();
    let one = |sql: &str| crm.value(sql);
    assert_eq!(
        one("SELECT count(*) FROM replica.companies__properties"),
        count.to_string()
    );
    assert_eq!(
        one(
            "SELECT label || ' ' || type || ' ' || field_type || ' ' || calculated FROM replica.companies__properties WHERE name = 'suma'"
        ),
        "suma number calculation_equation true"
    );
    assert_eq!(
        one("SELECT string_agg(name, ',') FROM replica.companies__properties WHERE archived"),
        "is_public"
    );
    assert_eq!(
        one(
            "SELECT string_agg(value || '=' || label, ',' ORDER BY display_order) FROM replica.companies__options WHERE property = 'lifecyclestage'"
        ),
        "lead=lead,customer=customer,opportunity=opportunity"
    );
}
