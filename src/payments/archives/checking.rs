//! Proof of a file: what holds of it alone, and what it then says.
//!
//! A file is held in memory as a whole, which is why an archive is bounded.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use rust_decimal::Decimal;
use uuid::Uuid;

use super::format::{
    ArchivedAccount, ArchivedEntry, ArchivedTransfer, CarriedForward, End, FORMAT, FileReader,
    Header, Line, MAX_TRANSFERS,
};

/// A file whose transfers and accounts add up.
#[derive(Clone, Debug)]
pub struct CheckedFile {
    /// Its header.
    pub header: Header,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Its transfers.
    pub transfers: Vec<ArchivedTransfer>,
    /// Its accounts.
    pub accounts: HashMap<Uuid, ArchivedAccount>,
}

/// A file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read, or is no archive.
    #[error("line {line}: {source}")]
    Unreadable {
        /// The number of the line, from 1; 0 before the first.
        line: u64,
        /// The error.
        source: io::Error,
    },
    /// A line that is not where it belongs, or a format that this program does not know.
    #[error("line {line} is none of {FORMAT} at this place")]
    Misplaced {
        /// The number of the line, from 1.
        line: u64,
    },
    /// The file ends before its end.
    #[error("the file has no end")]
    Cut,
    /// The counts at the end are others.
    #[error("the file says that it has {0:?}, and does not")]
    Counts(End),
    /// A transfer that is none.
    #[error("transfer {0} is no movement between two accounts of its currency before the end")]
    Transfer(Uuid),
    /// An account whose entries do not lead from its opening to its closing.
    #[error("the entries of account {0} do not lead from its opening to its closing balance")]
    Account(Uuid),
}

/// Reads a file, and proves of it that each transfer has two sides between accounts of its
/// currency, that the entries of each account are numbered without a gap and lead from its opening
/// to its closing balance, and that nothing else is in it.
///
/// # Errors
///
/// [`CheckError`].
pub fn check(path: &Path) -> Result<CheckedFile, CheckError> {
    let unreadable = |source| CheckError::Unreadable { line: 0, source };
    let mut lines = Lines { file: FileReader::open(path).map_err(unreadable)?, number: 0 };
    let Some(Line::Header(header)) = lines.next()? else { return Err(lines.misplaced()) };
    if header.format != FORMAT || header.number < 1 {
        return Err(lines.misplaced());
    }
    let (mut transfers, mut accounts) = (Vec::new(), HashMap::new());
    let end = loop {
        match lines.next()? {
            Some(Line::Transfer(transfer))
                if accounts.is_empty() && transfers.len() < MAX_TRANSFERS as usize =>
            {
                transfers.push(transfer);
            }
            Some(Line::Account(account)) if accounts.len() < 2 * transfers.len() => {
                if accounts.insert(account.id, account).is_some() {
                    return Err(lines.misplaced());
                }
            }
            Some(Line::End(end)) => break end,
            Some(_) => return Err(lines.misplaced()),
            None => return Err(CheckError::Cut),
        }
    };
    if lines.next()?.is_some() {
        return Err(lines.misplaced());
    }
    let misplaced = lines.misplaced();
    let sha256 = lines.file.finish().map_err(unreadable)?.ok_or(misplaced)?;
    if (end.transfers, end.accounts) != (transfers.len() as u64, accounts.len() as u64) {
        return Err(CheckError::Counts(end));
    }
    let file = CheckedFile { header, sha256, transfers, accounts };
    file.check_transfers()?;
    file.check_accounts()?;
    Ok(file)
}

/// The lines of a file, counted.
struct Lines {
    file: FileReader,
    number: u64,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Line>, CheckError> {
        self.number += 1;
        let line = self.number;
        self.file.next_line().map_err(|source| CheckError::Unreadable { line, source })
    }

    fn misplaced(&self) -> CheckError {
        CheckError::Misplaced { line: self.number }
    }
}

/// An entry, as its account sees it.
struct Movement {
    account: Uuid,
    version: i64,
    amount: Decimal,
    balance_after: Decimal,
}

impl Movement {
    fn new(side: &ArchivedEntry, amount: Decimal) -> Self {
        let ArchivedEntry { account, version, balance_after } = *side;
        Self { account, version, amount, balance_after }
    }

    /// The state after this entry; none if it does not follow from the state before it.
    fn follows(before: CarriedForward, entry: &Self) -> Option<CarriedForward> {
        let version = before.version.checked_add(1)?;
        let balance = before.balance.checked_add(entry.amount)?;
        let is_next = (version, balance) == (entry.version, entry.balance_after);
        is_next.then_some(CarriedForward { version, balance })
    }
}

impl CheckedFile {
    fn check_transfers(&self) -> Result<(), CheckError> {
        let mut ids: Vec<Uuid> = self.transfers.iter().map(|transfer| transfer.id).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CheckError::Transfer(twice[0]));
        }
        let is_of_currency = |side: &ArchivedEntry, currency: &str| {
            self.accounts.get(&side.account).is_some_and(|account| account.currency == currency)
        };
        let misfit = self.transfers.iter().find(|transfer| {
            let ArchivedTransfer { source, destination, currency, amount, at, .. } = transfer;
            *amount <= Decimal::ZERO
                || source.account == destination.account
                || *at >= self.header.dated_before
                || !is_of_currency(source, currency)
                || !is_of_currency(destination, currency)
        });
        misfit.map_or(Ok(()), |transfer| Err(CheckError::Transfer(transfer.id)))
    }

    fn check_accounts(&self) -> Result<(), CheckError> {
        let mut movements: Vec<Movement> = self
            .transfers
            .iter()
            .flat_map(|ArchivedTransfer { source, destination, amount, .. }| {
                [Movement::new(source, -amount), Movement::new(destination, *amount)]
            })
            .collect();
        movements.sort_unstable_by_key(|movement| (movement.account, movement.version));
        for entries in movements.chunk_by(|one, next| one.account == next.account) {
            let id = entries[0].account;
            let account = self.accounts.get(&id).ok_or(CheckError::Account(id))?;
            let end = entries.iter().try_fold(account.opening, Movement::follows);
            if end != Some(account.closing) {
                return Err(CheckError::Account(id));
            }
        }
        self.without_entries().map_or(Ok(()), |account| Err(CheckError::Account(account)))
    }

    /// An account that no transfer touches.
    fn without_entries(&self) -> Option<Uuid> {
        let touched: HashSet<Uuid> = self
            .transfers
            .iter()
            .flat_map(|transfer| [transfer.source.account, transfer.destination.account])
            .collect();
        self.accounts.keys().copied().find(|account| !touched.contains(account))
    }
}
