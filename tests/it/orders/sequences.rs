//! Random sequences of everything that can happen to users' money, against a model: after every
//! step the database is what the model says, and at the end all invariants hold.
//!
//! `SURETY_TEST_SEQUENCES` is how many sequences are tried, for a longer run.

mod acting;
mod stored;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use self::acting::Bank;
use super::model::{Act, IN_USE, Model, Number, Request, Said, USERS, WALLETS, Wish};
use super::{assert_all_holds, at_once};
use crate::support::TestDb;
use crate::support::ledger::count;

/// As many as end within half a minute.
const SEQUENCES: u32 = 24;
const STEPS: std::ops::RangeInclusive<usize> = 10..=40;

/// Reasons for which orders fail.
const REASONS: [&str; 2] = ["bank-unavailable", "declined"];

/// One step of a sequence. Numbers pick from what is there when the step comes.
#[derive(Clone, Debug)]
enum Step {
    Once(Plan),
    /// Twice in a row: the second finds it done.
    Twice(Plan),
    /// Two transactions at the same moment.
    AtOnce(Plan, Plan),
    /// The same transaction twice at the same moment.
    TwiceAtOnce(Plan),
    /// Cut off after so many steps of its way, and then done after all, or not.
    Crash {
        plan: Plan,
        after: u8,
        is_done_then: bool,
    },
}

/// An act without the things that are not known before it is its turn.
#[derive(Clone, Debug)]
enum Plan {
    Place(Vec<PlannedRequest>),
    Resend { requests: Vec<usize>, is_altered: bool },
    Begin(usize),
    Execute(Vec<usize>),
    Fail { order: usize, reason: &'static str },
    Close { wallet: usize, is_owner: bool },
    Open { wallet: usize },
}

#[derive(Clone, Debug)]
struct PlannedRequest {
    wish: PlannedWish,
    is_owner: bool,
    version: Version,
}

#[derive(Clone, Debug)]
enum PlannedWish {
    Money(Wish),
    Refund(usize),
}

#[derive(Clone, Copy, Debug)]
enum Version {
    Any,
    Current,
    Stale,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), STEPS)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => plan().prop_map(Step::Once),
        2 => plan().prop_map(Step::Twice),
        4 => (plan(), plan()).prop_map(|(one, other)| Step::AtOnce(one, other)),
        1 => plan().prop_map(Step::TwiceAtOnce),
        3 => (plan(), 0..40_u8, any::<bool>())
            .prop_map(|(plan, after, is_done_then)| Step::Crash { plan, after, is_done_then }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let number = || 0..1000_usize;
    let reason = || prop_oneof![3 => Just(REASONS[0]), 1 => Just(REASONS[1])];
    prop_oneof![
        8 => prop::collection::vec(planned_request(), 1..5).prop_map(Plan::Place),
        1 => (prop::collection::vec(number(), 1..3), any::<bool>())
            .prop_map(|(requests, is_altered)| Plan::Resend { requests, is_altered }),
        1 => number().prop_map(Plan::Begin),
        8 => prop::collection::vec(number(), 1..6).prop_map(Plan::Execute),
        2 => (number(), reason()).prop_map(|(order, reason)| Plan::Fail { order, reason }),
        1 => (0..WALLETS.len(), prop::bool::weighted(0.8))
            .prop_map(|(wallet, is_owner)| Plan::Close { wallet, is_owner }),
        1 => (0..WALLETS.len()).prop_map(|wallet| Plan::Open { wallet }),
    ]
}

fn planned_request() -> impl Strategy<Value = PlannedRequest> {
    let wallet = || prop_oneof![40 => 0..WALLETS.len(), 1 => Just(WALLETS.len())];
    let cents = || prop_oneof![1..300_i64, 1..3000_i64];
    let is_other = || prop::bool::weighted(0.05);
    let wish = prop_oneof![
        4 => (wallet(), cents(), is_other()).prop_map(|(wallet, cents, is_other)| {
            Wish::Deposit { wallet, cents: 2 * cents, currency: currency(wallet, is_other) }
        }),
        2 => (wallet(), cents(), is_other()).prop_map(|(wallet, cents, is_other)| {
            Wish::Withdrawal { wallet, cents, currency: currency(wallet, is_other) }
        }),
        5 => (wallet(), wallet(), cents(), is_other()).prop_map(
            |(source, destination, cents, is_other)| {
                let currency = currency(source, is_other);
                Wish::Transfer { source, destination, cents, currency }
            }
        ),
    ];
    let wish = prop_oneof![
        11 => wish.prop_map(PlannedWish::Money),
        3 => (0..1000_usize).prop_map(PlannedWish::Refund),
    ];
    let version = prop_oneof![
        6 => Just(Version::Any),
        1 => Just(Version::Current),
        1 => Just(Version::Stale),
    ];
    (wish, prop::bool::weighted(0.93), version)
        .prop_map(|(wish, is_owner, version)| PlannedRequest { wish, is_owner, version })
}

/// That of the wallet, or the other one.
fn currency(wallet: usize, is_other: bool) -> &'static str {
    let own = WALLETS.get(wallet).map_or("USD", |it| it.1);
    if (own == "USD") == is_other { "EUR" } else { "USD" }
}

/// A sequence under way.
struct Play {
    bank: Bank,
    model: Model,
    /// Every request that was ever sent, by its number.
    requests: Vec<Request>,
}

impl Play {
    /// Something in every wallet, so that there is something to move.
    async fn fund(&mut self) -> Result<(), TestCaseError> {
        let mut requests = Vec::new();
        for (wallet, (giver, currency)) in WALLETS.into_iter().enumerate() {
            let wish = Wish::Deposit { wallet, cents: 5000, currency };
            let number = requests.len();
            let request = Request { number, giver, wish, if_version: None, is_altered: false };
            requests.push(request);
        }
        self.requests.clone_from(&requests);
        self.once(&Act::Place(requests)).await?;
        self.once(&Act::Execute((0..WALLETS.len()).collect())).await
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Once(plan) => {
                if let Some(act) = self.resolve(plan) {
                    self.once(&act).await?;
                }
            }
            Step::Twice(plan) => {
                if let Some(act) = self.resolve(plan) {
                    self.once(&act).await?;
                    self.once(&act).await?;
                }
            }
            Step::AtOnce(one, other) => {
                if let (Some(one), Some(other)) = (self.resolve(one), self.resolve(other)) {
                    self.at_once(one, other).await?;
                }
            }
            Step::TwiceAtOnce(plan) => {
                if let Some(act) = self.resolve(plan) {
                    self.at_once(act.clone(), act).await?;
                }
            }
            Step::Crash { plan, after, is_done_then } => {
                if let Some(act) = self.resolve(plan) {
                    let before = self.bank.rows().await;
                    self.bank.crash(&act, *after).await;
                    prop_assert_eq!(self.bank.rows().await, before, "after a crash in {:?}", act);
                    if *is_done_then {
                        self.once(&act).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn once(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let before = self.bank.rows().await;
        let model_before = self.model.clone();
        let said = self.bank.act(act).await;
        let followed = self.model.follow(act, &said);
        prop_assert!(followed.is_ok(), "{} after {act:?}", followed.unwrap_err());
        let stored = self.bank.stored().await;
        prop_assert_eq!(&stored, &self.bank.described(&self.model), "after {:?}", act);
        if self.model.wallets == model_before.wallets && self.model.orders == model_before.orders {
            // Opening what is open writes the row again as it was.
            let is_rewritten = matches!(act, Act::Open { .. });
            let is_same = is_rewritten || self.bank.rows().await == before;
            prop_assert!(is_same, "rows changed for nothing after {act:?}: {said:?}");
        }
        self.model.assert_sound();
        Ok(())
    }

    /// Of two acts at once, the database is what it would be had they come in one of the two
    /// orders; but a request whose twin is under way may be told to come again.
    async fn at_once(&mut self, one: Act, other: Act) -> Result<(), TestCaseError> {
        let tasks = [one.clone(), other.clone()].map(|act| {
            let bank = self.bank.clone();
            Box::pin(async move { bank.act(&act).await }) as _
        });
        let said = at_once(Vec::from(tasks)).await;
        let [one, other] = [(one, &said[0]), (other, &said[1])].map(without_those_in_use);
        let stored = self.bank.stored().await;
        let mut objections = Vec::new();
        for (first, second) in [(&one, &other), (&other, &one)] {
            let mut model = self.model.clone();
            let followed =
                model.follow(&first.0, &first.1).and_then(|()| model.follow(&second.0, &second.1));
            match followed {
                Ok(()) if self.bank.described(&model) == stored => {
                    model.assert_sound();
                    self.model = model;
                    return Ok(());
                }
                Ok(()) => objections.push(format!("{:#?}", self.bank.described(&model))),
                Err(objection) => objections.push(objection),
            }
        }
        let [first, second] = &objections[..] else { unreachable!() };
        Err(TestCaseError::fail(format!(
            "neither order of {one:?} and {other:?} explains {stored:#?}\n{first}\n{second}"
        )))
    }

    /// What a plan means now; none when there is nothing to do it with.
    fn resolve(&mut self, plan: &Plan) -> Option<Act> {
        let orders: Vec<Number> = self.model.orders.keys().copied().collect();
        let pick = |number: usize| orders.get(number % orders.len().max(1)).copied();
        Some(match plan {
            Plan::Place(planned) => {
                Act::Place(planned.iter().map(|it| self.request(it, &orders)).collect())
            }
            Plan::Resend { requests, is_altered } => {
                let mut numbers: Vec<Number> =
                    requests.iter().filter_map(|it| it.checked_rem(self.requests.len())).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let request = |it: Number| {
                    let is_altered = *is_altered && self.model.answers.contains_key(&it);
                    Request { is_altered, ..self.requests[it].clone() }
                };
                Act::Place(numbers.into_iter().map(request).collect())
            }
            Plan::Begin(order) => Act::Begin(pick(*order)?),
            Plan::Execute(picked) => {
                // Of those that are to be executed, mostly.
                let open: Vec<Number> =
                    orders.iter().copied().filter(|it| !self.is_finished(*it)).collect();
                let pick = |number: usize| match number.checked_rem(open.len()) {
                    Some(position) if number % 5 != 4 => Some(open[position]),
                    _ => pick(number),
                };
                let mut orders: Vec<Number> = picked.iter().filter_map(|it| pick(*it)).collect();
                // In the order of their ids, which is that of their execution.
                orders.sort_unstable_by_key(|it| self.bank.order(*it));
                orders.dedup();
                Act::Execute(orders)
            }
            Plan::Fail { order, reason } => Act::Fail { order: pick(*order)?, reason },
            Plan::Close { wallet, is_owner } => {
                Act::Close { wallet: *wallet, by: user_of(*wallet, *is_owner) }
            }
            Plan::Open { wallet } => Act::Open { wallet: *wallet },
        })
    }

    fn is_finished(&self, order: Number) -> bool {
        ["COMPLETED", "FAILED"].contains(&self.model.orders[&order].status)
    }

    fn request(&mut self, planned: &PlannedRequest, orders: &[Number]) -> Request {
        let (wish, wallet) = match &planned.wish {
            PlannedWish::Money(wish) => {
                let wallet = match wish {
                    Wish::Deposit { wallet, .. } | Wish::Withdrawal { wallet, .. } => *wallet,
                    Wish::Transfer { source, .. } => *source,
                    Wish::Refund { .. } => unreachable!("planned otherwise"),
                };
                (wish.clone(), wallet)
            }
            PlannedWish::Refund(number) => {
                // Of those that can be, mostly; there are few.
                let refundable: Vec<Number> =
                    orders.iter().copied().filter(|it| self.is_refundable(*it)).collect();
                let original = match number.checked_rem(refundable.len()) {
                    Some(number) if number % 5 != 4 => Some(refundable[number]),
                    _ => orders.get(number % orders.len().max(1)).copied(),
                };
                let wallet = original.and_then(|it| self.model.orders[&it].destination);
                (Wish::Refund { original }, wallet.unwrap_or_default())
            }
        };
        let version = self.model.wallets.get(wallet).map_or(0, super::model::Wallet::version);
        let request = Request {
            number: self.requests.len(),
            giver: user_of(wallet, planned.is_owner),
            // Only what takes money from a wallet asks for its version.
            if_version: match (&wish, planned.version) {
                (Wish::Deposit { .. } | Wish::Refund { .. }, _) | (_, Version::Any) => None,
                (_, Version::Current) => Some(version),
                (_, Version::Stale) => Some(version - 1),
            },
            wish,
            is_altered: false,
        };
        self.requests.push(request.clone());
        request
    }

    fn is_refundable(&self, order: Number) -> bool {
        let found = &self.model.orders[&order];
        found.wish == "transfer" && found.status == "COMPLETED"
    }
}

/// The owner of a wallet, or somebody else.
fn user_of(wallet: usize, is_owner: bool) -> usize {
    let owner = WALLETS.get(wallet).map_or(0, |it| it.0);
    if is_owner { owner } else { (owner + 1) % USERS }
}

fn without_those_in_use((act, said): (Act, &Vec<Said>)) -> (Act, Vec<Said>) {
    let Act::Place(requests) = act else { return (act, said.clone()) };
    let (requests, said) =
        requests.into_iter().zip(said.clone()).filter(|(_, said)| said != IN_USE).unzip();
    (Act::Place(requests), said)
}

/// How many orders of some kinds were executed.
#[derive(Clone, Copy, Default)]
struct Executed {
    all: i64,
    refunds: i64,
}

async fn run(steps: &[Step]) -> Result<Executed, TestCaseError> {
    let db = TestDb::new().await;
    let bank = Bank::open(&db).await;
    let mut play = Play { bank, model: Model::new(), requests: Vec::new() };
    play.fund().await?;
    for step in steps {
        play.step(step).await?;
    }
    assert_all_holds(&db.pool).await;
    let all = "select count(*) from payments.orders where status = 'COMPLETED'";
    let refunds = "select count(*) from payments.orders
                   where status = 'COMPLETED' and kind = 'refund'";
    Ok(Executed { all: count(&db.pool, all).await, refunds: count(&db.pool, refunds).await })
}

#[test]
fn random_sequences_leave_the_ledger_as_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sequences = std::env::var("SURETY_TEST_SEQUENCES")
        .map_or(SEQUENCES, |text| text.parse().expect("SURETY_TEST_SEQUENCES is a number"));
    let total = std::cell::Cell::new(Executed::default());
    let config = Config { cases: sequences, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            let executed = runtime.block_on(run(&steps))?;
            let Executed { all, refunds } = total.get();
            total.set(Executed { all: all + executed.all, refunds: refunds + executed.refunds });
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let Executed { all, refunds } = total.get();
    let is_enough = all > 8 * i64::from(sequences) && refunds > 0;
    assert!(is_enough, "{all} orders were executed, {refunds} of them refunds: that proves little");
}
