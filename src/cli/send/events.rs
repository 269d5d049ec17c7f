//! Events to send: made-up transactions or lines of a file, some of them twice.
//!
//! Everything is a function of the seed and a number, so nothing has to be remembered to repeat an
//! event byte by byte, and the same seed sends the same transactions on any machine.

use fastrand::Rng;
use hyper::body::Bytes;

use crate::money::{Amount, Currency, Money};

/// Currencies of the made-up merchants, about as often as they are met. All three numbers of
/// decimals are among them.
const CURRENCIES: [&str; 10] =
    ["USD", "USD", "USD", "EUR", "EUR", "GBP", "INR", "BRL", "JPY", "KWD"];
const MERCHANTS: u64 = 200;
const CUSTOMERS: u64 = 50_000;
/// Events before a repetition of which it repeats one: providers repeat what they sent lately.
const REPEAT_WINDOW: u64 = 1_000;

/// One body to send, and whether it was sent before.
pub(super) struct Event {
    /// `webhook-id` of the event: the same when it is sent again.
    pub(super) webhook_id: String,
    pub(super) body: Bytes,
    pub(super) occurrence: Occurrence,
}

/// The first sending or a repetition of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Occurrence {
    First,
    Repeat,
}

/// The event that each request sends: `firsts` events once, and `repeats` of them again, spread
/// evenly among them.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Requests with an event that was not sent before.
    pub firsts: u64,
    /// Requests with an event that was.
    pub repeats: u64,
    /// Seed of everything that is made up.
    pub seed: u64,
}

impl Plan {
    /// The number of requests.
    pub(super) fn requests(&self) -> u64 {
        self.firsts.saturating_add(self.repeats)
    }

    /// Number of the event that a request sends, and whether an earlier one sent it; none after the
    /// last.
    fn slot(&self, request: u64) -> Option<(u64, Occurrence)> {
        if request >= self.requests() {
            return None;
        }
        let repeats_before = self.repeats_before(request);
        let firsts_before = request - repeats_before;
        if self.repeats_before(request + 1) == repeats_before {
            return Some((firsts_before, Occurrence::First));
        }
        let window = firsts_before.min(REPEAT_WINDOW);
        let back = rng(self.seed, !request).u64(1..=window);
        Some((firsts_before - back, Occurrence::Repeat))
    }

    /// The number of repetitions before this request. The first is none, since `firsts` is
    /// not zero.
    fn repeats_before(&self, request: u64) -> u64 {
        let exact = u128::from(request) * u128::from(self.repeats) / u128::from(self.requests());
        u64::try_from(exact).expect("it is at most the number of requests")
    }
}

/// The source of the bodies.
pub enum Source {
    /// Transactions made up from the seed of the plan.
    Generated,
    /// The lines of a file, as they are.
    Lines(Vec<Bytes>),
}

impl Source {
    /// Splits a file into bodies. Blank lines are no bodies.
    pub(super) fn from_text(text: Vec<u8>) -> Self {
        let text = Bytes::from(text);
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Self::Lines(
            lines.filter(|line| !line.is_empty()).map(|line| text.slice_ref(line)).collect(),
        )
    }

    /// The number of bodies of a file; none when they are made up without end.
    pub(super) fn lines(&self) -> Option<u64> {
        match self {
            Self::Generated => None,
            Self::Lines(lines) => Some(lines.len() as u64),
        }
    }

    /// The event that a request sends; none after the last.
    pub(super) fn event(&self, plan: &Plan, request: u64) -> Option<Event> {
        let (number, occurrence) = plan.slot(request)?;
        let body = match self {
            Self::Generated => Payment::make_up(plan.seed, number).body(),
            Self::Lines(lines) => lines.get(usize::try_from(number).ok()?)?.clone(),
        };
        let webhook_id = format!("msg_{:08x}_{number}", plan.seed);
        Some(Event { webhook_id, body, occurrence })
    }
}

/// A payment as a provider sends it: one of many customers pays one of few merchants, some of whom
/// are busy.
pub struct Payment {
    /// The id of the transaction.
    pub transaction_id: String,
    /// The account that pays.
    pub source_account: String,
    /// The account that is paid.
    pub destination_account: String,
    /// Amount and currency.
    pub money: Money,
}

impl Payment {
    /// Payment number so-and-so of a seed: always the same one.
    pub fn make_up(seed: u64, number: u64) -> Self {
        let mut rng = rng(seed, number);
        let customer = rng.u64(..CUSTOMERS);
        // The square leans to small numbers: the first tenth of the merchants gets a third.
        let merchant = (rng.f64().powi(2) * MERCHANTS as f64) as usize;
        let code = CURRENCIES[merchant % CURRENCIES.len()];
        Self {
            transaction_id: format!("txn_{seed:08x}_{number}"),
            source_account: format!("acc_customer_{customer:05}"),
            destination_account: format!("acc_merchant_{merchant:03}"),
            money: money(&mut rng, Currency::parse(code).expect("it is a currency")),
        }
    }

    /// The body of its webhook.
    pub fn body(&self) -> Bytes {
        // No name needs escaping: all are made of letters, digits and underscores.
        Bytes::from(format!(
            "{{\"transaction_id\":\"{}\",\"source_account\":\"{}\",\
             \"destination_account\":\"{}\",\"amount\":{},\"currency\":\"{}\"}}",
            self.transaction_id,
            self.source_account,
            self.destination_account,
            self.money.amount_text(),
            self.money.currency().code(),
        ))
    }
}

/// Mostly small, seldom large, never zero, with all the decimals that the currency has.
fn money(rng: &mut Rng, currency: Currency) -> Money {
    let major = (rng.f64() * 9.0).exp() as u64;
    let text = match currency.decimals() as usize {
        0 => format!("{}", major * 100),
        decimals => {
            let minor = rng.u64(..10_u64.pow(currency.decimals()));
            format!("{major}.{minor:0decimals$}")
        }
    };
    let amount = Amount::parse(&text).expect("it is written by the grammar");
    Money::new(amount, currency).expect("it has no more decimals than the currency")
}

/// A generator of its own for every number, so that event n is the same for every sender at any
/// time.
fn rng(seed: u64, number: u64) -> Rng {
    // An odd constant close to 2^64 divided by the golden ratio keeps neighbours apart.
    Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn slots(firsts: u64, repeats: u64) -> Vec<(u64, Occurrence)> {
        let plan = Plan { firsts, repeats, seed: 7 };
        (0..).map_while(|request| plan.slot(request)).collect()
    }

    #[test]
    fn every_event_is_sent_once_and_so_many_again_after_it() {
        for (firsts, repeats) in [(1, 0), (1, 5), (10, 3), (1_000, 50), (7, 700), (5_000, 5_000)] {
            let mut sent = HashSet::new();
            let mut repeated = 0;
            for (number, occurrence) in slots(firsts, repeats) {
                match occurrence {
                    Occurrence::First => assert!(sent.insert(number)),
                    Occurrence::Repeat => {
                        assert!(sent.contains(&number));
                        repeated += 1;
                    }
                }
            }
            assert_eq!(sent.len() as u64, firsts);
            assert_eq!(repeated, repeats);
        }
    }

    #[test]
    fn a_repeat_is_the_same_event_byte_by_byte() {
        let plan = Plan { firsts: 10, repeats: 10, seed: 1 };
        let sent: Vec<_> =
            (0..20).map(|request| Source::Generated.event(&plan, request).unwrap()).collect();
        let bodies: HashSet<_> = sent.iter().map(|event| &event.body).collect();
        let ids: HashSet<_> = sent.iter().map(|event| &event.webhook_id).collect();
        assert_eq!((bodies.len(), ids.len()), (10, 10));
    }

    #[test]
    fn a_made_up_body_is_json_with_the_decimals_of_its_currency() {
        let mut decimals_seen = HashSet::new();
        for number in 0..1_000 {
            let body = Payment::make_up(42, number).body();
            let text = std::str::from_utf8(&body).unwrap();
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            let code = json["currency"].as_str().unwrap();
            let amount = text.split("\"amount\":").nth(1).unwrap().split(',').next().unwrap();
            let decimals = amount.split('.').nth(1).map_or(0, str::len);
            assert_eq!(decimals as u32, Currency::parse(code).unwrap().decimals(), "{text}");
            decimals_seen.insert(decimals);
        }
        assert_eq!(decimals_seen, HashSet::from([0, 2, 3]));
    }

    #[test]
    fn a_line_of_a_file_is_a_body_as_it_is() {
        let Source::Lines(lines) = Source::from_text(b"{\"a\": 1}\r\n\n  [2]\n".to_vec()) else {
            panic!("a file has lines");
        };
        assert_eq!(lines, [&b"{\"a\": 1}"[..], &b"[2]"[..]]);
    }
}
