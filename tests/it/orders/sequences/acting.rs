//! What the model speaks of, done: each act is one database transaction of the real rules, with the
//! jobs of its orders as the queue would move them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;

use sqlx::{Connection as _, PgConnection, PgPool};
use surety::http::api::orders::{OrderRequest, PlaceOrders, Placed};
use surety::http::edge::idempotency::{Claim, StoredAnswer};
use surety::ids::{AccountId, OrderId, UserId};
use surety::payments::orders::{self, Executed, Execution, Instruction, NewOrder};
use surety::payments::wallets::{self, CloseRefusal};
use uuid::Uuid;

use super::super::model::{Act, Number, Request, Said, TAKEN, USERS, WALLETS, Wish};
use crate::support::ledger::money;
use crate::support::money::{complete_job, discard_job, open_wallet};
use crate::support::{PATIENCE, TestDb};

/// The database, and who is who in it.
#[derive(Clone)]
pub(super) struct Bank {
    pub(super) pool: PgPool,
    url: String,
    users: Vec<UserId>,
    /// One more than there are: the last does not exist.
    pub(super) wallets: Vec<AccountId>,
    /// The orders that requests made.
    orders: Arc<Mutex<HashMap<Number, OrderId>>>,
}

impl Bank {
    pub(super) async fn open(db: &TestDb) -> Self {
        let users: Vec<UserId> = (0..USERS).map(|_| UserId(Uuid::now_v7())).collect();
        let mut wallets = Vec::new();
        for (owner, currency) in WALLETS {
            wallets.push(open_wallet(&db.pool, users[owner], currency).await);
        }
        wallets.push(AccountId(Uuid::now_v7()));
        let orders = Arc::default();
        Self { pool: db.pool.clone(), url: db.url.clone(), users, wallets, orders }
    }

    /// The order of a request that was taken.
    pub(super) fn order(&self, number: Number) -> OrderId {
        self.orders.lock().unwrap()[&number]
    }

    /// Does it, and says what came of it.
    pub(super) async fn act(&self, act: &Act) -> Vec<Said> {
        let mut tx = self.pool.begin().await.unwrap();
        let (said, is_done) = self.act_in(&mut tx, act).await;
        match is_done {
            true => tx.commit().await.unwrap(),
            false => tx.rollback().await.unwrap(),
        }
        said
    }

    /// Begins it, and dies on the way: at the latest before it commits.
    pub(super) async fn crash(&self, act: &Act, after: u8) {
        let mut conn = PgConnection::connect(&self.url).await.unwrap();
        let backend: i32 =
            sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
        {
            let mut tx = conn.begin().await.unwrap();
            let mut acting = pin!(self.act_in(&mut tx, act));
            let mut left = after;
            std::future::poll_fn(|cx| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                acting.as_mut().poll(cx).map(|_| ())
            })
            .await;
        }
        drop(conn);
        // The server learns of it a moment later; until then it keeps the locks.
        let deadline = Instant::now() + PATIENCE;
        let is_there = "select exists (select from pg_stat_activity where pid = $1)";
        while sqlx::query_scalar(is_there).bind(backend).fetch_one(&self.pool).await.unwrap() {
            assert!(Instant::now() < deadline, "the server does not notice the crash");
        }
    }

    /// What was said, and whether it may be committed.
    async fn act_in(&self, conn: &mut PgConnection, act: &Act) -> (Vec<Said>, bool) {
        match act {
            Act::Place(requests) => (self.place(conn, requests).await, true),
            Act::Begin(order) => {
                let begun = orders::begin(conn, self.order(*order)).await.unwrap();
                (vec![begun.map_or("missing", |_| "begun").to_owned()], true)
            }
            Act::Execute(numbers) => (self.execute(conn, numbers).await, true),
            Act::Fail { order, reason } => {
                let id = self.order(*order);
                let is_failed = !orders::fail(&mut *conn, id, reason).await.unwrap().is_empty();
                if is_failed {
                    discard_job(conn, id).await;
                }
                (vec![if is_failed { "failed" } else { "already finished" }.to_owned()], true)
            }
            Act::Close { wallet, by } => {
                let (owner, wallet) = (self.users[*by], self.wallets[*wallet]);
                let said = match wallets::close(conn, owner, wallet).await.unwrap() {
                    Ok(()) => "closed",
                    Err(CloseRefusal::NotFound) => "not found",
                    Err(CloseRefusal::NotEmpty) => "not empty",
                };
                (vec![said.to_owned()], true)
            }
            Act::Open { wallet } => {
                let (owner, currency) = WALLETS[*wallet];
                let currency = money(&format!("1 {currency}")).currency();
                let opened = wallets::open(conn, self.users[owner], currency).await.unwrap();
                assert_eq!((opened.wallet, opened.is_new), (self.wallets[*wallet], false));
                (vec!["opened".to_owned()], true)
            }
        }
    }

    async fn place(&self, conn: &mut PgConnection, requests: &[Request]) -> Vec<Said> {
        let wanted: Vec<OrderRequest> = requests.iter().map(|it| self.order_request(it)).collect();
        let placed = PlaceOrders.write(conn, &wanted).await.unwrap();
        let said = requests.iter().zip(placed).map(|(request, placed)| match placed {
            Placed::Answered(answer) => self.said_by(request.number, &answer),
            Placed::Replayed(answer) => {
                format!("again: {}", self.said_by(request.number, &answer))
            }
            Placed::Refused(code) => code.as_str().to_owned(),
        });
        said.collect()
    }

    fn said_by(&self, number: Number, answer: &StoredAnswer) -> Said {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        if answer.status != 202 {
            return body["code"].as_str().unwrap().to_owned();
        }
        let id = OrderId(body["id"].as_str().unwrap().parse().unwrap());
        // A crash may have made another one of this number, that never was.
        self.orders.lock().unwrap().insert(number, id);
        TAKEN.to_owned()
    }

    fn order_request(&self, request: &Request) -> OrderRequest {
        let text = |cents: i64, currency: &str| {
            money(&format!("{}.{:02} {currency}", cents / 100, cents % 100))
        };
        let instruction = match request.wish {
            Wish::Deposit { wallet, cents, currency } => {
                let wallet = self.wallets[wallet];
                Instruction::Deposit { wallet, money: text(cents, currency) }
            }
            Wish::Withdrawal { wallet, cents, currency } => {
                let wallet = self.wallets[wallet];
                Instruction::Withdrawal { wallet, money: text(cents, currency) }
            }
            Wish::Transfer { source, destination, cents, currency } => Instruction::Transfer {
                source: self.wallets[source],
                destination: self.wallets[destination],
                money: text(cents, currency),
            },
            Wish::Refund { original } => {
                let transfer = original.map_or(OrderId(Uuid::now_v7()), |it| self.order(it));
                Instruction::Refund { transfer }
            }
        };
        let owner = self.users[request.giver];
        let claim = Claim {
            caller: format!("user:{owner}"),
            route: "POST /v1/orders".to_owned(),
            key: request.number.to_string(),
            fingerprint: [u8::from(request.is_altered); 32],
        };
        let if_version = request.if_version;
        let order = NewOrder { owner, instruction, description: None, if_version };
        OrderRequest { claim, order, path: "/v1/orders".to_owned(), trace_context: None }
    }

    async fn execute(&self, conn: &mut PgConnection, numbers: &[Number]) -> Vec<Said> {
        let execution = |number: &Number| Execution {
            order: self.order(*number),
            bank_reference: Some(format!("bank-{number}")),
        };
        let executions: Vec<Execution> = numbers.iter().map(execution).collect();
        let (executed, _) = orders::execute_many(&mut *conn, &executions).await.unwrap();
        let mut said = Vec::new();
        for (execution, executed) in executions.iter().zip(executed) {
            said.push(match executed {
                Executed::Completed => {
                    complete_job(conn, execution.order).await;
                    "completed".to_owned()
                }
                Executed::Failed(refusal) => refusal.code().to_owned(),
                Executed::AlreadyFinished => "already finished".to_owned(),
                Executed::Missing => "missing".to_owned(),
            });
        }
        said
    }
}
