//! A role that may make functions in a schema on acequia's path gains nothing by it: neither its rights, nor a say in values.

use postgres::Client;
use testkit::Cluster;

use crate::support::Project;

/// What the role makes in `public`: each is a better match for a call of acequia's than the server's own function.
const TRAPS: &str = r"
    CREATE TABLE public.botin (quien text);
    CREATE FUNCTION public.trampa() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.botin VALUES (current_user); EXCEPTION WHEN OTHERS THEN NULL; END $$;
    CREATE FUNCTION public.pg_relation_size(oid) RETURNS int8 LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN 0; END $$;
    CREATE FUNCTION public.pg_relation_filenode(oid) RETURNS oid LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN 0; END $$;
    CREATE FUNCTION public.concat(xml) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN 'falso'; END $$;
    CREATE FUNCTION public.concat(inet) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN 'falso'; END $$;
    CREATE FUNCTION public.format_type(oid, int4) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN 'falso'; END $$;
    CREATE FUNCTION public.count(text) RETURNS int8 LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN 0; END $$;
    CREATE FUNCTION public.igual(varchar, text) RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN false; END $$;
    CREATE OPERATOR public.>= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.igual);
    CREATE FUNCTION public.antes(name, text) RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trampa(); RETURN false; END $$;
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.antes);
    GRANT ALL ON public.botin TO PUBLIC;
";

const STREAMS: &str = r#"
[streams.redes]
source = "operativa"
table = "public.redes"
mode = "full"

[streams.por_codigo]
source = "operativa"
table = "redes"
mode = "incremental"
cursor = "codigo"
primary_key = ["codigo"]

[streams.por_consulta]
source = "operativa"
query = "SELECT codigo, red FROM redes"
mode = "full"

[streams.con_filtro]
source = "operativa"
table = "public.redes"
mode = "incremental"
cursor = "codigo"
primary_key = ["codigo"]
where = "doble(1) = 2"

[streams.cambios]
source = "operativa"
table = "public.redes"
mode = "cdc"
"#;

fn spring_traps(admin: &mut Client, name: &str) {
    admin
        .batch_execute(&format!(
            "CREATE ROLE mala_{name}; GRANT CREATE ON SCHEMA public TO mala_{name};
             CREATE TABLE public.redes (codigo varchar(20) PRIMARY KEY, red inet, nota xml, tope int DEFAULT 1);
             INSERT INTO public.redes VALUES ('a', '10.0.0.1/24', '<a/>'), ('b', '::1', '<b/>');
             CREATE FUNCTION public.doble(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
             SET ROLE mala_{name}; {TRAPS} RESET ROLE;"
        ))
        .unwrap();
}

#[test]
fn functions_of_others_are_never_called_and_forge_nothing() {
    let mut project = Project::new("trampas", STREAMS).with_warehouse();
    let name = project.source.name().to_owned();
    spring_traps(&mut project.source.client().unwrap(), &name);
    let url = project.source.url().to_owned();
    project.set("OPERATIVA_URL", &url);

    let checked = project.acequia(&["check"]);
    assert_eq!(checked.status, Some(0), "{checked:?}");
    project.run(&[]);
    let mut client = project.source.client().unwrap();
    client
        .batch_execute("INSERT INTO public.redes VALUES ('c', '10.0.0.3', '<c/>')")
        .unwrap();
    project.run(&[]);
    project.run(&["--destination", "almacen"]);

    for table in [
        "redes",
        "por_codigo",
        "por_consulta",
        "con_filtro",
        "cambios",
    ] {
        let loaded = format!(
            "SELECT string_agg(codigo || '=' || red, ' ' ORDER BY codigo) FROM replica.{table}"
        );
        let expected = "a=10.0.0.1/24 b=::1 c=10.0.0.3";
        assert_eq!(project.value(&loaded).as_deref(), Some(expected), "{table}");
        let mut warehouse = project.warehouse().client().unwrap();
        let loaded: String = warehouse.query_one(&loaded, &[]).unwrap().get(0);
        assert_eq!(loaded, expected, "{table} in PostgreSQL");
    }
    let notes = "SELECT string_agg(nota, ' ' ORDER BY codigo) FROM replica.redes";
    assert_eq!(project.value(notes).as_deref(), Some("<a/> <b/> <c/>"));
    let looted: i64 = client
        .query_one("SELECT pg_catalog.count(*) FROM public.botin", &[])
        .unwrap()
        .get(0);
    assert_eq!(looted, 0, "functions of others ran with acequia's rights");
}

/// The traps are real: in a session with the role's own path they are sprung.
#[test]
fn the_traps_catch_who_does_not_look() {
    let source = Cluster::shared().unwrap().database("incauto").unwrap();
    let mut client = source.client().unwrap();
    spring_traps(&mut client, source.name());
    client
        .batch_execute("SELECT pg_relation_size('public.redes'::regclass::oid)")
        .unwrap();
    let looted: i64 = client
        .query_one("SELECT pg_catalog.count(*) FROM public.botin", &[])
        .unwrap()
        .get(0);
    assert_eq!(looted, 1);
}
