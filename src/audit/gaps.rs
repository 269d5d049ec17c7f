//! Gaps: numbers of entries that were drawn and not seen, as their transactions had not committed.
//!
//! A transaction has its own number before it draws one for an entry, and a number is seen to be
//! missing only after it was drawn. So once every transaction older than the sealer's next one has
//! ended, nothing can appear in that gap any more. Until then it is looked at again.

/// Numbers of entries that may still appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The first of them.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// Transactions with this number or a later one have not drawn any of them; 0 while unknown.
    pub bound: i64,
}

/// The progress of sealing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The highest number that was seen.
    pub top: i64,
    /// The numbers below it that were not, in rising order.
    pub gaps: Vec<Gap>,
}

impl Progress {
    /// Gives a bound to gaps that were found before the transaction `own` began.
    pub fn bound_by(&mut self, own: i64) {
        self.gaps.iter_mut().filter(|gap| gap.bound == 0).for_each(|gap| gap.bound = own);
    }

    /// Takes numbers out of the gaps that have appeared in them, given in rising order.
    pub fn fill(&mut self, appeared: &[i64]) {
        let mut gaps = Vec::with_capacity(self.gaps.len() + appeared.len());
        let mut appeared = appeared.iter().copied().peekable();
        for gap in &self.gaps {
            let mut first = gap.first;
            while let Some(number) = appeared.next_if(|number| *number <= gap.last) {
                if number < gap.first {
                    continue;
                }
                if number > first {
                    gaps.push(Gap { first, last: number - 1, ..*gap });
                }
                first = number + 1;
            }
            if first <= gap.last {
                gaps.push(Gap { first, ..*gap });
            }
        }
        self.gaps = gaps;
    }

    /// Closes the gaps in which nothing can appear, as all transactions before `oldest` have ended.
    pub fn close_before(&mut self, oldest: i64) {
        self.gaps.retain(|gap| gap.bound == 0 || gap.bound > oldest);
    }

    /// Goes on to the last of these numbers, given in rising order and all above the top; what is
    /// missing between them becomes gaps.
    pub fn advance(&mut self, seen: &[i64]) {
        for number in seen {
            if *number > self.top + 1 {
                self.gaps.push(Gap { first: self.top + 1, last: number - 1, bound: 0 });
            }
            self.top = *number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(first: i64, last: i64, bound: i64) -> Gap {
        Gap { first, last, bound }
    }

    #[test]
    fn numbers_that_are_missing_become_gaps_and_are_filled_one_by_one() {
        let mut progress = Progress::default();
        progress.advance(&[2, 3, 7]);
        assert_eq!(progress.gaps, [gap(1, 1, 0), gap(4, 6, 0)]);
        progress.bound_by(50);
        progress.advance(&[9]);
        progress.fill(&[1, 5]);
        assert_eq!(progress.gaps, [gap(4, 4, 50), gap(6, 6, 50), gap(8, 8, 0)]);
        progress.fill(&[4, 6, 8]);
        assert_eq!((progress.top, progress.gaps.len()), (9, 0));
    }

    #[test]
    fn a_gap_is_closed_only_when_older_transactions_have_ended() {
        let mut progress = Progress { top: 9, gaps: vec![gap(4, 4, 50), gap(8, 8, 0)] };
        progress.close_before(49);
        assert_eq!(progress.gaps.len(), 2);
        progress.close_before(50);
        assert_eq!(progress.gaps, [gap(8, 8, 0)]);
    }
}
