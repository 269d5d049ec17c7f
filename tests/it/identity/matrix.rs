//! Access rules: every operation of the document by every kind of caller.
//!
//! An operation that is added needs one line in [`RULES`]; one whose path has a new parameter needs
//! a line in [`World::parameter`] as well.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use surety::deliveries::{Guard, Reach};
use surety::http::api::openapi::Document;
use surety::identity::api_keys::{self, ActsAs};
use surety::identity::passwords::{Hasher, Password, PasswordHash};
use surety::identity::users::{self, NewUser};
use surety::identity::{Role, sessions, signing_keys, tokens};
use surety::ids::{AccountId, EndpointId, OrderId, UserId};
use surety::money::Currency;
use surety::operations::bulk::{self, JobAction, NewBulk};
use surety::operations::endpoints::deliveries::{self, Replay};
use surety::operations::endpoints::{self, EndpointChange, Scope};
use surety::operations::jobs::JobSelection;
use surety::operations::schedules::{self, IfTaken, Schedule};
use surety::operations::{Actor, Identity, Mode, failures};
use surety::payments::orders::Instruction;
use surety::payments::wallets;
use surety::queue::{JobId, JobState, NewJob};
use uuid::Uuid;

use self::Caller::*;
use crate::providers::{STRIPE, SourcesFile};
use crate::support::ledger::money;
use crate::support::money::{discarded_job, execute, place};
use crate::support::{Answer, PASSWORD, TestApi, send};

/// Every operation, and for whom it is.
const RULES: &[(&str, Rule)] = &[
    ("receive_transaction", Rule::Anybody),
    ("receive_provider_event", Rule::Anybody),
    ("list_webhook_rejections", Rule::Staff),
    ("get_transaction", Rule::Anybody),
    ("list_transactions", Rule::Anybody),
    ("sign_in", Rule::Anybody),
    ("sign_out", Rule::People),
    ("create_user", Rule::Anybody),
    ("get_user", Rule::OwnerAndStaff),
    ("list_users", Rule::Staff),
    ("change_password", Rule::OwnerInPerson),
    ("change_user", Rule::Admins),
    ("get_notifications", Rule::OwnerAndStaff),
    ("change_notifications", Rule::Owner),
    ("get_user_balance", Rule::OwnerAndStaff),
    ("list_user_transactions", Rule::OwnerAndStaff),
    ("open_wallet", Rule::Users),
    ("list_wallets", Rule::Users),
    ("get_wallet", Rule::OwnerAndStaff),
    ("get_wallet_balance", Rule::OwnerAndStaff),
    ("list_wallet_entries", Rule::OwnerAndStaff),
    ("get_wallet_statement", Rule::OwnerAndStaff),
    ("close_wallet", Rule::Mover),
    ("create_deposit", Rule::Mover),
    ("list_deposits", Rule::Users),
    ("get_deposit", Rule::OwnerAndStaff),
    ("create_withdrawal", Rule::Mover),
    ("list_withdrawals", Rule::Users),
    ("get_withdrawal", Rule::OwnerAndStaff),
    ("create_transfer", Rule::Mover),
    ("list_transfers", Rule::Users),
    ("get_transfer", Rule::OwnerAndStaff),
    ("refund_transfer", Rule::Mover),
    ("create_webhook_endpoint", Rule::NoViewers),
    ("list_webhook_endpoints", Rule::Callers),
    ("get_webhook_endpoint", Rule::OwnerAndStaff),
    ("change_webhook_endpoint", Rule::OwnerAndOperators),
    ("delete_webhook_endpoint", Rule::OwnerAndOperators),
    ("rotate_webhook_secret", Rule::OwnerAndOperators),
    ("list_webhook_event_types", Rule::Anybody),
    ("test_webhook_endpoint", Rule::OwnerAndOperators),
    ("list_deliveries", Rule::OwnerAndStaff),
    ("get_delivery", Rule::OwnerAndStaff),
    ("retry_delivery", Rule::OwnerAndOperators),
    ("replay_deliveries", Rule::OwnerAndOperators),
    ("get_replay", Rule::OwnerAndStaff),
    ("cancel_replay", Rule::OwnerAndOperators),
    ("list_failures", Rule::Staff),
    ("get_failure", Rule::Staff),
    ("start_operation", Rule::Operators),
    ("list_operations", Rule::Staff),
    ("get_operation", Rule::Staff),
    ("cancel_operation", Rule::Operators),
    ("list_conflicts", Rule::Staff),
    ("get_conflict", Rule::Staff),
    ("resolve_conflict", Rule::Admins),
    ("list_dead_letters", Rule::Staff),
    ("get_dead_letter", Rule::Staff),
    ("redrive_dead_letter", Rule::Admins),
    ("write_off_dead_letter", Rule::Admins),
    ("list_jobs", Rule::Staff),
    ("get_job", Rule::Staff),
    ("enqueue_job", Rule::Admins),
    ("run_job_now", Rule::Operators),
    ("retry_job", Rule::Admins),
    ("cancel_job", Rule::Operators),
    ("discard_job", Rule::Operators),
    ("edit_job", Rule::Operators),
    ("reveal_job_args", Rule::Admins),
    ("list_queues", Rule::Staff),
    ("get_queue", Rule::Staff),
    ("pause_queue", Rule::Operators),
    ("resume_queue", Rule::Operators),
    ("drain_queue", Rule::Operators),
    ("pause_all_queues", Rule::Operators),
    ("resume_all_queues", Rule::Operators),
    ("get_queue_limits", Rule::Staff),
    ("change_queue_limits", Rule::Operators),
    ("clear_queue_limits", Rule::Operators),
    ("list_blocked_keys", Rule::Staff),
    ("unblock_queue_key", Rule::Admins),
    ("list_schedules", Rule::Staff),
    ("get_schedule", Rule::Staff),
    ("pause_schedule", Rule::Operators),
    ("resume_schedule", Rule::Operators),
    ("run_schedule", Rule::Operators),
    ("list_workers", Rule::Staff),
    ("get_worker", Rule::Staff),
    ("drain_worker", Rule::Operators),
    ("get_overview", Rule::Staff),
    ("get_health_report", Rule::Staff),
    ("start_verification", Rule::Operators),
    ("list_verifications", Rule::Staff),
    ("get_verification", Rule::Staff),
    ("list_audit_entries", Rule::Staff),
    ("prove_transaction", Rule::Anybody),
    ("get_transaction_timeline", Rule::Staff),
    ("get_deposit_timeline", Rule::Staff),
    ("get_withdrawal_timeline", Rule::Staff),
    ("get_transfer_timeline", Rule::Staff),
    ("get_activity", Rule::Staff),
    ("get_status", Rule::Anybody),
    ("check_health", Rule::Anybody),
    ("check_readiness", Rule::Anybody),
    ("get_version", Rule::Anybody),
    ("get_metrics", Rule::Anybody),
];

/// For whom an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code)] // Some are for operations that are still to come.
enum Rule {
    /// No matter who asks, and whether the credentials are good.
    Anybody,
    /// Every known caller.
    Callers,
    /// Every known caller but API keys.
    People,
    /// Every known caller who is a user, or acts for one.
    Users,
    /// Every known caller but viewers.
    NoViewers,
    /// The owner of what the path names, and who reads everything.
    OwnerAndStaff,
    /// The same, but viewers only see it.
    OwnerAndOperators,
    /// The owner of what the path names: others of the role user do not see it, staff may not.
    Owner,
    /// The owner of what the path or the body names: nobody else sees it there, whoever he is, and
    /// who is no user can own nothing.
    Mover,
    /// As [`Rule::Owner`], but no API key.
    OwnerInPerson,
    /// Viewers, operators and admins.
    Staff,
    /// Operators and admins.
    Operators,
    /// Admins.
    Admins,
}

/// A kind of caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Caller {
    Anonymous,
    InvalidToken,
    ExpiredSession,
    SignedOut,
    RevokedKey,
    ExpiredKey,
    OtherUser,
    OtherUsersKey,
    TheOwner,
    OwnersKey,
    AViewer,
    ViewerKey,
    AnOperator,
    OperatorKey,
    AnAdmin,
    AdminKey,
}

const CALLERS: [Caller; 16] = [
    Anonymous,
    InvalidToken,
    ExpiredSession,
    SignedOut,
    RevokedKey,
    ExpiredKey,
    OtherUser,
    OtherUsersKey,
    TheOwner,
    OwnersKey,
    AViewer,
    ViewerKey,
    AnOperator,
    OperatorKey,
    AnAdmin,
    AdminKey,
];

/// What a caller gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// 401 `unauthenticated`.
    Unknown,
    /// 403 `forbidden`.
    Forbidden,
    /// 404, as for what does not exist.
    Absent,
    /// Let in, whatever then came of it.
    LetIn,
}

impl Rule {
    fn expects(self, caller: Caller) -> Class {
        let is_stranger = matches!(
            caller,
            Anonymous | InvalidToken | ExpiredSession | SignedOut | RevokedKey | ExpiredKey
        );
        if self == Self::Anybody {
            return Class::LetIn;
        }
        if is_stranger {
            return Class::Unknown;
        }
        let is_key =
            matches!(caller, OtherUsersKey | OwnersKey | ViewerKey | OperatorKey | AdminKey);
        let is_owner = matches!(caller, TheOwner | OwnersKey);
        let is_admin = matches!(caller, AnAdmin | AdminKey);
        let is_operator = is_admin || matches!(caller, AnOperator | OperatorKey);
        let is_viewer = matches!(caller, AViewer | ViewerKey);
        let is_staff = is_operator || is_viewer;
        let is_user = !matches!(caller, ViewerKey | OperatorKey | AdminKey);
        let only = |may: bool| if may { Class::LetIn } else { Class::Forbidden };
        let unless_foreign = |class| if is_owner || is_staff { class } else { Class::Absent };
        match self {
            Self::Anybody | Self::Callers => Class::LetIn,
            Self::People => only(!is_key),
            Self::Users => only(is_user),
            Self::NoViewers => only(!is_viewer),
            Self::OwnerAndStaff => unless_foreign(Class::LetIn),
            Self::OwnerAndOperators => unless_foreign(only(!is_viewer)),
            Self::Owner => unless_foreign(only(is_owner)),
            Self::Mover if is_user && !is_owner => Class::Absent,
            Self::Mover => only(is_user),
            Self::OwnerInPerson => unless_foreign(only(is_owner && !is_key)),
            Self::Staff => only(is_staff),
            Self::Operators => only(is_operator),
            Self::Admins => only(is_admin),
        }
    }
}

/// A caller and what a request is about, made anew after each request that may have changed it: not
/// after reads, nor after what was refused.
struct World {
    owner: UserId,
    /// What the owner has.
    wallet: AccountId,
    deposit: OrderId,
    withdrawal: OrderId,
    /// Was paid to the owner, so it is his to refund.
    transfer: OrderId,
    /// Somebody else's.
    other_wallet: AccountId,
    /// A job that was given up, and the fingerprint of its failure.
    dead_letter: JobId,
    failure: String,
    /// A bulk operation that waits for its worker.
    operation: i64,
    /// A transaction that came again with other content.
    conflict: i64,
    /// Is told of the owner's events, of which there is one; and a replay of it.
    endpoint: EndpointId,
    event: String,
    replay: JobId,
    /// A record of a verification.
    verification: i64,
    /// Of the caller.
    credentials: Option<String>,
}

/// A worker that reports, and does nothing.
const WORKER: &str = "019a9f3c-7d2e-7b61-a6a5-0f2d5c1b9e44";

/// What operators hold up, and what they look at: as it was before the request of another caller.
async fn of_operators(pool: &PgPool) -> i64 {
    let reset = "
        delete from queue.pauses;
        insert into queue.limits (queue, set_by) values ('reports', 'test') on conflict do nothing;
        delete from queue.workers;
        insert into queue.workers (id, host, pid, version, queues, kinds, slots, lease)
        values ('019a9f3c-7d2e-7b61-a6a5-0f2d5c1b9e44', 'test', 1, '1.0', '{}', '{}', 1, '1 hour')";
    sqlx::raw_sql(reset).execute(pool).await.unwrap();
    let schedule = Schedule::every("nightly-report", Duration::from_secs(3600));
    let schedule = schedule.new_job(NewJob::raw("send_report", json!({}))).unwrap();
    let by = Identity::command_line("test");
    let mut conn = pool.acquire().await.unwrap();
    let define = schedules::define(&mut conn, &schedule, IfTaken::Replace, &by, Mode::Commit);
    define.await.unwrap();
    let record = "
        insert into audit.verifications (requested_by, ended_at, holds, violations, report)
        values ('test', now(), true, 0, '{}')
        returning id";
    sqlx::query_scalar(record).fetch_one(pool).await.unwrap()
}

impl World {
    async fn new(api: &TestApi, hash: &PasswordHash, caller: Caller) -> Self {
        let verification = of_operators(&api.pool).await;
        let mut tx = api.pool.begin().await.unwrap();
        let owner = user(&mut tx, hash, Role::User).await;
        let credentials = credentials(&mut tx, hash, caller, owner).await;
        let wallet = wallet_of(&mut tx, owner).await;
        let payer = user(&mut tx, hash, Role::User).await;
        let other_wallet = wallet_of(&mut tx, payer).await;
        tx.commit().await.unwrap();

        let place = async |who, instruction| {
            let order = place(&api.pool, who, instruction).await.unwrap().id;
            execute(&api.pool, &[order]).await;
            order
        };
        let money = money("100 USD");
        let deposit = place(owner, Instruction::Deposit { wallet, money }).await;
        let withdrawal = place(owner, Instruction::Withdrawal { wallet, money }).await;
        place(payer, Instruction::Deposit { wallet: other_wallet, money }).await;
        let (source, destination) = (other_wallet, wallet);
        let transfer = place(payer, Instruction::Transfer { source, destination, money }).await;
        let dead_letter = discarded_job(&api.pool).await;
        let (failure, operation) = failure_and_operation(api).await;
        let conflict = conflict(api).await;
        let (endpoint, event, replay) = endpoint_of(api, owner).await;
        Self {
            endpoint,
            event,
            replay,
            owner,
            wallet,
            deposit,
            withdrawal,
            transfer,
            other_wallet,
            dead_letter,
            verification,
            failure,
            operation,
            conflict,
            credentials,
        }
    }

    /// What stands for a parameter of a path: something of the owner's.
    fn parameter(&self, name: &str) -> String {
        match name {
            "user_id" => self.owner.to_string(),
            "transaction_id" => "txn_1001".to_owned(),
            "job_id" => self.dead_letter.to_string(),
            "fingerprint" => self.failure.clone(),
            "operation_id" => self.operation.to_string(),
            "conflict_id" => self.conflict.to_string(),
            "wallet_id" => self.wallet.to_string(),
            "deposit_id" => self.deposit.to_string(),
            "withdrawal_id" => self.withdrawal.to_string(),
            "transfer_id" => self.transfer.to_string(),
            "endpoint_id" => self.endpoint.to_string(),
            "event_id" => self.event.clone(),
            "replay_id" => self.replay.to_string(),
            "queue" => "reports".to_owned(),
            "schedule" => "nightly-report".to_owned(),
            "worker_id" => WORKER.to_owned(),
            "verification_id" => self.verification.to_string(),
            "source" => "stripe".to_owned(),
            _ => panic!("say in World::parameter what {{{name}}} stands for"),
        }
    }
}

/// The fingerprint of what has failed, and an operation on it.
async fn failure_and_operation(api: &TestApi) -> (String, i64) {
    let mut conn = api.pool.acquire().await.unwrap();
    let failure = failures::list(&mut conn, 1).await.unwrap().remove(0).fingerprint;
    let states = vec![JobState::Discarded];
    let new = NewBulk {
        action: JobAction::Redrive,
        selection: JobSelection { states, ..JobSelection::default() },
        limit: Some(1),
        mode: Mode::Commit,
    };
    let actor =
        Actor { identity: Identity::command_line("test"), reason: "a test".parse().unwrap() };
    let operation = bulk::start_on(&mut conn, new, &actor).await.unwrap().id.unwrap();
    // There may be no more than some at a time.
    sqlx::query(
        "update operations.bulk_operations
         set state = 'completed', finished_at = now()
         where state = 'waiting' and id <> $1",
    )
    .bind(operation)
    .execute(&mut *conn)
    .await
    .unwrap();
    (failure, operation.0)
}

async fn conflict(api: &TestApi) -> i64 {
    let other = crate::support::event_of("txn_1001", "17.42");
    assert_eq!(api.post(other).await.status, 409);
    sqlx::query_scalar(
        "update payments.transaction_conflicts
         set resolution = null, resolved_by = null, resolve_reason = null, resolved_at = null
         returning id",
    )
    .fetch_one(&api.pool)
    .await
    .unwrap()
}

/// An endpoint of the owner's with a delivery and a replay.
async fn endpoint_of(api: &TestApi, owner: UserId) -> (EndpointId, String, JobId) {
    let (guard, by) = (Guard::new(Reach::PrivateToo).into(), Identity::command_line("test"));
    let change =
        EndpointChange { url: Some("http://127.0.0.1:9/".to_owned()), ..EndpointChange::default() };
    let made = endpoints::create(&api.pool, &guard, Some(owner), change, &by).await.unwrap();
    let id = EndpointId(made.0.id);
    let event = deliveries::send_test(&api.pool, Scope::All, id).await.unwrap();
    let replay = deliveries::replay(&api.pool, Scope::All, id, Replay::Failed, &by).await.unwrap();
    (id, event, replay)
}

async fn user(conn: &mut PgConnection, hash: &PasswordHash, role: Role) -> UserId {
    let email = format!("{}@example.com", Uuid::new_v4().simple()).parse().unwrap();
    let currency = Currency::parse("USD").unwrap();
    let new = NewUser { email, password_hash: hash.clone(), role, currency };
    users::create(conn, &new).await.unwrap().id
}

async fn wallet_of(conn: &mut PgConnection, owner: UserId) -> AccountId {
    wallets::open(conn, owner, Currency::parse("USD").unwrap()).await.unwrap().wallet
}

async fn credentials(
    conn: &mut PgConnection,
    hash: &PasswordHash,
    caller: Caller,
    owner: UserId,
) -> Option<String> {
    let role = match caller {
        AViewer => Role::Viewer,
        AnOperator => Role::Operator,
        AnAdmin => Role::Admin,
        _ => Role::User,
    };
    let acts_as = match caller {
        OwnersKey => ActsAs::User(owner),
        OtherUsersKey => ActsAs::User(user(conn, hash, Role::User).await),
        ViewerKey => ActsAs::Viewer,
        OperatorKey => ActsAs::Operator,
        _ => ActsAs::Admin,
    };
    match caller {
        Anonymous => None,
        InvalidToken => Some("eyJhbGciOiJub25lIn0.e30.".to_owned()),
        // A second admin each, so that no request is about the last one.
        OtherUser | AViewer | AnOperator | AnAdmin => {
            let other = user(conn, hash, role).await;
            Some(token(conn, hash, other).await)
        }
        TheOwner => Some(token(conn, hash, owner).await),
        ExpiredSession | SignedOut => {
            let admin = user(conn, hash, Role::Admin).await;
            let token = token(conn, hash, admin).await;
            let end = match caller {
                SignedOut => "update identity.sessions set ended_at = now() where user_id = $1",
                _ => "update identity.sessions set expires_at = now() where user_id = $1",
            };
            sqlx::query(end).bind(admin).execute(conn).await.unwrap();
            Some(token)
        }
        RevokedKey | ExpiredKey | OwnersKey | OtherUsersKey | ViewerKey | OperatorKey
        | AdminKey => {
            let (key, secret) = api_keys::create(conn, "test", acts_as, None).await.unwrap();
            let end = match caller {
                RevokedKey => "update identity.api_keys set revoked_at = now() where id = $1",
                ExpiredKey => "update identity.api_keys set expires_at = now() where id = $1",
                _ => "select $1",
            };
            sqlx::query(end).bind(key.id).execute(conn).await.unwrap();
            Some(secret.reveal().to_owned())
        }
    }
}

async fn token(conn: &mut PgConnection, hash: &PasswordHash, user: UserId) -> String {
    let key = signing_keys::newest(conn).await.unwrap();
    let session = sessions::start(conn, user, hash, &key).await.unwrap().unwrap();
    tokens::issue(&session, &key).unwrap()
}

/// An operation as the document has it.
struct Operation {
    id: String,
    method: String,
    path: String,
    says: Value,
}

fn operations() -> Vec<Operation> {
    let document = Document::new();
    let mut all = Vec::new();
    for (path, methods) in document.described()["paths"].as_object().unwrap() {
        for (method, says) in methods.as_object().unwrap() {
            let id = says["operationId"].as_str().unwrap().to_owned();
            let method = method.to_uppercase();
            all.push(Operation { id, method, path: path.clone(), says: says.clone() });
        }
    }
    all
}

impl Operation {
    /// Sends what the document gives as an example, in this world.
    async fn call(&self, api: &TestApi, world: &World) -> Answer {
        let segments = self.path.split('/').map(|segment| {
            match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => world.parameter(name),
                None => segment.to_owned(),
            }
        });
        let path = segments.collect::<Vec<_>>().join("/");
        let mut request = api.request(&self.method, &path);
        for parameter in self.says["parameters"].as_array().into_iter().flatten() {
            let is_header = parameter["in"] == "header" && parameter["required"] == true;
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] == "query" && parameter["required"] == true {
                request = request.query(&[(name, parameter["example"].as_str().unwrap())]);
            }
            if is_header && name.eq_ignore_ascii_case("idempotency-key") {
                request = request.header(name, Uuid::new_v4().to_string());
            } else if is_header {
                request = request.header(name, parameter["example"].as_str().unwrap());
            }
        }
        if let Some(credentials) = &world.credentials {
            request = request.bearer_auth(credentials);
        }
        if let Some(body) = self.says.pointer("/requestBody/content/application~1json/example") {
            let mut body = body.clone();
            for (name, wallet) in [
                ("wallet_id", world.wallet),
                ("source_wallet_id", world.wallet),
                ("destination_wallet_id", world.other_wallet),
            ] {
                if body.get(name).is_some() {
                    body[name] = json!(wallet);
                }
            }
            request = request.json(&body);
        }
        send(request).await
    }
}

/// What an answer means; `None` for what no caller must get.
fn class(answer: &Answer) -> Option<Class> {
    let code = match answer.header("content-type") {
        "application/problem+json" => answer.code(),
        _ => String::new(),
    };
    match (answer.status, code.as_str()) {
        (401, "unauthenticated") => Some(Class::Unknown),
        (403, "forbidden") => Some(Class::Forbidden),
        (404, code) if code.ends_with("-not-found") => Some(Class::Absent),
        // The example was refused before anybody asked who sends it.
        (400 | 405 | 415 | 500.., _) => None,
        _ => Some(Class::LetIn),
    }
}

#[tokio::test]
async fn every_operation_lets_in_whom_its_rule_says_and_nobody_else() {
    // Reads that are open have something to be about; so nothing is absent by accident.
    let api = SourcesFile::new(STRIPE).serve().await;
    assert_eq!(api.post(crate::support::event("txn_1001")).await.status, 202);
    let password = Password::attempt(PASSWORD.to_owned());
    let hash = Hasher::default().hash(password).await.unwrap();

    let mut wrong = Vec::new();
    let mut worlds: HashMap<Caller, World> = HashMap::new();
    for operation in operations() {
        let Some((_, rule)) = RULES.iter().find(|(id, _)| *id == operation.id) else {
            wrong.push(format!("{}: has no line in RULES", operation.id));
            continue;
        };
        for caller in CALLERS {
            let world = match worlds.remove(&caller) {
                Some(mut world) => {
                    world.verification = of_operators(&api.pool).await;
                    world
                }
                None => World::new(&api, &hash, caller).await,
            };
            let answer = operation.call(&api, &world).await;
            let (expected, got) = (rule.expects(caller), class(&answer));
            if got != Some(expected) {
                let (id, status, text) = (&operation.id, answer.status, &answer.text);
                wrong.push(format!("{id} by {caller:?}: not {expected:?}, but {status} {text}"));
            }
            if operation.method == "GET" || got != Some(Class::LetIn) {
                worlds.insert(caller, world);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_document_and_the_rules_know_the_same_operations_and_who_must_sign_in() {
    let operations = operations();
    for (id, _) in RULES {
        assert!(operations.iter().any(|it| it.id == *id), "{id} is in RULES, but no operation");
    }
    for operation in operations {
        let rule = RULES.iter().find(|(id, _)| *id == operation.id).map(|(_, rule)| *rule);
        let rule = rule.unwrap_or_else(|| panic!("{}: has no line in RULES", operation.id));
        let says_so = operation.says["security"].as_array().is_some_and(|it| !it.is_empty());
        assert_eq!(says_so, rule != Rule::Anybody, "{}", operation.id);
        // By a setting, these are for operators (tests/it/transaction_readers.rs).
        if ["get_transaction", "list_transactions", "prove_transaction"].contains(&&*operation.id) {
            continue;
        }
        let has_401 = operation.says["responses"]["401"]["content"]["application/problem+json"]
            ["examples"]["unauthenticated"]
            .is_object();
        assert_eq!(has_401, rule != Rule::Anybody, "{}", operation.id);
    }
}
