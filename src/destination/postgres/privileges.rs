//! What the destination's user may do, and the GRANT that gives what is missing.

use crate::config::PostgresUrl;
use crate::destination::Rights;
use crate::destination::sql::Dialect as _;
use crate::error::Result;
use crate::postgres::connection::{Role, Server};

use super::dialect::PostgresSql;
use super::session::{Session, value};
use super::{place, subject};

/// Looks at what the user may do with the dataset and with tables of these names in it. Changes nothing. Blocks.
///
/// # Errors
/// As [`super::Postgres::open`], but for what is missing.
pub(in crate::destination) fn look(
    name: &str,
    url: &PostgresUrl,
    dataset: &str,
    tables: &[String],
) -> Result<Rights> {
    let server =
        Server::parse_as(Role::Destination, url).map_err(|error| error.context(place(name)))?;
    let looked = || {
        let mut session = Session::open(&server, dataset)?;
        session.batch("SET default_transaction_read_only = on")?;
        look_around(&mut session, tables)
    };
    looked().map_err(|error: crate::Error| error.context(subject(name, &server)))
}

fn look_around(session: &mut Session, tables: &[String]) -> Result<Rights> {
    let dataset = session.dataset().to_owned();
    let row = session.row(
        "SELECT current_setting('server_version'), current_user::text, current_database()::text, \
         COALESCE((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()), false), \
         pg_catalog.pg_is_in_recovery(), \
         pg_catalog.has_database_privilege(current_database(), 'CREATE'), \
         pg_catalog.has_database_privilege(current_database(), 'TEMPORARY')",
        &[],
    )?;
    let (version, user, database): (String, String, String) =
        (value(&row, 0)?, value(&row, 1)?, value(&row, 2)?);
    let tls = if value(&row, 3)? {
        "with TLS"
    } else {
        "without TLS"
    };
    let (is_standby, may_create, may_stage): (bool, bool, bool) =
        (value(&row, 4)?, value(&row, 5)?, value(&row, 6)?);
    let mut missing = Vec::new();
    let grantee = PostgresSql.identifier(&user);
    if is_standby {
        missing.push((
            "the server is a standby, which takes no writes".to_owned(),
            "give the destination's `url` the primary server (target_session_attrs=read-write looks for it)"
                .to_owned(),
        ));
    }
    if !may_stage {
        missing.push((
            format!("{user} may not make temporary tables in the database {database}"),
            format!(
                "GRANT TEMPORARY ON DATABASE {} TO {grantee};",
                PostgresSql.identifier(&database)
            ),
        ));
    }
    if session.has_schema(&dataset)? {
        missing.extend(of_schema(session, &dataset, &user)?);
        missing.extend(of_tables(session, &dataset, &user, tables)?);
    } else if !may_create {
        missing.push((
            format!("the schema {dataset} does not exist, and {user} may not make it"),
            format!(
                "CREATE SCHEMA {} AUTHORIZATION {grantee};",
                PostgresSql.identifier(&dataset)
            ),
        ));
    }
    Ok(Rights {
        server: format!(
            "PostgreSQL {version} at {}, as {user}, {tls}",
            session.place()
        ),
        missing,
    })
}

fn of_schema(session: &mut Session, dataset: &str, user: &str) -> Result<Vec<(String, String)>> {
    let row = session.row(
        "SELECT pg_catalog.has_schema_privilege(oid, 'USAGE') AND pg_catalog.has_schema_privilege(oid, 'CREATE') \
         FROM pg_catalog.pg_namespace WHERE nspname = $1",
        &[&dataset],
    )?;
    if value(&row, 0)? {
        return Ok(Vec::new());
    }
    Ok(vec![(
        format!("{user} may not make tables in the schema {dataset}"),
        format!(
            "GRANT USAGE, CREATE ON SCHEMA {} TO {};",
            PostgresSql.identifier(dataset),
            PostgresSql.identifier(user)
        ),
    )])
}

/// Tables that are there must be the user's own, so that their schema can follow the source's.
fn of_tables(
    session: &mut Session,
    dataset: &str,
    user: &str,
    tables: &[String],
) -> Result<Vec<(String, String)>> {
    let rows = session.rows(
        "SELECT c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') \
         AND (c.relname = ANY ($2) OR c.relname LIKE '\\_acequia\\_%') \
         AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY 1",
        &[&dataset, &tables],
    )?;
    rows.iter()
        .map(|row| {
            let table: String = value(row, 0)?;
            Ok((
                format!("the table {dataset}.{table} belongs to another than {user}, who therefore cannot alter it"),
                format!(
                    "ALTER TABLE {}.{} OWNER TO {};",
                    PostgresSql.identifier(dataset),
                    PostgresSql.identifier(&table),
                    PostgresSql.identifier(user)
                ),
            ))
        })
        .collect()
}
