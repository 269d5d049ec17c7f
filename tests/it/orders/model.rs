//! The same orders without a database: what may be said to each act, and what stands afterwards.

use std::collections::{BTreeMap, BTreeSet};

/// Owner and currency of the wallets that a sequence plays with. One more index is a wallet that
/// does not exist.
pub(super) const WALLETS: [(usize, &str); 5] =
    [(0, "USD"), (1, "USD"), (2, "USD"), (0, "EUR"), (1, "EUR")];
/// How many users own them.
pub(super) const USERS: usize = 3;

/// The number of a request, and of the order that it makes if it is taken.
pub(super) type Number = usize;

/// What a request asks for.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Deposit { wallet: usize, cents: i64, currency: &'static str },
    Withdrawal { wallet: usize, cents: i64, currency: &'static str },
    Transfer { source: usize, destination: usize, cents: i64, currency: &'static str },
    Refund { original: Option<Number> },
}

/// A request, which may be sent more than once.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) number: Number,
    pub(super) giver: usize,
    pub(super) wish: Wish,
    pub(super) if_version: Option<i64>,
    /// Sent under the key of another request: the same but for its description.
    pub(super) is_altered: bool,
}

/// What one database transaction does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Place(Vec<Request>),
    Begin(Number),
    Execute(Vec<Number>),
    Fail { order: Number, reason: &'static str },
    Close { wallet: usize, by: usize },
    Open { wallet: usize },
}

/// What was said to one part of an act: a code.
pub(super) type Said = String;

pub(super) const TAKEN: &str = "taken";
pub(super) const IN_USE: &str = "idempotency-key-in-use";
pub(super) const REUSED: &str = "idempotency-key-reused";
pub(super) const NOT_KEPT: &str = "precondition-failed";

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Wallet {
    /// The amounts of its entries, in order.
    pub(super) entries: Vec<i64>,
    pub(super) held: i64,
    pub(super) hold_changes: i64,
    pub(super) is_closed: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Order {
    pub(super) wish: &'static str,
    pub(super) source: Option<usize>,
    pub(super) destination: Option<usize>,
    pub(super) cents: i64,
    pub(super) currency: &'static str,
    pub(super) refund_of: Option<Number>,
    pub(super) status: &'static str,
    pub(super) reason: Option<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Model {
    pub(super) wallets: Vec<Wallet>,
    /// The entries of the bank's accounts, by currency; there from the first order on.
    pub(super) bank: BTreeMap<&'static str, Vec<i64>>,
    pub(super) orders: BTreeMap<Number, Order>,
    /// What requests were told for good.
    pub(super) answers: BTreeMap<Number, Said>,
}

impl Wallet {
    pub(super) fn balance(&self) -> i64 {
        self.entries.iter().sum()
    }

    /// Closed or opened, which its owner is shown, so that its version changes with it.
    fn turn(&mut self, is_closed: bool) {
        self.hold_changes += i64::from(self.is_closed != is_closed);
        self.is_closed = is_closed;
    }

    pub(super) fn version(&self) -> i64 {
        self.entries.len() as i64 + self.hold_changes
    }
}

impl Order {
    fn is_finished(&self) -> bool {
        ["COMPLETED", "FAILED"].contains(&self.status)
    }

    fn holds(&self) -> bool {
        self.wish != "deposit"
    }
}

impl Model {
    pub(super) fn new() -> Self {
        Self { wallets: vec![Wallet::default(); WALLETS.len()], ..Self::default() }
    }

    /// Does what the act did, given what was said to its parts.
    ///
    /// # Errors
    ///
    /// What should not have been said.
    pub(super) fn follow(&mut self, act: &Act, said: &[Said]) -> Result<(), String> {
        match act {
            Act::Place(requests) => {
                for (request, said) in requests.iter().zip(said) {
                    self.place(request, said)?;
                }
                Ok(())
            }
            Act::Begin(order) => {
                let order = self.orders.get_mut(order).expect("picked from these");
                expect(said, "begun")?;
                if order.status == "PENDING" {
                    order.status = "PROCESSING";
                }
                Ok(())
            }
            Act::Execute(orders) => {
                for (order, said) in orders.iter().zip(said) {
                    self.execute(*order, said)?;
                }
                Ok(())
            }
            Act::Fail { order, reason } => self.fail(*order, reason, said),
            Act::Close { wallet, by } => self.close(*wallet, *by, said),
            Act::Open { wallet } => {
                self.wallets[*wallet].turn(false);
                expect(said, "opened")
            }
        }
    }

    fn place(&mut self, request: &Request, said: &str) -> Result<(), String> {
        if let Some(answer) = self.answers.get(&request.number) {
            let wanted = match request.is_altered {
                true => REUSED.to_owned(),
                false => format!("again: {answer}"),
            };
            return expect(&[said.to_owned()], &wanted);
        }
        let broken = self.broken_by(request);
        if said == TAKEN {
            if !broken.is_empty() {
                return Err(format!("taken, but {broken:?}: {request:?}"));
            }
            self.take(request);
        } else if !broken.contains(said) {
            return Err(format!("{said} is not in {broken:?}: {request:?}"));
        }
        if said != NOT_KEPT && !(said == "not-refundable" && self.may_be_refunded_later(request)) {
            self.answers.insert(request.number, said.to_owned());
        }
        Ok(())
    }

    /// The transfer that a request would refund has no outcome yet, so that it is to be sent again.
    fn may_be_refunded_later(&self, request: &Request) -> bool {
        let Wish::Refund { original: Some(original) } = request.wish else { return false };
        let found = self.orders.get(&original);
        found.is_some_and(|it| ["PENDING", "PROCESSING"].contains(&it.status))
    }

    /// The rules that a request breaks. Who has no part in something is told that it is not there,
    /// and nothing else.
    fn broken_by(&self, request: &Request) -> BTreeSet<&'static str> {
        let is_givers = |wallet: usize| WALLETS.get(wallet).is_some_and(|it| it.0 == request.giver);
        let mut broken = BTreeSet::new();
        match request.wish {
            Wish::Deposit { wallet, currency, .. } => {
                if !is_givers(wallet) {
                    return BTreeSet::from(["wallet-not-found"]);
                }
                self.judge_payee(wallet, currency, &mut broken);
            }
            Wish::Withdrawal { wallet, cents, currency } => {
                if !is_givers(wallet) {
                    return BTreeSet::from(["wallet-not-found"]);
                }
                self.judge_payer(wallet, cents, currency, request.if_version, &mut broken);
            }
            Wish::Transfer { source, destination, cents, currency } => {
                if !is_givers(source) || destination >= WALLETS.len() {
                    return BTreeSet::from(["wallet-not-found"]);
                }
                if source == destination {
                    return BTreeSet::from(["same-wallet"]);
                }
                self.judge_payee(destination, currency, &mut broken);
                self.judge_payer(source, cents, currency, request.if_version, &mut broken);
            }
            Wish::Refund { original } => {
                let found = original.and_then(|it| self.orders.get(&it));
                let Some(found) = found.filter(|it| it.wish == "transfer") else {
                    return BTreeSet::from(["order-not-found"]);
                };
                let (Some(source), Some(destination)) = (found.source, found.destination) else {
                    unreachable!("a transfer is between wallets")
                };
                match (is_givers(destination), is_givers(source)) {
                    (true, _) => {}
                    (false, true) => return BTreeSet::from(["forbidden"]),
                    (false, false) => return BTreeSet::from(["order-not-found"]),
                }
                if self.orders.values().any(|it| it.refund_of == original) {
                    broken.insert("already-refunded");
                }
                if found.status != "COMPLETED" {
                    broken.insert("not-refundable");
                }
                self.judge_payee(source, found.currency, &mut broken);
                self.judge_payer(destination, found.cents, found.currency, None, &mut broken);
            }
        }
        broken
    }

    fn judge_payee(&self, wallet: usize, currency: &str, broken: &mut BTreeSet<&'static str>) {
        if self.wallets[wallet].is_closed {
            broken.insert("wallet-closed");
        }
        if WALLETS[wallet].1 != currency {
            broken.insert("currency-mismatch");
        }
    }

    fn judge_payer(
        &self,
        wallet: usize,
        cents: i64,
        currency: &str,
        if_version: Option<i64>,
        broken: &mut BTreeSet<&'static str>,
    ) {
        self.judge_payee(wallet, currency, broken);
        let wallet = &self.wallets[wallet];
        if if_version.is_some_and(|version| version != wallet.version()) {
            broken.insert(NOT_KEPT);
        }
        if wallet.balance() - wallet.held < cents {
            broken.insert("insufficient-funds");
        }
    }

    fn take(&mut self, request: &Request) {
        let order = |wish, source, destination, cents, currency, refund_of| Order {
            wish,
            source,
            destination,
            cents,
            currency,
            refund_of,
            status: "PENDING",
            reason: None,
        };
        let order = match request.wish {
            Wish::Deposit { wallet, cents, currency } => {
                order("deposit", None, Some(wallet), cents, currency, None)
            }
            Wish::Withdrawal { wallet, cents, currency } => {
                order("withdrawal", Some(wallet), None, cents, currency, None)
            }
            Wish::Transfer { source, destination, cents, currency } => {
                order("transfer", Some(source), Some(destination), cents, currency, None)
            }
            Wish::Refund { original } => {
                let found = &self.orders[&original.expect("found before")];
                let (source, destination) = (found.destination, found.source);
                order("refund", source, destination, found.cents, found.currency, original)
            }
        };
        if order.source.is_none() || order.destination.is_none() {
            self.bank.entry(order.currency).or_default();
        }
        self.hold(&order, order.cents);
        self.orders.insert(request.number, order);
    }

    /// Changes what the order holds, if it is one that does.
    fn hold(&mut self, order: &Order, cents: i64) {
        if order.holds() {
            let wallet = &mut self.wallets[order.source.expect("it is paid from a wallet")];
            wallet.held += cents;
            wallet.hold_changes += 1;
        }
    }

    fn execute(&mut self, number: Number, said: &str) -> Result<(), String> {
        let order = self.orders[&number].clone();
        if order.is_finished() {
            return expect(&[said.to_owned()], "already finished");
        }
        expect(&[said.to_owned()], "completed")?;
        self.hold(&order, -order.cents);
        for (side, cents) in [(order.source, -order.cents), (order.destination, order.cents)] {
            match side {
                Some(wallet) => self.wallets[wallet].entries.push(cents),
                None => self.bank.get_mut(order.currency).expect("made before").push(cents),
            }
        }
        let order = self.orders.get_mut(&number).expect("it is there");
        order.status = "COMPLETED";
        Ok(())
    }

    fn fail(&mut self, number: Number, reason: &'static str, said: &[Said]) -> Result<(), String> {
        let order = self.orders[&number].clone();
        if order.is_finished() {
            return expect(said, "already finished");
        }
        expect(said, "failed")?;
        self.hold(&order, -order.cents);
        let order = self.orders.get_mut(&number).expect("it is there");
        (order.status, order.reason) = ("FAILED", Some(reason));
        Ok(())
    }

    fn close(&mut self, wallet: usize, by: usize, said: &[Said]) -> Result<(), String> {
        if WALLETS[wallet].0 != by {
            return expect(said, "not found");
        }
        let wallet = &mut self.wallets[wallet];
        if wallet.balance() != 0 || wallet.held != 0 {
            return expect(said, "not empty");
        }
        wallet.turn(true);
        expect(said, "closed")
    }

    /// What is promised to users: nobody has less than nothing, and nobody has promised more.
    pub(super) fn assert_sound(&self) {
        for (wallet, (_, currency)) in self.wallets.iter().zip(WALLETS) {
            assert!(wallet.held >= 0 && wallet.balance() >= wallet.held, "{currency}: {self:?}");
        }
        for (currency, entries) in &self.bank {
            let of_users: i64 = self
                .wallets
                .iter()
                .zip(WALLETS)
                .filter(|(_, (_, its))| its == currency)
                .map(|(wallet, _)| wallet.balance())
                .sum();
            assert_eq!(entries.iter().sum::<i64>() + of_users, 0, "{currency}: {self:?}");
        }
    }
}

fn expect(said: &[Said], wanted: &str) -> Result<(), String> {
    match said {
        [said] if said == wanted => Ok(()),
        other => Err(format!("{other:?} instead of {wanted:?}")),
    }
}
