//! Ways in which an answer can be odd: whole, of status 200, and not to be believed. Each was seen, or could be, of a server
//! that is not well.

/// How answers are odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// A search shows no hit, and says that a page comes after them.
    EmptyPage,
    /// A search's page is full, and says nothing of the pages after it; `total` is right.
    NoPaging,
    /// A search's page is full, says nothing of the pages after it, and that its hits are all there are.
    NoPagingNorTotal,
    /// A search's hits are in no order.
    Unsorted,
    /// A search's hits are sorted by the letters of their ids.
    SortedAsText,
    /// A search shows fewer hits than it says there are.
    FewerHits,
    /// A list's page is full, and says nothing of the pages after it.
    ListEnds,
    /// The next page is always the first one: of lists, owners and associations.
    RoundAndRound,
    /// A batch leaves a record out, and does not say so.
    BatchOmits,
}

/// Oddities to come.
#[derive(Debug, Default)]
pub(crate) struct Oddities(Vec<(Oddity, u32)>);

impl Oddities {
    /// The next so many answers that can be are odd so.
    pub(crate) fn add(&mut self, oddity: Oddity, times: u32) {
        self.0.push((oddity, times));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether an answer that can be is odd so.
    pub(crate) fn take(&mut self, oddity: Oddity) -> bool {
        let due = self
            .0
            .iter_mut()
            .find(|(known, times)| *known == oddity && *times > 0);
        match due {
            Some((_, times)) => {
                *times -= 1;
                true
            }
            None => false,
        }
    }
}
