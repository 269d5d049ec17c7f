//! Adyen's standard webhooks: what is signed is not the body but eight fields of the one event in
//! it, joined by colons, with a key in hexadecimal; the signature stands in the event itself.
//!
//! A signature over joined fields fits whoever cuts the text at other colons. Only the merchant's
//! reference is free text, so only there a colon is believed: the other seven have none, and the
//! text can be cut in one way alone.

use super::document::{Document, Found, Pointer};
use super::signatures::Unverified;

/// The event, from the top of the body; standard webhooks have one.
const ITEM: &str = "/notificationItems/0/NotificationRequestItem";
/// The place of a second event.
const SECOND_ITEM: &str = "/notificationItems/1";
/// The signature within the event.
const SIGNATURE: &str = "/additionalData/hmacSignature";
/// The signed fields within the event, in the order in which they are signed.
const SIGNED: [&str; 8] = [
    "/pspReference",
    "/originalReference",
    "/merchantAccountCode",
    MERCHANT_REFERENCE,
    "/amount/value",
    "/amount/currency",
    "/eventCode",
    "/success",
];
const MERCHANT_REFERENCE: &str = "/merchantReference";

/// True if the place is one of the signed fields.
#[must_use]
pub fn is_signed(place: &Pointer) -> bool {
    let field = place.as_str().strip_prefix(ITEM);
    field.is_some_and(|field| SIGNED.contains(&field))
}

/// The places that are signed, for those who named another one.
#[must_use]
pub fn signed_places() -> String {
    SIGNED.map(|field| format!("{ITEM}{field}")).join(", ")
}

/// The text that is signed, and the signature as it came.
pub(super) fn signed_text(body: &[u8]) -> Result<(String, String), Unverified> {
    let document = Document::parse(body).map_err(|_| Unverified::Unreadable)?;
    if find(document, SECOND_ITEM)?.is_some() {
        return Err(Unverified::TooMany);
    }
    let signature = find(document, &format!("{ITEM}{SIGNATURE}"))?.ok_or(Unverified::Missing)?;
    let signature = signature.string().ok_or(Unverified::Malformed)?.into_owned();
    let mut fields = Vec::with_capacity(SIGNED.len());
    for name in SIGNED {
        let field = find(document, &format!("{ITEM}{name}"))?;
        // A field that is not there is signed as an empty one.
        let text = match field {
            None => String::new(),
            Some(field) => field.scalar().ok_or(Unverified::Malformed)?.into_owned(),
        };
        if text.contains(':') && name != MERCHANT_REFERENCE {
            return Err(Unverified::Malformed);
        }
        fields.push(text);
    }
    Ok((fields.join(":"), signature))
}

fn find<'a>(document: Document<'a>, place: &str) -> Result<Option<Found<'a>>, Unverified> {
    let place = Pointer::parse(place).expect("our own places are pointers");
    document.find(&place).map_err(|_| Unverified::Malformed)
}
