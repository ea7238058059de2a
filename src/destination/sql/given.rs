//! What people give a table or view: who owns it, who may do what with it, comments, options, indices. One that takes its place is given
//! the same. No I/O.

use std::collections::BTreeSet;

use super::Index;

/// What people gave a table or view, as far as the database has such things and another one does not have them by itself.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) is_view: bool,
    /// The owner in SQL, if it is not the session's user.
    pub(crate) owner: Option<String>,
    pub(crate) grants: BTreeSet<Grant>,
    pub(crate) comments: BTreeSet<Comment>,
    /// A view's options, each as in `security_barrier=true`.
    pub(crate) options: BTreeSet<String>,
    /// A table's indices.
    pub(crate) indices: Vec<Index>,
}

/// A privilege of somebody who is not the owner.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    /// The column that it is limited to.
    pub(crate) column: Option<String>,
    /// As in `SELECT`.
    pub(crate) privilege: String,
    /// In SQL.
    pub(crate) grantee: String,
    /// Whether the grantee may grant it.
    pub(crate) is_grantable: bool,
}

/// A comment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Comment {
    /// The column that it is on; without, it is on the relation.
    pub(crate) column: Option<String>,
    pub(crate) text: String,
}
