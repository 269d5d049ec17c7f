//! W3C trace context kept on the job row.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
/// `traceparent` and `tracestate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceContext(pub BTreeMap<String, String>);
impl TraceContext {
    /// The context of the current span, if any.
    pub fn current() -> Option<Self> {
        None
    }
}
