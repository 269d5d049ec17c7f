//! One call to the bank.
//!
//! An answer counts only when all of it is there, it has the agreed shape, and it is about this
//! key, direction and money.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use serde::de::DeserializeOwned;
use url::Url;

use super::call_span::CallSpan;
use super::error::{BankError, InvalidAnswer, Unavailable};
pub use super::transport::ClientLimits;
use super::transport::Transport;
use super::wire::{Answer, PaymentRequest, StatementAnswer};
use super::{
    BankInstruction, EffectKey, PaymentStatus, Receipt, StatementLine, StatementPage, is_word,
};
use crate::metrics::Timings;
use crate::metrics::instruments::BANK_CALL_DURATION;

/// The header that carries the effect key.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The way to the bank; cheap to clone.
#[derive(Clone, Debug)]
pub struct BankClient {
    transport: Transport,
    base: Url,
    durations: Timings,
}

impl BankClient {
    /// A client of the bank at this URL.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(base: Url, limits: ClientLimits) -> io::Result<Self> {
        let durations = Timings::new(&BANK_CALL_DURATION);
        Ok(Self { transport: Transport::new(limits)?, base, durations })
    }

    /// The times of calls so far.
    #[must_use]
    pub fn durations(&self) -> &Timings {
        &self.durations
    }

    /// Tells the bank to move money, and waits until it says that it did.
    ///
    /// To tell it again with the same key is safe, but not the way to find out what became of it:
    /// that is [`enquire`](Self::enquire).
    ///
    /// # Errors
    ///
    /// [`BankError`]; [`BankError::may_have_acted`] tells whether the money may have moved anyway.
    pub async fn send(&self, instruction: &BankInstruction) -> Result<Receipt, BankError> {
        let url = self.url(&["payments"]);
        let began = Instant::now();
        let mut span = CallSpan::start(&Method::POST, "/payments", &url);
        let call = (&url, payment(instruction));
        let result = match self.ask(call, &instruction.effect_key, &mut span).await {
            Ok((status, answer)) => receipt(instruction, status, answer),
            Err(error) => Err(error),
        };
        span.end(result.as_ref().err());
        self.count("send", began, result.as_ref().err());
        result
    }

    /// Asks the bank what became of an instruction. Moves nothing.
    ///
    /// # Errors
    ///
    /// [`BankError`], but neither `Declined` nor `Pending`: these are standings.
    pub async fn enquire(&self, effect_key: &EffectKey) -> Result<PaymentStatus, BankError> {
        let url = self.url(&["payments", effect_key.as_str()]);
        let began = Instant::now();
        let mut span = CallSpan::start(&Method::GET, "/payments/{key}", &url);
        let result = match self.ask((&url, question()), effect_key, &mut span).await {
            Ok((status, answer)) => payment_status(status, answer),
            Err(error) => Err(error),
        };
        span.end(result.as_ref().err());
        self.count("enquire", began, result.as_ref().err());
        result
    }

    /// Reads a page of all that the bank booked, in its order. The first page is after 0; the next
    /// is after what this one says, until it says nothing.
    ///
    /// # Errors
    ///
    /// [`BankError`], but neither `Declined` nor `Pending`.
    pub async fn statement(&self, after: u64) -> Result<StatementPage, BankError> {
        let mut url = self.url(&["statement"]);
        url.query_pairs_mut().append_pair("after", &after.to_string());
        let began = Instant::now();
        let mut span = CallSpan::start(&Method::GET, "/statement", &url);
        let result = match self.exchange((&url, question()), &mut span).await {
            Ok((status, body)) => statement_page(status, &body),
            Err(error) => Err(error),
        };
        span.end(result.as_ref().err());
        self.count("statement", began, result.as_ref().err());
        result
    }

    fn count(&self, operation: &str, began: Instant, error: Option<&BankError>) {
        let outcome = match error {
            None => "answered",
            Some(BankError::Declined { .. }) => "declined",
            Some(BankError::Unavailable(_)) => "unavailable",
            Some(BankError::TimedOut) => "timed_out",
            Some(BankError::Pending) => "pending",
            Some(BankError::Malformed(_)) => "malformed",
        };
        self.durations.observe(&[operation, outcome], began.elapsed());
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("http and https URLs have paths")
            .pop_if_empty()
            .extend(segments);
        url
    }

    /// The answer about this key, with its HTTP status.
    async fn ask(
        &self,
        call: (&Url, Request<Full<Bytes>>),
        effect_key: &EffectKey,
        span: &mut CallSpan,
    ) -> Result<(u16, Answer), BankError> {
        let (status, body) = self.exchange(call, span).await?;
        let answer: Answer = read(status, &body)?;
        if answer.effect_key() != effect_key {
            return Err(BankError::Malformed(InvalidAnswer::OtherKey));
        }
        Ok((status, answer))
    }

    /// The status and the body that come back in time.
    async fn exchange(
        &self,
        (url, mut request): (&Url, Request<Full<Bytes>>),
        span: &mut CallSpan,
    ) -> Result<(u16, Vec<u8>), BankError> {
        span.propagate(request.headers_mut());
        self.transport.exchange(url, request, |status| span.answered(status)).await
    }
}

fn question() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

/// The request that tells the bank to move money.
fn payment(instruction: &BankInstruction) -> Request<Full<Bytes>> {
    let body = serde_json::to_vec(&PaymentRequest::from(instruction));
    let body = body.expect("it is plain data with text as keys");
    let key = HeaderValue::from_str(instruction.effect_key.as_str());
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(IDEMPOTENCY_KEY, key.expect("effect keys are printable ASCII"));
    request
}

fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, BankError> {
    serde_json::from_slice(body).map_err(|_| {
        // An error page of a proxy is best known by its status.
        let is_answer = [200, 201, 202, 402, 404, 503].contains(&status);
        let mistrust = if is_answer && status < 500 {
            InvalidAnswer::Unreadable
        } else {
            InvalidAnswer::Status(status)
        };
        BankError::Malformed(mistrust)
    })
}

/// Reads the bank's answer to an instruction.
fn receipt(
    instruction: &BankInstruction,
    status: u16,
    answer: Answer,
) -> Result<Receipt, BankError> {
    match (status, answer) {
        (200 | 201, Answer::Booked(booking)) => {
            let receipt =
                booking.receipt().ok_or(BankError::Malformed(InvalidAnswer::Unreadable))?;
            if receipt.money != instruction.money {
                return Err(BankError::Malformed(InvalidAnswer::OtherMoney(receipt)));
            }
            if booking.direction != instruction.direction {
                return Err(BankError::Malformed(InvalidAnswer::OtherDirection));
            }
            Ok(receipt)
        }
        (402, Answer::Declined { reason, .. }) => {
            Err(BankError::Declined { reason: reason_code(&reason)? })
        }
        (202, Answer::Pending { .. }) => Err(BankError::Pending),
        (503, Answer::NotAccepted { .. }) => Err(BankError::Unavailable(Unavailable::NotAccepted)),
        (status, _) => Err(BankError::Malformed(InvalidAnswer::Status(status))),
    }
}

/// Reads the bank's answer to an enquiry.
fn payment_status(status: u16, answer: Answer) -> Result<PaymentStatus, BankError> {
    match (status, answer) {
        (200, Answer::Booked(booking)) => {
            let receipt =
                booking.receipt().ok_or(BankError::Malformed(InvalidAnswer::Unreadable))?;
            Ok(PaymentStatus::Booked(receipt))
        }
        (200, Answer::Declined { reason, .. }) => {
            Ok(PaymentStatus::Declined { reason: reason_code(&reason)? })
        }
        (200, Answer::Pending { .. }) => Ok(PaymentStatus::Pending),
        (404, Answer::Unknown { .. }) => Ok(PaymentStatus::Unknown),
        (503, Answer::NotAccepted { .. }) => Err(BankError::Unavailable(Unavailable::NotAccepted)),
        (status, _) => Err(BankError::Malformed(InvalidAnswer::Status(status))),
    }
}

fn statement_page(status: u16, body: &[u8]) -> Result<StatementPage, BankError> {
    if status != 200 {
        return Err(BankError::Malformed(InvalidAnswer::Status(status)));
    }
    let statement: StatementAnswer = read(status, body)?;
    let lines: Option<Vec<_>> = statement
        .bookings
        .iter()
        .map(|booking| {
            let (effect_key, direction) = (booking.effect_key.clone(), booking.direction);
            let (receipt, booked_at) = (booking.receipt()?, booking.booked_at);
            Some(StatementLine { effect_key, direction, receipt, booked_at })
        })
        .collect();
    let lines = lines.ok_or(BankError::Malformed(InvalidAnswer::Unreadable))?;
    Ok(StatementPage { lines, next: statement.next })
}

/// A reason is stored and shown, so it must be a word. It becomes a code like our own, of small
/// letters, digits and hyphens: `INSUFFICIENT_FUNDS` of a bank is our `insufficient-funds`.
fn reason_code(reason: &str) -> Result<String, BankError> {
    if !is_word(reason) {
        return Err(BankError::Malformed(InvalidAnswer::Unreadable));
    }
    let spelled = |char: char| match char.is_ascii_alphanumeric() {
        true => char.to_ascii_lowercase(),
        false => '-',
    };
    Ok(reason.chars().map(spelled).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bank::Direction;
    use crate::money::{Amount, Currency, Money};

    fn instruction(amount: &str) -> BankInstruction {
        let amount = Amount::parse(amount).expect("an amount");
        BankInstruction {
            effect_key: EffectKey::parse("surety-1").expect("a key"),
            direction: Direction::Deposit,
            money: Money::new(amount, Currency::parse("EUR").expect("a currency")).expect("money"),
            account: "acc-1".to_owned(),
        }
    }

    fn booked(amount: &str) -> String {
        format!(
            r#"{{"status":"booked","bank_reference":"b-1","effect_key":"surety-1",
                "direction":"deposit","amount":{amount},"currency":"EUR",
                "booked_at":"2026-11-20T16:00:00Z"}}"#
        )
    }

    fn sent(status: u16, body: &str) -> Result<Receipt, BankError> {
        receipt(&instruction("12.50"), status, read(status, body.as_bytes())?)
    }

    #[test]
    fn a_booking_of_this_money_is_a_receipt() {
        for (status, amount) in [(201, r#""12.50""#), (200, r#""12.5""#)] {
            let receipt = sent(status, &booked(amount)).expect("it is booked");
            assert_eq!(receipt.bank_reference, "b-1");
            assert_eq!(receipt.money, instruction("12.50").money);
        }
    }

    #[test]
    fn an_amount_that_is_no_string_is_not_read() {
        for amount in ["12.50", "12.5", "1250", "null", "true", "[]", r#""1e2""#, r#""-12.50""#] {
            let error = sent(201, &booked(amount)).expect_err(amount);
            assert_eq!(error, BankError::Malformed(InvalidAnswer::Unreadable), "{amount}");
        }
    }

    #[test]
    fn other_money_is_no_receipt_but_is_kept() {
        let error = sent(201, &booked(r#""12.51""#)).expect_err("it is another amount");
        let BankError::Malformed(InvalidAnswer::OtherMoney(receipt)) = &error else {
            panic!("{error}")
        };
        assert_eq!(receipt.money.to_string(), "12.51 EUR");
        assert!(error.may_have_acted() && error.counts_against_breaker());
    }

    #[test]
    fn an_answer_counts_only_with_its_own_status() {
        let key = r#""effect_key":"surety-1""#;
        let declined = format!(r#"{{"status":"declined",{key},"reason":"insufficient_funds"}}"#);
        let not_accepted = format!(r#"{{"status":"not_accepted",{key}}}"#);
        let pending = format!(r#"{{"status":"pending",{key}}}"#);
        let unknown = format!(r#"{{"status":"unknown",{key}}}"#);
        for (status, body) in [
            (500, booked(r#""12.50""#)),
            (402, booked(r#""12.50""#)),
            (201, declined.clone()),
            (503, declined.clone()),
            (200, not_accepted.clone()),
            (500, not_accepted.clone()),
            (201, pending.clone()),
            (404, unknown),
            (502, "<html>bad gateway</html>".to_owned()),
            (503, "<html>unavailable</html>".to_owned()),
            (302, String::new()),
        ] {
            let error = sent(status, &body).expect_err(&body);
            assert_eq!(error, BankError::Malformed(InvalidAnswer::Status(status)), "{body}");
            assert!(error.may_have_acted());
        }
        let reason = "insufficient-funds".to_owned();
        assert_eq!(sent(402, &declined), Err(BankError::Declined { reason }));
        assert_eq!(sent(202, &pending), Err(BankError::Pending));
        let refused = BankError::Unavailable(Unavailable::NotAccepted);
        assert_eq!(sent(503, &not_accepted), Err(refused));
    }

    #[test]
    fn a_reason_becomes_a_code_in_our_spelling() {
        for (said, code) in [
            ("insufficient_funds", "insufficient-funds"),
            ("INSUFFICIENT_FUNDS", "insufficient-funds"),
            ("insufficient-funds", "insufficient-funds"),
            ("E:51", "e-51"),
        ] {
            assert_eq!(reason_code(said), Ok(code.to_owned()));
        }
    }

    #[test]
    fn what_cannot_be_stored_or_shown_is_not_taken_over() {
        for reason in ["", "a b", "\\u0000", "x\\r\\ny", &"x".repeat(101)] {
            let body =
                format!(r#"{{"status":"declined","effect_key":"surety-1","reason":"{reason}"}}"#);
            assert_eq!(
                sent(402, &body),
                Err(BankError::Malformed(InvalidAnswer::Unreadable)),
                "{body}"
            );
        }
        let body = booked(r#""12.50""#).replace("b-1", "b\\u00001");
        assert_eq!(sent(201, &body), Err(BankError::Malformed(InvalidAnswer::Unreadable)));
    }

    proptest! {
        #[test]
        fn only_the_instructed_amount_is_a_receipt(integer in 0_u32..100, cents in 0_u32..100) {
            let answered = format!("{integer}.{cents:02}");
            let is_same = answered == "12.50";
            prop_assert_eq!(sent(201, &booked(&format!("\"{answered}\""))).is_ok(), is_same);
        }

        #[test]
        fn no_body_is_believed_by_accident(status in 100_u16..600, body in any::<Vec<u8>>()) {
            let error = read::<Answer>(status, &body).expect_err("it is not an answer");
            prop_assert!(error.may_have_acted());
        }

        #[test]
        fn a_body_that_is_cut_anywhere_is_no_answer(share in 0_f64..1.0) {
            let whole = booked(r#""12.50""#);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let end = (whole.len() as f64 * share) as usize;
            prop_assert!(sent(201, &whole[..end]).is_err());
        }
    }
}
