//! Entries: writing them, and the text of an entry that is hashed.

use std::net::IpAddr;

use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::merkle::{self, Hash};

/// The actor of what the program does by itself.
pub const SYSTEM: &str = "system";

/// The bounds of `audit.entries`, in characters.
const MAX_ACTOR_CHARS: usize = 200;
const MAX_SUBJECT_CHARS: usize = 300;
const MAX_REQUEST_ID_CHARS: usize = 128;
const MAX_TRACE_ID_CHARS: usize = 32;
const MAX_REASON_CHARS: usize = 500;
/// The longest JSON of a change or of data, in bytes.
pub const MAX_JSON_BYTES: usize = 65_536;

/// The thing that an entry is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The sort of thing, in one word: `transaction`, `queue`, `job`.
    pub kind: String,
    /// Its name among those of its kind: a provider's id of a transaction, a queue's name.
    pub id: String,
}

impl Subject {
    /// The thing of this kind and name. A name longer than 300 characters is cut.
    pub fn new(kind: &str, id: impl ToString) -> Self {
        Self { kind: kind.to_owned(), id: cut(&id.to_string(), MAX_SUBJECT_CHARS) }
    }

    /// A provider's transaction, by the provider's id.
    pub fn transaction(transaction_id: &str) -> Self {
        Self::new("transaction", transaction_id)
    }

    /// The number by which `audit.leaves` finds it; others may have the same.
    pub(super) fn number(&self) -> i64 {
        let hash = Sha256::new()
            .chain_update(self.kind.as_bytes())
            .chain_update([0])
            .chain_update(self.id.as_bytes())
            .finalize();
        let first = hash.first_chunk().expect("a SHA-256 has more than 8 bytes");
        i64::from_be_bytes(*first)
    }
}

/// An entry to be written. Whatever is too long is cut, as the log must never be a reason for which
/// money does not move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEntry {
    actor: String,
    action: &'static str,
    subject: Subject,
    address: Option<IpAddr>,
    request_id: Option<String>,
    trace_id: Option<String>,
    reason: Option<String>,
    before: Option<String>,
    after: Option<String>,
    data: Option<String>,
}

impl NewEntry {
    /// An entry that `actor` (`cli:ada`, `user:<uuid>`, `key:<uuid>`, `job:<kind>`, [`SYSTEM`]) did
    /// `action` to `subject`. An action has lower-case words with dots between them:
    /// `queue.pause`.
    pub fn new(actor: &str, action: &'static str, subject: Subject) -> Self {
        let actor = cut(actor, MAX_ACTOR_CHARS);
        let actor = if actor.is_empty() { SYSTEM.to_owned() } else { actor };
        Self {
            actor,
            action,
            subject,
            address: None,
            request_id: None,
            trace_id: None,
            reason: None,
            before: None,
            after: None,
            data: None,
        }
    }

    /// The address that the request for it came from.
    #[must_use]
    pub fn address(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    /// The id of the request for it.
    #[must_use]
    pub fn request_id(mut self, id: Option<&str>) -> Self {
        self.request_id = id.map(|id| cut(id, MAX_REQUEST_ID_CHARS));
        self
    }

    /// The trace that it is part of, as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(mut self, id: Option<&str>) -> Self {
        self.trace_id = id.map(|id| cut(id, MAX_TRACE_ID_CHARS));
        self
    }

    /// The reason that was given for it.
    #[must_use]
    pub fn reason(mut self, reason: Option<&str>) -> Self {
        self.reason = reason.map(|reason| cut(reason, MAX_REASON_CHARS));
        self
    }

    /// The subject as it was. Nothing secret: the log is shown to operators.
    #[must_use]
    pub fn before(mut self, before: &impl Serialize) -> Self {
        self.before = Some(json(before));
        self
    }

    /// The subject as it is from now on. Nothing secret.
    #[must_use]
    pub fn after(mut self, after: &impl Serialize) -> Self {
        self.after = Some(json(after));
        self
    }

    /// Whatever else there is to say. Nothing secret.
    #[must_use]
    pub fn data(mut self, data: &impl Serialize) -> Self {
        self.data = Some(json(data));
        self
    }
}

/// The text without NUL, which PostgreSQL has none of, and not longer than this.
fn cut(text: &str, max_chars: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(max_chars).collect()
}

/// JSON that fits; what does not is replaced by its length.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value)
        .unwrap_or_else(|error| serde_json::json!({ "not_json": error.to_string() }).to_string());
    match text.len() > MAX_JSON_BYTES {
        true => serde_json::json!({ "omitted_bytes": text.len() }).to_string(),
        false => text,
    }
}

/// Writes entries, in the transaction of what they tell of: one statement for any number of them,
/// about 6 µs each in batches of 200. They are sealed after the commit.
///
/// # Errors
///
/// When the database refuses.
pub async fn record(conn: &mut PgConnection, entries: &[NewEntry]) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let texts = |of: fn(&NewEntry) -> &str| -> Vec<&str> { entries.iter().map(of).collect() };
    let options = |of: fn(&NewEntry) -> Option<&str>| -> Vec<Option<&str>> {
        entries.iter().map(of).collect()
    };
    let addresses: Vec<Option<String>> =
        entries.iter().map(|entry| entry.address.map(|it| it.to_string())).collect();
    sqlx::query!(
        "
        insert into audit.entries (
          actor, action, subject_kind, subject_id, address, request_id, trace_id, reason, before,
          after, data
        )
        select
          actor, action, subject_kind, subject_id, address::inet, request_id, trace_id, reason,
          before, after, data
        from unnest(
          $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
          $8::text[], $9::text[], $10::text[], $11::text[]
        ) as new (
          actor, action, subject_kind, subject_id, address, request_id, trace_id, reason, before,
          after, data
        )
        ",
        &texts(|entry| &entry.actor) as &[&str],
        &texts(|entry| entry.action) as &[&str],
        &texts(|entry| &entry.subject.kind) as &[&str],
        &texts(|entry| &entry.subject.id) as &[&str],
        &addresses as &[Option<String>],
        &options(|entry| entry.request_id.as_deref()) as &[Option<&str>],
        &options(|entry| entry.trace_id.as_deref()) as &[Option<&str>],
        &options(|entry| entry.reason.as_deref()) as &[Option<&str>],
        &options(|entry| entry.before.as_deref()) as &[Option<&str>],
        &options(|entry| entry.after.as_deref()) as &[Option<&str>],
        &options(|entry| entry.data.as_deref()) as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes an entry about a provider's transaction, with the provider's id of it. In SQL it is
/// `audit.log_transaction(transaction_id, data)`.
///
/// # Errors
///
/// When the database refuses.
pub async fn log_transaction(
    conn: &mut PgConnection,
    transaction_id: &str,
    data: &impl Serialize,
) -> sqlx::Result<()> {
    let subject = Subject::transaction(transaction_id);
    record(conn, &[NewEntry::new(SYSTEM, "transaction.logged", subject).data(data)]).await
}

/// An entry as it is stored.
///
/// The fields stand in the order of their names, in which RFC 8785 (JSON canonicalisation) has
/// them: [`canonical`](Self::canonical) relies on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// The action: `queue.pause`.
    pub action: String,
    /// The actor: `cli:ada`.
    pub actor: String,
    /// The address that the request came from; null where there was no request.
    pub address: Option<String>,
    /// The subject as it was afterwards, as text that is JSON; null where nothing is said.
    pub after: Option<String>,
    /// The moment, in RFC 3339 to the microsecond, in UTC.
    pub at: String,
    /// The subject as it was, as text that is JSON; null where nothing is said.
    pub before: Option<String>,
    /// Whatever else there is to say, as text that is JSON; null where nothing is.
    pub data: Option<String>,
    /// The id of the entry.
    pub id: Uuid,
    /// The reason that was given; null where none was.
    pub reason: Option<String>,
    /// The id of the request; null where there was none.
    pub request_id: Option<String>,
    /// The number of the entry, in the order of writing.
    pub seq: i64,
    /// The name of the subject.
    pub subject_id: String,
    /// The sort of the subject.
    pub subject_kind: String,
    /// The trace; null where there was none.
    pub trace_id: Option<String>,
}

impl Entry {
    /// The text that is hashed: JSON as RFC 8785 has it. All values are strings, null, or the
    /// number, so that nobody can write it in two ways.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }

    /// The hash of its leaf.
    pub fn leaf_hash(&self) -> Hash {
        merkle::leaf_hash(self.canonical().as_bytes())
    }

    /// The subject.
    pub fn subject(&self) -> Subject {
        Subject { kind: self.subject_kind.clone(), id: self.subject_id.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            action: "queue.pause".to_owned(),
            actor: "cli:ada".to_owned(),
            address: None,
            after: Some("{\"paused\": true}".to_owned()),
            at: "2026-11-29T01:02:03.000004Z".to_owned(),
            before: None,
            data: None,
            id: Uuid::from_u128(1),
            reason: Some("a \"b\"\n\u{1f} é \u{2028}".to_owned()),
            request_id: None,
            seq: 7,
            subject_id: "bank".to_owned(),
            subject_kind: "queue".to_owned(),
            trace_id: None,
        }
    }

    #[test]
    fn the_canonical_text_is_that_of_rfc_8785() {
        let expected = "{\"action\":\"queue.pause\",\"actor\":\"cli:ada\",\"address\":null,\
            \"after\":\"{\\\"paused\\\": true}\",\"at\":\"2026-11-29T01:02:03.000004Z\",\
            \"before\":null,\"data\":null,\"id\":\"00000000-0000-0000-0000-000000000001\",\
            \"reason\":\"a \\\"b\\\"\\n\\u001f é \u{2028}\",\"request_id\":null,\"seq\":7,\
            \"subject_id\":\"bank\",\"subject_kind\":\"queue\",\"trace_id\":null}";
        assert_eq!(entry().canonical(), expected);
    }

    #[test]
    fn every_field_of_an_entry_is_hashed() {
        let value = serde_json::to_value(entry()).expect("it is JSON");
        let names: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(names.len(), 14);
        assert!(names.is_sorted());
    }

    #[test]
    fn what_is_too_long_is_cut_and_never_refused() {
        let long = "é\0".repeat(MAX_JSON_BYTES);
        let subject = Subject::new("queue", &long);
        assert_eq!(subject.id.chars().count(), MAX_SUBJECT_CHARS);
        let entry = NewEntry::new(&long, "queue.pause", subject).reason(Some(&long)).data(&long);
        assert_eq!(entry.actor.chars().count(), MAX_ACTOR_CHARS);
        assert!(entry.data.expect("it has data").starts_with("{\"omitted_bytes\":"));
        assert_eq!(NewEntry::new("", "queue.pause", Subject::new("queue", "x")).actor, SYSTEM);
    }

    #[test]
    fn subjects_have_numbers_that_do_not_mix_kind_and_id() {
        let number = |kind, id| Subject::new(kind, id).number();
        assert_ne!(number("a", "bc"), number("ab", "c"));
        assert_eq!(number("a", "bc"), number("a", "bc"));
    }
}
