//! Looks up what people [gave](Given) a table or view, and gives it to the one that takes its place. Default privileges that the new one
//! has, and the old one had not, are revoked.

use std::collections::BTreeSet;

use crate::destination::sql::Dialect as _;
use crate::destination::sql::given::{Comment, Given, Grant};
use crate::error::Result;

use super::dialect::PostgresSql;
use super::session::{Session, value};

/// What a relation, given in SQL, was given.
pub(super) fn look(session: &mut Session, relation: &str) -> Result<Given> {
    let row = session.row(
        "SELECT CASE WHEN c.relowner <> u.oid THEN pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)) END, \
         CASE WHEN c.relkind = 'v' THEN c.reloptions END, c.relkind = 'v' \
         FROM pg_catalog.pg_class AS c, pg_catalog.pg_roles AS u \
         WHERE c.oid = $1::text::regclass AND u.rolname = current_user",
        &[&relation],
    )?;
    let (owner, options) = (value(&row, 0)?, value::<Option<Vec<String>>>(&row, 1)?);
    let comments = session.rows(
        "SELECT a.attname::text, d.description FROM pg_catalog.pg_description AS d \
         LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid <> 0 \
         WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = $1::text::regclass",
        &[&relation],
    )?;
    let comment = |row| {
        Ok(Comment {
            column: value(row, 0)?,
            text: value(row, 1)?,
        })
    };
    let comments = comments.iter().map(comment).collect::<Result<_>>()?;
    Ok(Given {
        is_view: value(&row, 2)?,
        owner,
        options: options.into_iter().flatten().collect(),
        comments,
        grants: grants(session, relation)?,
        indices: Vec::new(),
    })
}

/// Gives it to the relation that is there now by that name, as far as that has the columns.
pub(super) fn give_again(session: &mut Session, relation: &str, given: &Given) -> Result<()> {
    let d = PostgresSql;
    let now = look(session, relation)?;
    let columns = column_names(session, relation)?;
    let is_there =
        |column: &Option<String>| column.as_ref().is_none_or(|name| columns.contains(name));
    let mut statements = Vec::new();
    let options = given.options.difference(&now.options);
    let options = options.filter_map(|option| option.split_once('='));
    for (name, value) in options.filter(|_| now.is_view) {
        statements.push(format!(
            "ALTER VIEW {relation} SET ({name} = {})",
            d.literal(value)
        ));
    }
    let comments = given.comments.difference(&now.comments);
    for Comment { column, text } in comments.filter(|comment| is_there(&comment.column)) {
        let on = match column {
            Some(column) => format!("COLUMN {relation}.{}", d.identifier(column)),
            None if now.is_view => format!("VIEW {relation}"),
            None => format!("TABLE {relation}"),
        };
        statements.push(format!("COMMENT ON {on} IS {}", d.literal(text)));
    }
    for grant in now.grants.difference(&given.grants) {
        let what = privilege(grant);
        statements.push(format!(
            "REVOKE {what} ON {relation} FROM {}",
            grant.grantee
        ));
    }
    let grants = given.grants.difference(&now.grants);
    for grant in grants.filter(|grant| is_there(&grant.column)) {
        let what = privilege(grant);
        let option = if grant.is_grantable {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        statements.push(format!(
            "GRANT {what} ON {relation} TO {}{option}",
            grant.grantee
        ));
    }
    // The last, as whoever owns it no more may do nothing more.
    if let Some(owner) = &given.owner {
        statements.push(format!("ALTER TABLE {relation} OWNER TO {owner}"));
    }
    if statements.is_empty() {
        return Ok(());
    }
    session.batch(&statements.join("; "))
}

/// A grant's privilege in SQL.
fn privilege(grant: &Grant) -> String {
    match &grant.column {
        Some(column) => format!("{} ({})", grant.privilege, PostgresSql.identifier(column)),
        None => grant.privilege.clone(),
    }
}

/// What others than the owner may do with a relation and its columns.
fn grants(session: &mut Session, relation: &str) -> Result<BTreeSet<Grant>> {
    let rows = session.rows(
        "SELECT g.attname, g.privilege_type, \
         CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END, g.is_grantable \
         FROM pg_catalog.pg_class AS c CROSS JOIN LATERAL (\
         SELECT NULL::text AS attname, x.grantee, x.privilege_type, x.is_grantable FROM pg_catalog.aclexplode(c.relacl) AS x \
         UNION ALL SELECT a.attname::text, x.grantee, x.privilege_type, x.is_grantable \
         FROM pg_catalog.pg_attribute AS a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS x \
         WHERE a.attrelid = c.oid AND NOT a.attisdropped) AS g \
         WHERE c.oid = $1::text::regclass AND g.grantee <> c.relowner",
        &[&relation],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Grant {
                column: value(row, 0)?,
                privilege: value(row, 1)?,
                grantee: value(row, 2)?,
                is_grantable: value(row, 3)?,
            })
        })
        .collect()
}

fn column_names(session: &mut Session, relation: &str) -> Result<BTreeSet<String>> {
    let rows = session.rows(
        "SELECT attname::text FROM pg_catalog.pg_attribute \
         WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
        &[&relation],
    )?;
    rows.iter().map(|row| value(row, 0)).collect()
}
