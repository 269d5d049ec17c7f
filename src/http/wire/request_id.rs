//! The id by which a caller, our logs and a support ticket speak of one request.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use poem::http::HeaderValue;
use uuid::Uuid;

/// The header that carries the id, both ways.
pub const X_REQUEST_ID: &str = "x-request-id";

/// Longer ids are not taken over: every log line of the request repeats them.
const MAX_REQUEST_ID_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: the caller's own where it is sane, else one made here.
///
/// Handlers take it as `Data<&RequestId>`; code without a request in hand, such as an error's
/// conversion into a response, asks [`RequestId::current`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Takes the caller's id if it is short and of characters that need no quoting anywhere, else
    /// makes one.
    pub fn accept_or_make(header: Option<&HeaderValue>) -> Self {
        let sane = header.and_then(|value| value.to_str().ok()).filter(|id| is_sane(id));
        match sane {
            Some(id) => Self(id.into()),
            None => Self(make().to_string().into()),
        }
    }

    /// The id of the request that this code answers; `None` elsewhere.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the value of [`X_REQUEST_ID`].
    pub fn to_header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a request id holds visible ASCII characters only")
    }

    /// Makes this the [`current`](Self::current) id of what `work` does.
    pub(in crate::http) fn within<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Makes this the [`current`](Self::current) id of all that `request` does.
    pub(in crate::http) fn scope<F: Future>(self, request: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, request)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A UUID of version 7, so that ids sort by time. It has to be unique and not secret, so it does
/// without the system call for randomness that `Uuid::now_v7` makes.
fn make() -> Uuid {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let random = fastrand::u128(..).to_ne_bytes();
    let mut counter_random_bytes = [0; 10];
    counter_random_bytes.copy_from_slice(&random[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &counter_random_bytes).into_uuid()
}

/// Letters, digits, and what UUIDs, base64 and the usual `service:host/number` schemes need.
fn is_sane(id: &str) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(id: &[u8]) -> RequestId {
        let header = HeaderValue::from_bytes(id).expect("these bytes may stand in a header");
        RequestId::accept_or_make(Some(&header))
    }

    #[test]
    fn a_sane_id_is_taken_over() {
        let longest = "a".repeat(MAX_REQUEST_ID_BYTES);
        for id in ["7", "01JD-x_y.z:1", "aGVsbG8+/w==", longest.as_str()] {
            assert_eq!(accept(id.as_bytes()).as_str(), id);
        }
    }

    #[test]
    fn made_ids_differ_and_sort_by_time() {
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| make()).collect();
        assert_eq!(made.len(), 10_000);
        let earlier = make();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(earlier < make());
        assert_eq!(earlier.get_version_num(), 7);
    }

    #[test]
    fn any_other_id_is_replaced() {
        let too_long = "a".repeat(MAX_REQUEST_ID_BYTES + 1);
        for id in ["", "a b", "a\tb", "<script>", "\"", "ä", "a,b", too_long.as_str()] {
            let made = accept(id.as_bytes());
            assert!(Uuid::parse_str(made.as_str()).is_ok(), "{id} became {made}");
        }
        assert!(Uuid::parse_str(RequestId::accept_or_make(None).as_str()).is_ok());
    }
}
