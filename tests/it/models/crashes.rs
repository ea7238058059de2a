//! A run that is killed while it builds.

use super::{Analysis, BOTH, statuses};

#[test]
fn a_crash_before_the_commit_leaves_the_old_tables() {
    for place in BOTH {
        let analysis = Analysis::new(
            "crash",
            place,
            &[
                ("models/m.sql", "SELECT count(*) AS n FROM ventas"),
                ("models/v.sql", "-- materialized: view\nSELECT n FROM m"),
            ],
        );
        analysis
            .project
            .crash_at("models.before_commit", &analysis.arguments(&["run"]));
        let tables =
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'analisis'";
        assert_eq!(analysis.rows(tables), ["0"]);
        assert_eq!(
            analysis.rows("SELECT count(*) FROM replica.ventas"),
            ["3"],
            "the loads are committed"
        );
        assert_eq!(statuses(&analysis.run()), ["m built", "v built"]);

        analysis.project.source.batch("DELETE FROM ventas WHERE id = 3; UPDATE ventas SET num_participantes = 9; INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total) VALUES (1, 1, 1, 1)").unwrap();
        analysis
            .project
            .crash_at("models.before_commit", &analysis.arguments(&["run"]));
        assert_eq!(analysis.rows("SELECT n FROM analisis.v"), ["3"]);
        assert_eq!(statuses(&analysis.run()), ["m built", "v built"]);
        assert_eq!(analysis.rows("SELECT n FROM analisis.v"), ["4"]);
    }
}
