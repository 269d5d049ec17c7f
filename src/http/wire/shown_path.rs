//! Paths as logs and traces show them.

use std::borrow::Cow;

/// In place of a part of a path that may be about a person.
const WITHHELD: &str = "***";

/// The path without what looks like an address of mail: people type one where an id belongs, and
/// logs are kept for longer than people may wish to be.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    if !is_personal(path) {
        return Cow::Borrowed(path);
    }
    let shown = path.split('/').map(|part| if is_personal(part) { WITHHELD } else { part });
    Cow::Owned(shown.collect::<Vec<_>>().join("/"))
}

fn is_personal(part: &str) -> bool {
    part.contains('@') || part.contains("%40")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_a_path_is_withheld_and_the_rest_is_shown() {
        assert_eq!(shown_path("/v1/users/ada@example.com/email"), "/v1/users/***/email");
        assert_eq!(shown_path("/v1/users/ada%40example.com"), "/v1/users/***");
        assert_eq!(shown_path("/v1/transactions/txn_1"), "/v1/transactions/txn_1");
    }
}
