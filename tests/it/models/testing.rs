//! Tests of models.

use super::{Analysis, BOTH, statuses, tests};

const CLIENTE: &str = "-- unique: cliente_id\n-- not_null: cliente_id, importe\n\
     -- relationships: cliente_id -> clientes.id\nSELECT cliente_id, sum(precio_total) AS importe FROM ventas GROUP BY 1";

#[test]
fn tests_that_pass_are_told_and_run_again_only_where_something_changed() {
    for place in BOTH {
        let analysis = Analysis::new(
            "passing",
            place,
            &[
                ("models/cliente.sql", CLIENTE),
                (
                    "tests/suma.sql",
                    "-- description: Sums agree\nSELECT 1 AS uno FROM cliente HAVING sum(importe) <> (SELECT sum(precio_total) FROM ventas)",
                ),
            ],
        );
        assert_eq!(
            tests(&analysis.run()),
            [
                "unique: cliente_id passed 0",
                "not_null: cliente_id passed 0",
                "not_null: importe passed 0",
                "relationships: cliente_id -> clientes.id passed 0",
                "suma passed 0",
            ]
        );
        assert!(
            tests(&analysis.run())
                .iter()
                .all(|test| test.ends_with("unchanged 0"))
        );
        // The parent of a relationship is an input of its test alone.
        analysis.project.source.batch("INSERT INTO clientes (id, nombre, fecha_registro) VALUES (3, 'Tres', now() + interval '1 hour')").unwrap();
        let models = analysis.run();
        assert_eq!(statuses(&models), ["cliente unchanged"]);
        assert_eq!(
            tests(&models)[3],
            "relationships: cliente_id -> clientes.id passed 0"
        );
        assert_eq!(tests(&models)[0], "unique: cliente_id unchanged 0");
    }
}

#[test]
fn a_failed_test_keeps_the_old_tables_and_the_loads_stay() {
    for place in BOTH {
        let analysis = Analysis::new(
            "failing",
            place,
            &[
                ("models/cliente.sql", CLIENTE),
                ("models/otra.sql", "SELECT count(*) AS n FROM ventas"),
                (
                    "tests/precio.sql",
                    "-- description: Nothing is given away\nSELECT * FROM ventas WHERE precio_total = 0",
                ),
            ],
        );
        analysis.run();
        analysis
            .project
            .source
            .batch("INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total) VALUES (1, 1, 77, 0), (2, 1, 77, 0)")
            .unwrap();
        for _ in 0..2 {
            let output = analysis.acequia(&["run", "--output", "json"]);
            assert_eq!(output.status, Some(1), "{output:?}");
            let models = &output.json()["models"];
            assert_eq!(statuses(models), ["cliente kept", "otra kept"]);
            assert_eq!(tests(models)[4], "precio failed 2");
            assert_eq!(models["error"], serde_json::Value::Null);
            assert!(
                output.stderr.contains(
                    "test precio (analisis/tests/precio.sql): 2 rows should not be there [Nothing is given away]"
                ),
                "{output:?}"
            );
            assert!(
                !output.stderr.contains("77"),
                "no value is shown: {output:?}"
            );
        }
        assert_eq!(analysis.rows("SELECT n FROM analisis.otra"), ["3"]);
        assert_eq!(analysis.rows("SELECT count(*) FROM replica.ventas"), ["5"]);

        analysis
            .project
            .source
            .batch("UPDATE ventas SET precio_total = 1 WHERE precio_total = 0")
            .unwrap();
        assert_eq!(statuses(&analysis.run()), ["cliente built", "otra built"]);
        assert_eq!(analysis.rows("SELECT n FROM analisis.otra"), ["5"]);
    }
}

#[test]
fn each_kind_of_test_finds_what_it_is_for() {
    for place in BOTH {
        let analysis = Analysis::new(
            "kinds",
            place,
            &[(
                "models/todo.sql",
                "-- unique: cliente_id\n-- unique: cliente_id, id\n-- not_null: nada\n-- relationships: id -> clientes.id\n\
                 -- relationships: nada -> clientes.id\nSELECT id, cliente_id, CAST(NULL AS INTEGER) AS nada FROM ventas",
            )],
        );
        let models = analysis.run_failing();
        assert_eq!(
            tests(&models),
            [
                "unique: cliente_id failed 1",
                "unique: cliente_id, id passed 0",
                "not_null: nada failed 3",
                "relationships: id -> clientes.id failed 1",
                "relationships: nada -> clientes.id passed 0",
            ]
        );
        assert_eq!(models["tests"][2]["file"], "analisis/models/todo.sql:3");
        let listed = analysis.acequia(&["models", "list"]);
        assert_eq!(listed.status, Some(0), "{listed:?}");
        assert!(
            listed
                .stdout
                .contains("model todo, not_null: nada: it failed"),
            "{listed:?}"
        );
    }
}

#[test]
fn tests_can_be_run_by_themselves_and_change_nothing() {
    for place in BOTH {
        let analysis = Analysis::new(
            "alone",
            place,
            &[
                ("models/cliente.sql", CLIENTE),
                (
                    "models/otra.sql",
                    "-- unique: n\nSELECT count(*) AS n FROM ventas",
                ),
            ],
        );
        analysis.run();
        assert!(
            tests(&analysis.ended(&["models", "test"], 0))
                .iter()
                .all(|test| test.contains(" passed "))
        );
        analysis.sql("INSERT INTO analisis.cliente SELECT * FROM analisis.cliente");
        let models = analysis.ended(&["models", "test"], 1);
        assert_eq!(tests(&models)[0], "unique: cliente_id failed 2");
        let named = tests(&analysis.ended(&["models", "test", "otra"], 0));
        assert_eq!(named[4], "unique: n passed 0");
        assert_eq!(named[0], "unique: cliente_id unchanged 0");
        assert_eq!(
            analysis.rows("SELECT count(*) FROM analisis.cliente"),
            ["4"]
        );

        // What was not built since its file was changed is not tested.
        analysis.write("models/otra.sql", "-- not_null: nueva\nSELECT 1 AS nueva");
        let skipped = tests(&analysis.ended(&["models", "test", "otra"], 0));
        assert_eq!(skipped[4], "not_null: nueva skipped 0");
    }
}
