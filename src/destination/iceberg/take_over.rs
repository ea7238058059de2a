//! What DuckDB finds of an engine elsewhere that was at a table before it, and never came to its end.

use crate::destination::sql::changes::changelog;
use crate::error::{Kind, Result};
use crate::landing::manifest::Manifest;

use super::Lake;
use super::claims::{
    self, Claim, Intent, Tables, Unfinished, keeps_changes, makes_anew, not_undone,
};
use super::state::Kept;

impl Lake {
    /// Looks at the tables of a load.
    pub(super) fn look_at_tables(&mut self, manifest: &Manifest) -> Result<Tables> {
        let name = changelog::table_name(&manifest.table);
        let catalog = &mut self.writer.catalog;
        let table = catalog.table(&manifest.table)?;
        let changes = if keeps_changes(manifest) {
            catalog.table(&name)?
        } else {
            None
        };
        Ok(Tables { table, changes })
    }

    /// Puts the tables of a load back to where they were before a load that an engine without branches began, and never published,
    /// and claims them: what that engine may be at even now is refused then, or is undone by the next attempt. Other claims go. Whether
    /// there was any.
    ///
    /// # Errors
    /// Where they were changed since, so that they cannot be put back.
    pub(super) fn take_over(
        &mut self,
        manifest: &Manifest,
        found: &Tables,
        own: Option<&Kept>,
    ) -> Result<bool> {
        let turn = found.next_turn();
        let intent = Intent {
            load: manifest.load_id.to_string(),
            claim: claims::named(turn),
            branch: false,
            from: None,
            amends: claims::amends(manifest),
        };
        let mut was_claimed = false;
        for (name, seen) in found.named(manifest) {
            let unfinished = Unfinished::of(seen, own);
            let undone = unfinished
                .as_ref()
                .and_then(|unfinished| unfinished.can_be_undone(seen));
            let commit = match (unfinished, undone) {
                (Some(_), Some(from)) => {
                    let claim = Claim {
                        seen,
                        intent: &intent,
                        turn,
                        from,
                        holds_main: true,
                    };
                    Some(claim.commit()?)
                }
                (Some(unfinished), None) => {
                    // The rows of a table that is made anew go, whatever they are, and what another load kept of changes is true.
                    let is_other = unfinished.load != manifest.load_id.as_str();
                    if !makes_anew(manifest) || !(is_other || name == manifest.table) {
                        return Err(not_undone(&unfinished, &name));
                    }
                    claims::cleared(seen)
                }
                (None, _) => claims::cleared(seen),
            };
            let Some((requirements, updates)) = commit else {
                continue;
            };
            let catalog = &mut self.writer.catalog;
            let done = catalog.commit(&name, seen, requirements, updates)?.done();
            done.map_err(|error| error.for_now().of_kind(Kind::Storage))?;
            was_claimed = true;
        }
        fail::fail_point!("iceberg.taken_over", crate::failpoint::abort);
        Ok(was_claimed)
    }

    /// Takes away the claims by which tables were taken over. Where that fails the next load does it.
    pub(super) fn let_go(&mut self, manifest: &Manifest) {
        let answer = self.look_at_tables(manifest).and_then(|found| {
            let catalog = &mut self.writer.catalog;
            for (name, seen) in found.named(manifest) {
                if let Some((requirements, updates)) = claims::cleared(seen) {
                    catalog.commit(&name, seen, requirements, updates)?.done()?;
                }
            }
            Ok(())
        });
        if let Err(error) = answer {
            tracing::debug!("a claim stays until the next load: {}", error.report());
        }
    }
}
