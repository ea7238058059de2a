//! Views of models in PostgreSQL, which has views stand in the way of what alters the tables that they read.

use serde_json::Value;

use super::{Analysis, Where, statuses};
use crate::cdc;
use crate::support::{Project, stream_report};

const TABLE: &str = "CREATE TABLE c (id int PRIMARY KEY, v int, u text); INSERT INTO c VALUES (1, 10, 'a'), (2, 20, 'b')";
const STREAM: &str = "[streams.c]\nsource = \"operativa\"\ntable = \"public.c\"\nmode = \"full\"\n";
const MODELS: &str = "[models]\npath = \"analisis/models\"\ndataset = \"analisis\"\n";

/// A view, and another of it.
const FILES: [(&str, &str); 2] = [
    (
        "models/v_c.sql",
        "-- materialized: view\nSELECT id, v, u FROM c",
    ),
    (
        "models/b_de_v.sql",
        "-- materialized: view\nSELECT id, v + 1 AS w FROM v_c",
    ),
];

/// The table `c`, loaded in that mode, and views on it.
fn analysis(name: &str, mode: &str) -> Analysis {
    let project = if mode == "cdc" {
        cdc::project(name, TABLE, &["c"], "")
    } else {
        let project = Project::new(name, STREAM);
        project.source.batch(TABLE).unwrap();
        project
    };
    let project = project.with_warehouse();
    let streams = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&format!("{streams}\n{MODELS}"));
    let analysis = Analysis {
        project,
        place: Where::Postgres,
    };
    for (file, text) in FILES {
        analysis.write(file, text);
    }
    analysis.run();
    assert_eq!(analysis.rows(BOTH_VIEWS), ["1|10|11", "2|20|21"]);
    analysis
}

const BOTH_VIEWS: &str =
    "SELECT id, a.v, b.w FROM analisis.v_c AS a JOIN analisis.b_de_v AS b USING (id) ORDER BY 1";
const TYPES: &str = "SELECT string_agg(table_name || ' ' || data_type, ', ' ORDER BY table_name) FROM information_schema.columns \
     WHERE table_schema IN ('analisis', 'replica') AND table_name IN ('c', 'v_c', 'b_de_v') AND column_name IN ('v', 'w')";
const VIEWS: &str =
    "SELECT table_name FROM information_schema.views WHERE table_schema = 'analisis' ORDER BY 1";

impl Analysis {
    fn source(&self, sql: &str) {
        self.project.source.batch(sql).unwrap();
    }
}

fn warnings(report: &Value) -> String {
    stream_report(report, "c")["warnings"].to_string()
}

#[test]
fn a_column_gets_another_type_below_views_of_models() {
    for mode in ["full", "cdc"] {
        let analysis = analysis(&format!("views_type_{mode}"), mode);
        analysis
            .source("ALTER TABLE c ALTER v TYPE bigint; UPDATE c SET v = 5000000000 WHERE id = 2");
        // The load itself leaves the views as they were, on the new type.
        let report = analysis.ended(&["run", "--no-models"], 0);
        let told = warnings(&report);
        assert!(!told.contains("analisis"), "{mode}: {told}");
        assert_eq!(
            analysis.rows(BOTH_VIEWS),
            ["1|10|11", "2|5000000000|5000000001"]
        );
        assert_eq!(
            analysis.rows(TYPES),
            ["b_de_v bigint, c bigint, v_c bigint"]
        );
        assert_eq!(
            statuses(&analysis.run()),
            ["v_c built", "b_de_v built"],
            "{mode}"
        );
        // A type that holds fewer values needs the table anew.
        analysis.source("UPDATE c SET v = 2 WHERE id = 2; ALTER TABLE c ALTER v TYPE smallint");
        analysis.ended(&["run", "--full-refresh"], 0);
        assert_eq!(
            analysis.rows(TYPES)[0].rsplit(", ").next().unwrap(),
            "v_c smallint",
            "{mode}"
        );
        assert_eq!(analysis.rows(BOTH_VIEWS), ["1|10|11", "2|2|3"]);
    }
}

#[test]
fn a_view_whose_column_is_gone_is_dropped_told_and_built_again() {
    for mode in ["full", "cdc"] {
        let analysis = analysis(&format!("views_gone_{mode}"), mode);
        analysis.source("ALTER TABLE c RENAME v TO valor");
        // Otherwise, a table that is read in full keeps the column.
        let anew: &[&str] = match mode {
            "full" => &["run", "--full-refresh"],
            _ => &["run"],
        };
        let report = analysis.ended(anew, 1);
        let told = warnings(&report);
        assert!(
            told.contains("analisis.v_c") && told.contains("analisis.b_de_v"),
            "{told}"
        );
        assert!(told.contains("column c.v does not exist"), "{told}");
        assert_eq!(
            stream_report(&report, "c")["status"],
            "ok",
            "{mode}: {report}"
        );
        let error = report["models"]["error"].as_str().unwrap();
        assert!(
            error.contains("v_c.sql") && error.contains("\"v\" does not exist"),
            "{error}"
        );
        assert_eq!(
            analysis.rows("SELECT id, valor FROM replica.c ORDER BY 1"),
            ["1|10", "2|20"]
        );
        assert!(analysis.rows(VIEWS).is_empty());
        // The models fail until they are corrected, and the loads go on.
        let again = analysis.ended(&["run"], 1);
        assert_eq!(warnings(&again), "[]");
        analysis.write(
            "models/v_c.sql",
            "-- materialized: view\nSELECT id, valor AS v, u FROM c",
        );
        assert_eq!(
            statuses(&analysis.run()),
            ["v_c built", "b_de_v built"],
            "{mode}"
        );
        assert_eq!(analysis.rows(BOTH_VIEWS), ["1|10|11", "2|20|21"]);
    }
}

#[test]
fn a_view_of_all_columns_is_built_again_in_the_same_run() {
    let analysis = analysis("views_all", "full");
    analysis.write("models/v_c.sql", "-- materialized: view\nSELECT * FROM c");
    analysis.run();
    analysis.source("ALTER TABLE c DROP u");
    let report = analysis.ended(&["run", "--full-refresh"], 0);
    assert!(warnings(&report).contains("analisis.v_c"), "{report}");
    assert_eq!(statuses(&report["models"]), ["v_c built", "b_de_v built"]);
    assert_eq!(analysis.rows(BOTH_VIEWS), ["1|10|11", "2|20|21"]);
}

#[test]
fn a_view_of_people_stands_in_the_way_and_so_does_what_they_made_on_a_models() {
    let analysis = analysis("views_people", "full");
    let no_model = "CREATE FUNCTION public.nada() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER mio INSTEAD OF INSERT ON analisis.v_c FOR EACH ROW EXECUTE FUNCTION public.nada()";
    for (makes, drops, name) in [
        (
            "CREATE VIEW public.mia AS SELECT v FROM replica.c",
            "DROP VIEW public.mia",
            "public.mia",
        ),
        (
            "CREATE VIEW public.mia AS SELECT w FROM analisis.b_de_v",
            "DROP VIEW public.mia",
            "public.mia",
        ),
        (
            "CREATE VIEW analisis.mia AS SELECT v FROM analisis.v_c",
            "DROP VIEW analisis.mia",
            "analisis.mia",
        ),
        (no_model, "DROP TRIGGER mio ON analisis.v_c", "analisis.v_c"),
    ] {
        analysis.sql(makes);
        analysis.source("ALTER TABLE c ALTER v TYPE bigint");
        let report = analysis.ended(&["run"], 1);
        let error = stream_report(&report, "c")["error"].to_string();
        assert!(
            error.contains(name) && error.contains("drop the view or other object that depends"),
            "{error}"
        );
        assert_eq!(analysis.rows(BOTH_VIEWS), ["1|10|11", "2|20|21"], "{makes}");
        analysis.sql(drops);
        analysis.ended(&["run"], 0);
        analysis.source("ALTER TABLE c ALTER v TYPE int");
        analysis.ended(&["run", "--full-refresh"], 0);
    }
}

/// Who may do what with a view and its columns, who owns it, its options and comments.
fn given(analysis: &Analysis, view: &str) -> String {
    let rows = analysis.rows(&format!(
        "SELECT string_agg(x, '; ' ORDER BY x) FROM (\
         SELECT concat_ws(' ', a.attname, CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE p.grantee::regrole::text END, p.privilege_type, \
         p.is_grantable) FROM pg_attribute a, aclexplode(a.attacl) p WHERE a.attrelid = '{view}'::regclass \
         UNION ALL SELECT concat_ws(' ', CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE p.grantee::regrole::text END, p.privilege_type, \
         p.is_grantable) FROM pg_class c, aclexplode(c.relacl) p WHERE c.oid = '{view}'::regclass AND p.grantee <> c.relowner \
         UNION ALL SELECT concat_ws(' ', 'of', relowner::regrole, reloptions) FROM pg_class WHERE oid = '{view}'::regclass \
         UNION ALL SELECT concat_ws(' ', 'comment', attname, description) FROM pg_description LEFT JOIN pg_attribute \
         ON attrelid = objoid AND attnum = objsubid AND attnum > 0 WHERE objoid = '{view}'::regclass) AS q (x)"
    ));
    rows.concat()
}

#[test]
fn a_view_that_is_made_again_keeps_what_people_gave_it() {
    let analysis = analysis("views_given", "full");
    let role = format!("lectora_{}", std::process::id());
    analysis.sql(&format!(
        "CREATE ROLE {role}; CREATE ROLE {role}_ñ; GRANT CREATE ON SCHEMA analisis TO {role}_ñ; \
         ALTER DEFAULT PRIVILEGES IN SCHEMA analisis GRANT SELECT ON TABLES TO {role}, PUBLIC; \
         GRANT SELECT ON analisis.b_de_v TO {role}; GRANT INSERT ON analisis.v_c TO {role} WITH GRANT OPTION; GRANT UPDATE (v, u) ON analisis.v_c TO PUBLIC; \
         COMMENT ON VIEW analisis.v_c IS 'de la ''casa'''; COMMENT ON COLUMN analisis.v_c.v IS 'en horas'; \
         ALTER VIEW analisis.v_c SET (security_barrier = true); ALTER VIEW analisis.v_c OWNER TO {role}_ñ"
    ));
    let before = given(&analysis, "analisis.v_c");
    assert_eq!(
        before.replace(&role, "R"),
        "comment de la 'casa'; comment v en horas; R INSERT t; of \"R_ñ\" {security_barrier=true}; u PUBLIC UPDATE f; v PUBLIC UPDATE f"
    );
    // By a load.
    analysis.source("ALTER TABLE c ALTER v TYPE bigint");
    analysis.ended(&["run", "--no-models"], 0);
    assert_eq!(given(&analysis, "analisis.v_c"), before);
    // By its model: with another text, with other columns, as a table, and as a view again.
    let has_no_options = |text: String| text.replace(" {security_barrier=true}", "");
    for (text, expected) in [
        (
            "-- materialized: view\nSELECT id, v, u FROM c WHERE id > 0",
            before.clone(),
        ),
        (
            "-- materialized: view\nSELECT v, u, id FROM c",
            before.clone(),
        ),
        ("SELECT id, v, u FROM c", has_no_options(before.clone())),
        (
            "-- materialized: view\nSELECT id, v, u FROM c",
            has_no_options(before),
        ),
    ] {
        analysis.write("models/v_c.sql", text);
        analysis.run();
        assert_eq!(given(&analysis, "analisis.v_c"), expected, "{text}");
        // And one that reads it, which has to go and come with it.
        let other = given(&analysis, "analisis.b_de_v").replace(&role, "R");
        assert!(other.contains("R SELECT f"), "{other}");
    }
    // What a column was given goes with it.
    analysis.write(
        "models/b_de_v.sql",
        "-- materialized: view\nSELECT id, 1 AS w FROM v_c",
    );
    analysis.write(
        "models/v_c.sql",
        "-- materialized: view\nSELECT id, u FROM c",
    );
    analysis.run();
    assert_eq!(
        given(&analysis, "analisis.v_c").replace(&role, "R"),
        "comment de la 'casa'; R INSERT t; of \"R_ñ\"; u PUBLIC UPDATE f"
    );
}

#[test]
fn a_view_that_does_not_have_the_column_is_left_alone() {
    let analysis = analysis("views_others", "full");
    analysis.write(
        "models/solo_u.sql",
        "-- materialized: view\nSELECT u FROM c",
    );
    analysis.run();
    let oids = "SELECT 'analisis.solo_u'::regclass::oid, 'analisis.v_c'::regclass::oid";
    let before = analysis.rows(oids);
    analysis.source("ALTER TABLE c ALTER v TYPE bigint");
    analysis.ended(&["run", "--no-models"], 0);
    let after = analysis.rows(oids);
    let (solo_u, v_c) = after[0].split_once('|').unwrap();
    assert!(before[0].starts_with(solo_u) && !before[0].ends_with(v_c));
}
