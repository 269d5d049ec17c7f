//! Warnings of kinds and queues that nobody knows, which a mistyped name is most often.

use sqlx::PgConnection;

use crate::operations::{KnownNames, known_names};

/// Names as they were typed.
#[derive(Debug, Default)]
pub(super) struct TypedNames {
    pub(super) kinds: Vec<String>,
    pub(super) queues: Vec<String>,
}

impl TypedNames {
    pub(super) fn kinds<'a>(kinds: impl IntoIterator<Item = &'a String>) -> Self {
        Self { kinds: kinds.into_iter().cloned().collect(), queues: Vec::new() }
    }

    pub(super) fn queue(queue: &str) -> Self {
        Self { kinds: Vec::new(), queues: vec![queue.to_owned()] }
    }

    /// Says on stderr which of them nobody knows. That is no error: a queue may be held up before
    /// its first job, and history outlives the programs that made it.
    ///
    /// # Errors
    ///
    /// When the database cannot be asked.
    pub(super) async fn warn_of_unknown(&self, conn: &mut PgConnection) -> anyhow::Result<()> {
        if self.kinds.is_empty() && self.queues.is_empty() {
            return Ok(());
        }
        let known: KnownNames = known_names(conn).await?;
        let kinds = known.doubts_about_kinds(self.kinds.iter().map(String::as_str));
        let queues = known.doubts_about_queues(self.queues.iter().map(String::as_str));
        for doubt in kinds.into_iter().chain(queues) {
            eprintln!("warning: {doubt}");
        }
        Ok(())
    }
}
