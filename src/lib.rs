//! Surety takes payment webhooks, never loses one, applies each exactly once to a double-entry
//! ledger, tells the world what happened, and shows the whole way. It is one binary (`app`) and one
//! PostgreSQL: no broker, no cache, no second source of truth.
//!
//! This page is the architecture: read it first. It names things and does not repeat what they say
//! of themselves.
//!
//! # Bird's eye
//!
//! ```text
//!   provider ──POST──▶ http ──▶ payments::transactions ┐ one database
//!                                queue::enqueue        ┘ transaction ──▶ 202
//!
//!   queue::worker ──claim──▶ jobs::settle_transaction ──▶ payments::settlement ┐ one database
//!                                                         completion of the job┘ transaction
//! ```
//!
//! **In**: the HTTP edge verifies the signature over the raw bytes, parses, and hands the
//! transaction to the [shared commit](http::edge::shared_commit): requests that arrive together
//! are written by one database transaction, each answered after it. The payment and its job exist
//! together or not at all, so an accepted webhook cannot be lost between the two.
//!
//! **Out**: a worker claims due jobs in a short transaction of its own. Whatever a handler writes,
//! it commits together with the completion of its job, guarded by the fence of its claim. A worker
//! that dies, hangs or was cut off is replaced after its lease, and can change nothing when it
//! comes back.
//!
//! **Users' money** goes the same two ways. A deposit, withdrawal, transfer or refund is an
//! *order*:
//!
//! ```text
//!   user ──POST, Idempotency-Key──▶ http ──▶ api.idempotency_keys  ┐
//!                                            payments::orders, hold│ one database
//!                                            queue::enqueue        │ transaction ──▶ 202
//!                                            the answer, kept      ┘
//!
//!   jobs::execute_transfer ─────────────────▶ entries, COMPLETED, the hold released ┐ one database
//!   jobs::execute_bank_order ─intent─▶ bank ▶ entries, COMPLETED, the hold released ┘ transaction
//! ```
//!
//! What an order will take out of a wallet is held there from the moment it is taken. The bank is
//! never asked with a transaction open, and never told twice what it may have heard: the intent is
//! committed first, and after any doubt it is enquired, under the same key, before anything is
//! sent. What nobody could finish becomes a dead letter for an operator; its money is where the
//! bank says it is.
//!
//! **Others are told** of every outcome. Whoever commits one commits its event, an entry of the
//! audit log, and the job that announces it ([`jobs::announcements`]):
//!
//! ```text
//!   outcome ─▶ events.events ─take, in order─▶ jobs::AnnounceOutcomes ─▶ a delivery and a mail
//!                    │                                                   for each who wants it
//!                    └─────────take, in order─▶ relay ─▶ somebody's broker
//! ```
//!
//! # Guarantees
//!
//! Code, tests and README cite them by number.
//!
//! - **G1** A 2xx is sent only after COMMIT. Database trouble is 503 with `Retry-After`.
//! - **G2** One accepted webhook makes exactly one job, in the same database transaction, however
//!   often it comes.
//! - **G3** Execution is at least once; database effects are exactly once, because they commit with
//!   the completion.
//! - **G4** Every claim has a fence from one sequence that is never reset, and every write of a
//!   worker compares it.
//! - **G5** A dead worker's jobs run again within 45 s by default; a live one that cannot renew its
//!   leases stops its handlers before the leases can end.
//! - **G6** Calls to others carry a key that is the same in all attempts.
//! - **G7** Money is conserved: the entries of a transfer sum to zero, a balance is the sum of its
//!   entries, no account goes below its floor, entries are never changed.
//! - **G8** Only the database's clock decides when a job is due and a lease over.
//! - **G9** A job never blocks another; a kind that no worker here knows is left alone.
//! - **G10** A claim reads a small constant number of pages, whatever the history, the schedule, or
//!   a transaction that keeps vacuum from cleaning up.
//! - **G11** What was acknowledged is never dropped by time: retention keeps each discarded job
//!   until somebody has decided over it.
//! - **G12** What was told of a moment stays true: a statement or a balance at a moment says the
//!   same when asked again.
//!
//! # Code map, in reading order
//!
//! A workspace, so that the compiler holds the outer walls: `crates/bench` uses the app, and the
//! app uses `crates/queue` and `crates/postgres`. In the app:
//!
//! - [`http`], way in 1: `edge` accepts connections and stands around every request, `wire` reads
//!   and writes bodies, `api` has a file or folder per API. The only place that knows poem, but for
//!   [`pages`], which stand on `edge` and `wire`, and [`serve`], which hands the endpoint of both
//!   to the listener.
//! - [`jobs`], way in 2: one file per job kind, and the registry.
//! - [`pages`], way in 3: the operator's pages at `/ui`, written on the server; how to add one.
//! - [`operations`]: what operators do, once, for the command line, the HTTP API and the pages.
//! - [`payments`]: the money. Transactions and orders, accounts and wallets, transfers, and what
//!   `app verify` checks of them.
//! - [`providers`]: providers that send webhooks in a shape of their own: which are believed, and
//!   what their events mean.
//! - [`bank`]: the bank that deposits come from and withdrawals go to, and a simulator of it.
//! - [`deliveries`]: our own webhooks to others' endpoints: whom they may reach, one attempt, and
//!   the wait until the next.
//! - [`receiver`]: `app listen`, the other side of deliveries, for people who build one.
//! - [`identity`]: who calls. Users, sessions and their tokens, passwords, API keys.
//! - [`notices`]: mail to users: what it says, how it is sent, who wants none.
//! - [`audit`]: who did what, and the proof that nobody has changed it since.
//! - [`serve`], [`work`], [`relay`], [`dev`]: the composition roots, one per long-running process;
//!   [`relay`] publishes events to a broker that others have.
//! - [`cli`]: the operator's commands: arguments, and results in a terminal.
//! - [`db`], [`telemetry`], [`probes`], [`service_manager`], [`process`], [`stdout`], [`terminal`]:
//!   the application's schema; logs, traces and the export of figures; the answers to those who
//!   watch over a process, and what systemd is told; a process from its settings to its exit code,
//!   what commands print, and the terminal that somebody sits at.
//! - [`settings`]: the table of all settings, `.env` and other files they come from, contexts, and
//!   SIGHUP.
//! - [`metrics`]: the table of all figures, and what they are counted with.
//! - [`traces`]: the last traces, in memory, for `app dev`.
//! - [`money`], [`ids`], [`arguments`] (values of flags and settings), [`standard_webhooks`] (how
//!   webhooks are signed), and [`invariants`] from the queue's crate: words that everything may
//!   use.
//! - `migrations/`: the tables of the app by topic, its functions and triggers in
//!   `migrations/functions/`, by the rules of `crates/queue/schema/README.md`.
//!
//! Beside it:
//!
//! - `crates/queue` ([`queue`]): the engine. It knows no job kind and no payment, and stands on its
//!   own as a library, with a schema and a README of its own.
//! - `crates/postgres`: pools that recover, connection poolers, a PostgreSQL of our own, and
//!   servers and networks for tests.
//! - `crates/bench`: what is measured, and the binary `surety-bench`.
//! - `tests/it`: the tests of the app, most of them by HTTP, the command line and real processes,
//!   and those of `crates/postgres` and of schedules; `tests/pooler` has what needs PgBouncer,
//!   `crates/queue/tests` and `crates/bench/tests` the rest.
//! - `docs/`: the book, whose commands are run by `.ci/docs/run`.
//! - `openapi/`: the committed description of the API; `.ci/`: what the build server runs;
//!   `.sqlx/`: what the compiler needs to check the SQL of queries without a database.
//!
//! # Where new code goes
//!
//! - A call to another system: a client in a module of its own beside [`bank`], and a job that
//!   calls it, after the commit that asks for it.
//! - A table: a migration in `migrations/`, of the queue in `crates/queue/schema/`.
//! - A page or an action on one: a line in `pages::routes`, and the steps in [`pages`].
//! - An endpoint: `http/api`, its API in `Apis` and its tag in `ApiTags`, made in
//!   `serve::assembly`.
//! - An operator's command: a function in [`operations`], then its arguments and words in [`cli`].
//! - A setting: a flag with a variable, and its row in [`settings::table`].
//! - A figure for Prometheus: a row in [`metrics::instruments`], and who counts it; one of the
//!   whole system is read in [`operations::figures`].
//! - A new module at the top: a row in `tests/it/tidy.rs`.
//!
//! # Rules that hold everywhere
//!
//! - Dependencies point one way: `cli | http | pages → operations → jobs → payments | bank |
//!   identity | audit | deliveries | notices | events | queue`; `pages` stand on `http`, too. Those
//!   last eight do not know each other. Cargo holds it between crates, and inside the app a test
//!   that reads the sources (`tests/it/tidy.rs`).
//! - Only [`http`], [`operations`] and [`jobs`] begin and commit a database transaction, and only
//!   they enqueue. Everything below takes `&mut PgConnection`, so one function shows all that
//!   commits together.
//! - No network call while a database transaction is open.
//! - A state changes by one statement that is guarded by the state it leaves.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | job, kind, args | a row to be run; which code runs it; its JSON |
//! | attempt | the n-th run of a job, from 1 |
//! | scheduled, available, running, retryable, completed, cancelled, discarded | states of a job |
//! | claim, complete, retry, discard, snooze, cancel | what a worker does with a job |
//! | retry, of an operator | runs now what waits, redrives what is discarded |
//! | rescue, prune | take back an expired lease; drop old history |
//! | redrive, dismiss | what an operator does with a discarded job: run it again; write it off |
//! | follow-up | the job that a discard enqueues when no handler has seen to it |
//! | failure, fingerprint | what errors of jobs say without numbers, ids, addresses; its hash |
//! | bulk operation, scope | one action on all jobs of a filter; those that matched at its start |
//! | conflict | a known transaction that came again with other content |
//! | redacted, sealed | hidden wherever args are shown; encrypted before they are stored |
//! | pause, drain | start nothing more of a queue; let what runs finish, of a queue or a worker |
//! | batch, member | jobs that are done when all of them have ended; one of them |
//! | dependency | that a job waits for another one to be completed |
//! | lease, fence | the right to run until then; the number that enforces it |
//! | schedule, tick | what enqueues jobs by the clock; a moment at which it does |
//! | worker, handler | the process loop; the code of one kind |
//! | batch handler | the code of a kind that runs many claimed jobs in one transaction |
//! | key | what jobs share that take turns, or run in order, within a queue |
//! | intervention | what an operator did to a single job, kept with who and why |
//! | operation | what an operator does, in [`operations`]; of the API: a method and a path |
//! | account, entry, transfer | a holder of money; one side of a movement; the movement |
//! | wallet, hold | a user's account; what of its balance an unfinished order has spoken for |
//! | order | a deposit, withdrawal, transfer or refund that a user wants done |
//! | effect key | under which the bank does a thing at most once |
//! | dead letter | a discarded job that nobody has decided over |
//! | transaction, `tx` | a payment event of a provider's; the database's transaction |
//! | inbound webhook | what a provider sends us |
//! | endpoint, delivery | a URL at which somebody wants our webhooks; a message for it |
//! | attempt, of a delivery | one POST on the wire, or the reason that there was none |
//! | audit entry | who did what to what, kept for good |
//! | right | what an operation needs of those who do not own its subject; roles have them |
//! | figure, instrument | a number for Prometheus; its name, unit and labels |
//! | activity | what workers did and webhooks were answered, by time, for charts |
//! | seal, head | to give audit entries their places in a tree; its root at a size |

pub mod arguments;
pub mod audit;
pub mod bank;
pub mod cli;
pub mod db;
pub mod deliveries;
pub mod dev;
pub mod events;
pub mod http;
pub mod identity;
pub mod ids;
pub mod jobs;
pub mod metrics;
pub mod money;
pub mod notices;
pub mod operations;
pub mod pages;
pub mod payments;
pub mod probes;
pub mod process;
pub mod providers;
pub mod receiver;
pub mod relay;
pub mod serve;
pub mod service_manager;
pub mod settings;
pub mod standard_webhooks;
pub mod stdout;
pub mod telemetry;
pub mod terminal;
pub mod traces;
pub mod work;

pub use surety_queue as queue;
pub use surety_queue::health::invariants;
