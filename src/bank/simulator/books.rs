//! The decisions of the simulator: one per effect key, for ever.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::bank::EffectKey;
use crate::bank::wire::{Answer, Booking, PaymentRequest, StatementAnswer};

/// A decision on an instruction. One that lies in the future is pending until then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PaymentRecord {
    pub(super) effect_key: EffectKey,
    pub(super) request: PaymentRequest,
    pub(super) decision: PaymentDecision,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) decided_at: OffsetDateTime,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PaymentDecision {
    Booked { bank_reference: String },
    Declined { reason: String },
}

impl PaymentRecord {
    /// The bank's answer about the payment at this time, which is the truth.
    pub(super) fn answer(&self, now: OffsetDateTime) -> Answer {
        let effect_key = self.effect_key.clone();
        if self.decided_at > now {
            return Answer::Pending { effect_key };
        }
        match &self.decision {
            PaymentDecision::Declined { reason } => {
                Answer::Declined { effect_key, reason: reason.clone() }
            }
            PaymentDecision::Booked { bank_reference } => Answer::Booked(Booking {
                bank_reference: bank_reference.clone(),
                effect_key,
                direction: self.request.direction,
                amount: self.request.amount.clone(),
                currency: self.request.currency.clone(),
                booked_at: self.decided_at,
            }),
        }
    }
}

/// The decisions, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Books {
    entries: Vec<PaymentRecord>,
    by_key: HashMap<EffectKey, usize>,
    /// The number of times that each key was sent. Forgotten at a restart: only chance needs it.
    /// Forgotten at a restart: only the dice need it.
    sends: HashMap<EffectKey, u32>,
    file: Option<File>,
}

/// The period of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub(super) from: OffsetDateTime,
    /// The end, which is not included.
    pub(super) until: OffsetDateTime,
}

impl Books {
    /// The books in this file, which is made if need be.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line without an end was being written when the process was killed: nobody has an answer
        // that says what it says.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut books = Self::default();
        for line in text[..whole].lines() {
            books.insert(serde_json::from_str(line)?);
        }
        let whole = u64::try_from(whole).map_err(io::Error::other)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        books.file = Some(file);
        Ok(books)
    }

    /// The decision on this key.
    pub(super) fn find(&self, effect_key: &EffectKey) -> Option<&PaymentRecord> {
        self.by_key.get(effect_key).map(|position| &self.entries[*position])
    }

    /// Counts that this key was sent; how often it was before.
    pub(super) fn count_send(&mut self, effect_key: &EffectKey) -> u32 {
        let sends = self.sends.entry(effect_key.clone()).or_default();
        *sends += 1;
        *sends - 1
    }

    /// Enters a decision on a key that has none. It survives the process from here on; not the
    /// machine, for a simulator need not wait for the disk.
    pub(super) fn enter(&mut self, entry: PaymentRecord) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        self.insert(entry);
        Ok(())
    }

    fn insert(&mut self, entry: PaymentRecord) {
        self.by_key.insert(entry.effect_key.clone(), self.entries.len());
        self.entries.push(entry);
    }

    /// A page of what was booked by now: those after the first `after` decisions.
    pub(super) fn statement(
        &self,
        period: Period,
        after: usize,
        limit: usize,
        now: OffsetDateTime,
    ) -> StatementAnswer {
        let mut bookings = Vec::new();
        for (position, entry) in self.entries.iter().enumerate().skip(after) {
            if let Answer::Booked(booking) = entry.answer(now)
                && (period.from..period.until).contains(&booking.booked_at)
            {
                if bookings.len() == limit {
                    return StatementAnswer { bookings, next: u64::try_from(position).ok() };
                }
                bookings.push(booking);
            }
        }
        StatementAnswer { bookings, next: None }
    }
}
