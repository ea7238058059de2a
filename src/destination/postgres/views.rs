//! The views of models that read a table which a load alters. PostgreSQL lets go of no column that a view has, and gives it no
//! other type: so they are dropped before, and made again from their definitions once the table is as it will be.
//!
//! Only views that the ledger of models has are dropped, and never with what depends on them: what people made stands in the
//! way, and is named. What people made on such a view, a trigger or a rule, keeps it as well. What they [gave](given) it, the new
//! one has again.

use crate::destination::sql::Dialect as _;
use crate::destination::sql::models::known_views;
use crate::error::Result;
use crate::postgres::connection::{condition, message_of};

use super::dialect::PostgresSql;
use super::dropped::View;
use super::session::{Session, value};
use super::{error, given};

/// Drops the views of models that have a column of a table, given in SQL, and those that read such a view.
pub(super) fn drop_those_of(session: &mut Session, table: &str, column: &str) -> Result<()> {
    let Some(schema) = session.views.schema.clone() else {
        return Ok(());
    };
    let models = known_views(session)?;
    if models.is_empty() {
        return Ok(());
    }
    for view in find(session, &schema, &models, table, column)? {
        session.batch(&format!("DROP VIEW {}", view.sql))?;
        session.views.dropped.push(view);
    }
    Ok(())
}

/// Makes the views again that were dropped; a warning for each that the table as it is now does not allow.
pub(super) fn make_again(session: &mut Session) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    // The last to be dropped is read by those before it.
    for view in std::mem::take(&mut session.views.dropped).iter().rev() {
        session.batch("SAVEPOINT acequia_view")?;
        let made = session.attempt(&format!("CREATE VIEW {} AS {}", view.sql, view.query))?;
        match made {
            Ok(()) => given::give_again(session, &view.sql, &view.given)
                .map_err(|error| error.context(format!("view {}", view.shown)))?,
            Err(error) => {
                let reason = refusal(&error).ok_or_else(|| session.told(&error))?;
                session.batch("ROLLBACK TO SAVEPOINT acequia_view")?;
                warnings.push(format!(
                    "the view {} of a model could not be kept, and is gone until it is built again: {reason}",
                    view.shown
                ));
            }
        }
        session.batch("RELEASE SAVEPOINT acequia_view")?;
    }
    Ok(warnings)
}

/// Why a view cannot be made of the table as it is; `None` for what says nothing of the view.
fn refusal(error: &postgres::Error) -> Option<String> {
    let db = error.as_db_error()?;
    let code = db.code();
    match code.code().get(..2) {
        Some("42" | "0A" | "3F") if !error::is_for_now(code) => message_of(db).map(str::to_owned),
        // Such a message may show a value.
        Some("22") => Some(condition(code.code()).to_owned()),
        _ => None,
    }
}

/// The views of these models that have a column, directly or by way of others of them; each after those that read it.
fn find(
    session: &mut Session,
    schema: &str,
    models: &[String],
    table: &str,
    column: &str,
) -> Result<Vec<View>> {
    // Names are looked up alike until the views are made again, so that their definitions mean the same then.
    let found = session.rows(
        "WITH RECURSIVE model (view) AS (\
         SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname::text = ANY ($2) AND c.relkind = 'v' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid AND r.ev_type <> '1')), \
         needs (view, relation, number) AS (\
         SELECT r.ev_class, d.refobjid, d.refobjsubid FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid \
         JOIN model AS m ON m.view = r.ev_class WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass \
         AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> r.ev_class), \
         found (view, depth) AS (\
         SELECT s.view, 1 FROM needs AS s JOIN pg_catalog.pg_attribute AS a ON a.attrelid = s.relation AND a.attnum = s.number \
         WHERE s.relation = $3::text::regclass AND a.attname = $4 \
         UNION SELECT s.view, f.depth + 1 FROM found AS f JOIN needs AS s ON s.relation = f.view) \
         SELECT c.relname::text, pg_catalog.pg_get_viewdef(c.oid) FROM found AS f JOIN pg_catalog.pg_class AS c ON c.oid = f.view \
         GROUP BY c.oid, c.relname ORDER BY max(f.depth) DESC, c.relname",
        &[&schema, &models, &table, &column],
    )?;
    found
        .iter()
        .map(|row| {
            let name: String = value(row, 0)?;
            let sql = format!(
                "{}.{}",
                PostgresSql.identifier(schema),
                PostgresSql.identifier(&name)
            );
            Ok(View {
                given: given::look(session, &sql)?,
                sql,
                shown: format!("{schema}.{name}"),
                query: value(row, 1)?,
            })
        })
        .collect()
}
