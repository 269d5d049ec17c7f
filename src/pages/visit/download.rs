//! Lists as files for spreadsheets: what a filter leaves of them, part by part, up to a bound.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use poem::http::header;
use poem::{Body, Response};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::time::timeout;

use super::{Answer, Visit};
use crate::http::wire::spreadsheet::{CONTENT_TYPE, Sheet};
use crate::pages::refusals::Refusal;

/// The most rows of a file, as the pages say beside the link.
const MAX_ROWS: usize = 10_000;
/// The rows that are asked for at once.
pub(in crate::pages) const ROWS_AT_ONCE: u16 = 500;
/// The most parts: one may be empty, where so many rows were passed over that it ended.
const MAX_PARTS: usize = 100;
/// The longest that one part may take; the file breaks off then.
const PART_WITHIN: Duration = Duration::from_secs(8);

/// The rows of a part, and the cursor of the next one; none after the last.
pub(in crate::pages) type Part<C> = (Vec<Vec<String>>, Option<C>);

/// A file with these columns and the rows that `read` gives, part by part, each by a connection of
/// its own: of the first one for no cursor. What is wrong with the first is told on a page; a later
/// one that cannot be read breaks the file off, which browsers show as a download that failed.
///
/// # Errors
///
/// Those of `read`.
pub(in crate::pages) async fn download<C, F, A>(
    visit: Arc<Visit>,
    name: &'static str,
    columns: &'static [&'static str],
    read: F,
) -> Result<Answer, Refusal>
where
    C: Send + 'static,
    F: Fn(PoolConnection<Postgres>, Option<C>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Part<C>, Refusal>> + Send + 'static,
{
    let first = read(visit.connect().await?, None).await?;
    let mut head = Sheet::default();
    head.write(columns.iter().map(|column| (*column).to_owned()));
    let rest = rows(visit, first, read);
    let whole = stream::once(async move { Ok(Bytes::from(head.into_text())) });
    let body = Body::from_bytes_stream(futures_util::StreamExt::chain(whole, rest));
    let response = Response::builder()
        .content_type(CONTENT_TYPE)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\""));
    Ok(Answer::File(response.body(body)))
}

/// The progress of a file.
struct Progress<C, F> {
    visit: Arc<Visit>,
    read: F,
    part: Option<Part<C>>,
    rows: usize,
    parts: usize,
}

fn rows<C, F, A>(
    visit: Arc<Visit>,
    first: Part<C>,
    read: F,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    C: Send + 'static,
    F: Fn(PoolConnection<Postgres>, Option<C>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Part<C>, Refusal>> + Send + 'static,
{
    let begun = Progress { visit, read, part: Some(first), rows: 0, parts: 1 };
    stream::try_unfold(begun, move |mut progress: Progress<C, F>| async move {
        let Some((rows, next)) = progress.part.take() else { return Ok(None) };
        let mut sheet = Sheet::default();
        for row in rows.into_iter().take(MAX_ROWS - progress.rows) {
            sheet.write(row);
            progress.rows += 1;
        }
        if let Some(next) = next
            && progress.rows < MAX_ROWS
            && progress.parts < MAX_PARTS
        {
            let part = async {
                let conn = progress.visit.connect().await?;
                (progress.read)(conn, Some(next)).await
            };
            let part = timeout(PART_WITHIN, part).await;
            let part = part.map_err(io::Error::other)?;
            progress.part = Some(part.map_err(|refusal| io::Error::other(refusal.0.sentence()))?);
            progress.parts += 1;
        }
        Ok::<_, io::Error>(Some((Bytes::from(sheet.into_text()), progress)))
    })
}
