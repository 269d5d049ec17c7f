//! The names of components: from what a part says, never from where it stands in the document, so
//! that a new operation renames nothing.

use crate::http::edge::idempotency;
use crate::http::wire::json_body;
use crate::http::wire::problem::Code;

/// A response of more parts is named after its operation instead.
const MAX_PARTS: usize = 3;

/// Codes that come together, and one name for all of them of one status.
const GROUPS: [(&str, &[Code]); 2] =
    [("InvalidBody", json_body::REFUSALS), ("UnusableIdempotencyKey", idempotency::REFUSALS)];

/// `wallet_id` in the path is `WalletIdPath`.
pub(super) fn of_parameter(name: &str, place: &str) -> String {
    pascal(name) + &pascal(place)
}

/// A refusal is called by its codes, such as `InvalidParameterOrInvalidCursor`, with `Unlimited`
/// where the number of requests is not; `None` for more codes than a name should have.
pub(super) fn of_refusal(codes: &[Code], is_limited: bool) -> Option<String> {
    let mut codes = codes.to_vec();
    let mut parts = Vec::new();
    while let Some(first) = codes.first().copied() {
        let members = |group: &[Code]| -> Vec<Code> {
            group.iter().copied().filter(|it| it.status() == first.status()).collect()
        };
        let is_whole = |group: &[Code]| {
            let members = members(group);
            members.len() > 1
                && members.contains(&first)
                && members.iter().all(|it| codes.contains(it))
        };
        let (name, named) = match GROUPS.iter().find(|(_, group)| is_whole(group)) {
            Some((name, group)) => ((*name).to_owned(), members(group)),
            None => (pascal(first.as_str()), vec![first]),
        };
        codes.retain(|code| !named.contains(code));
        parts.push(name);
    }
    let suffix = if is_limited { "" } else { "Unlimited" };
    (parts.len() <= MAX_PARTS).then(|| parts.join("Or") + suffix)
}

/// The name of what only one operation answers: `CreateTransfer422`.
pub(super) fn of_answer(operation: &str, status: &str) -> String {
    pascal(operation) + status
}

/// `insufficient-funds` and `insufficient_funds` are `InsufficientFunds`.
fn pascal(name: &str) -> String {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric());
    let capitalised = words.filter_map(|word| {
        let mut chars = word.chars();
        Some(chars.next()?.to_ascii_uppercase().to_string() + chars.as_str())
    });
    capitalised.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_called_by_its_codes() {
        let paging = [Code::InvalidParameter, Code::InvalidCursor];
        assert_eq!(of_refusal(&paging, true).as_deref(), Some("InvalidParameterOrInvalidCursor"));
        let mistake = of_refusal(&[Code::InternalError], false);
        assert_eq!(mistake.as_deref(), Some("InternalErrorUnlimited"));
    }

    #[test]
    fn codes_that_come_together_have_one_name() {
        let body =
            [Code::BadRequest, Code::MalformedBody, Code::MissingFields, Code::InvalidFields];
        let with = |codes: &[Code], more: &[Code]| of_refusal(&[codes, more].concat(), true);
        assert_eq!(with(&body, &[]).as_deref(), Some("InvalidBody"));
        let key = [Code::IdempotencyKeyMissing, Code::InvalidIdempotencyKey];
        assert_eq!(with(&body, &key).as_deref(), Some("InvalidBodyOrUnusableIdempotencyKey"));
        // Of a part of them each counts, and four are too many.
        let three = with(&body[..2], &[Code::InvalidCursor]);
        assert_eq!(three.as_deref(), Some("BadRequestOrMalformedBodyOrInvalidCursor"));
        assert_eq!(with(&body[..3], &[Code::InvalidCursor]), None);
    }

    #[test]
    fn parameters_and_answers_are_called_by_place_and_status() {
        assert_eq!(of_parameter("Idempotency-Key", "header"), "IdempotencyKeyHeader");
        assert_eq!(of_answer("create_transfer", "422"), "CreateTransfer422");
    }
}
