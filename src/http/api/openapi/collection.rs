//! `surety.http`: every operation as a request that can be sent from an editor, made from the
//! document.
//!
//! Methods, paths, bodies and required parameters are the document's, with its examples. What no
//! document says is here: the order in which the requests work from top to bottom, who sends each,
//! and which values come from an earlier answer. The format is that of the REST Client of Visual
//! Studio Code, whose `{{name.response.body.$.field}}` refers to the answer to an earlier request.

use serde_json::{Map, Value};

/// Stands at the top of the file.
const HEAD: &str = "\
# Every operation of Surety's API, to be sent from top to bottom. Written by `app openapi` from the
# OpenAPI document; for Visual Studio Code with the extension REST Client (humao.rest-client), and
# whatever else reads its format.
#
# Start `app dev`, then send one after the other. Deposits, withdrawals and transfers are executed a
# moment after they are taken; the simulated bank of `app dev` declines some on purpose, so a
# transfer may find no money. For the last requests make an admin, and put its API key here:
#
#     app keys create --name collection --role admin
#
@base_url = http://127.0.0.1:8000
@admin_token = put-the-key-here
@password = three otters on a raft
";

/// The sender of a request.
#[derive(Clone, Copy)]
enum By {
    Anybody,
    Ada,
    Bob,
    Admin,
}

impl By {
    fn token(self) -> Option<&'static str> {
        match self {
            Self::Anybody => None,
            Self::Ada => Some("{{sign_in.response.body.$.access_token}}"),
            Self::Bob => Some("{{sign_in_bob.response.body.$.access_token}}"),
            Self::Admin => Some("{{admin_token}}"),
        }
    }
}

/// One request.
struct Step {
    /// The operation.
    operation: &'static str,
    /// The name of the request, for those after it.
    name: &'static str,
    by: By,
    /// The values that replace the example's, by name of a parameter or a field of the body.
    values: &'static [(&'static str, &'static str)],
}

const fn step(
    operation: &'static str,
    by: By,
    values: &'static [(&'static str, &'static str)],
) -> Step {
    Step { operation, name: operation, by, values }
}

const ADA: (&str, &str) = ("user_id", "{{create_user.response.body.$.id}}");
const WALLET: (&str, &str) = ("wallet_id", "{{list_wallets.response.body.$.wallets[0].id}}");
const EURO_WALLET: (&str, &str) = ("wallet_id", "{{open_wallet.response.body.$.id}}");
const DEPOSIT: (&str, &str) = ("deposit_id", "{{create_deposit.response.body.$.id}}");
const TRANSFER: (&str, &str) = ("transfer_id", "{{create_transfer.response.body.$.id}}");
const WITHDRAWAL: (&str, &str) = ("withdrawal_id", "{{create_withdrawal.response.body.$.id}}");
const ENDPOINT: (&str, &str) =
    ("endpoint_id", "{{create_webhook_endpoint.response.body.$.endpoint.id}}");
const EVENT: (&str, &str) = ("event_id", "{{test_webhook_endpoint.response.body.$.event_id}}");
const REPLAY: (&str, &str) = ("replay_id", "{{replay_deliveries.response.body.$.replay_id}}");
const JOB: (&str, &str) = ("job_id", "{{enqueue_job.response.body.$.id}}");
const SECOND_JOB: (&str, &str) = ("job_id", "{{enqueue_second_job.response.body.$.id}}");
const THIRD_JOB: (&str, &str) = ("job_id", "{{enqueue_third_job.response.body.$.id}}");
const VERIFICATION: (&str, &str) = ("verification_id", "{{start_verification.response.body.$.id}}");
const PASSWORD: (&str, &str) = ("password", "{{password}}");

const STEPS: &[Step] = &[
    step("get_status", By::Anybody, &[]),
    step("check_health", By::Anybody, &[]),
    step("check_readiness", By::Anybody, &[]),
    step("get_version", By::Anybody, &[]),
    step("get_metrics", By::Anybody, &[]),
    step("receive_transaction", By::Anybody, &[]),
    // By a signature that no editor makes, to a source that must be configured.
    step("receive_provider_event", By::Anybody, &[]),
    step("get_transaction", By::Anybody, &[]),
    step("list_transactions", By::Anybody, &[]),
    step("create_user", By::Anybody, &[("email", "ada-{{$guid}}@example.com"), PASSWORD]),
    step("sign_in", By::Anybody, &[("email", "{{create_user.response.body.$.email}}"), PASSWORD]),
    step("get_user", By::Ada, &[ADA]),
    step("list_wallets", By::Ada, &[]),
    step("open_wallet", By::Ada, &[("currency", "EUR")]),
    step("close_wallet", By::Ada, &[EURO_WALLET]),
    step("create_deposit", By::Ada, &[WALLET]),
    step("get_deposit", By::Ada, &[DEPOSIT]),
    step("list_deposits", By::Ada, &[]),
    step("get_wallet", By::Ada, &[WALLET]),
    Step {
        operation: "create_user",
        name: "create_bob",
        by: By::Anybody,
        values: &[("email", "bob-{{$guid}}@example.com"), PASSWORD],
    },
    Step {
        operation: "sign_in",
        name: "sign_in_bob",
        by: By::Anybody,
        values: &[("email", "{{create_bob.response.body.$.email}}"), PASSWORD],
    },
    Step { operation: "list_wallets", name: "list_wallets_of_bob", by: By::Bob, values: &[] },
    step(
        "create_transfer",
        By::Ada,
        &[
            ("source_wallet_id", WALLET.1),
            ("destination_wallet_id", "{{list_wallets_of_bob.response.body.$.wallets[0].id}}"),
        ],
    ),
    step("get_transfer", By::Ada, &[TRANSFER]),
    step("list_transfers", By::Ada, &[]),
    step("refund_transfer", By::Bob, &[TRANSFER]),
    step("create_withdrawal", By::Ada, &[WALLET, ("amount", "50.00")]),
    step("get_withdrawal", By::Ada, &[WITHDRAWAL]),
    step("list_withdrawals", By::Ada, &[]),
    step("get_wallet_balance", By::Ada, &[WALLET]),
    step("list_wallet_entries", By::Ada, &[WALLET]),
    step("get_wallet_statement", By::Ada, &[WALLET]),
    step("get_user_balance", By::Ada, &[ADA]),
    step("list_user_transactions", By::Ada, &[ADA]),
    step("sign_out", By::Bob, &[]),
    step("get_notifications", By::Ada, &[ADA]),
    step("change_notifications", By::Ada, &[ADA]),
    step("list_webhook_event_types", By::Anybody, &[]),
    step("create_webhook_endpoint", By::Ada, &[("url", "http://127.0.0.1:9000/hooks")]),
    step("list_webhook_endpoints", By::Ada, &[]),
    step("get_webhook_endpoint", By::Ada, &[ENDPOINT]),
    step("change_webhook_endpoint", By::Ada, &[ENDPOINT]),
    step("rotate_webhook_secret", By::Ada, &[ENDPOINT]),
    step("test_webhook_endpoint", By::Ada, &[ENDPOINT]),
    step("list_deliveries", By::Ada, &[ENDPOINT]),
    step("get_delivery", By::Ada, &[ENDPOINT, EVENT]),
    // Refused while it is on its way.
    step("retry_delivery", By::Ada, &[ENDPOINT, EVENT]),
    step("replay_deliveries", By::Ada, &[ENDPOINT]),
    step("get_replay", By::Ada, &[ENDPOINT, REPLAY]),
    step("cancel_replay", By::Ada, &[ENDPOINT, REPLAY]),
    step("delete_webhook_endpoint", By::Ada, &[ENDPOINT]),
    step("change_password", By::Ada, &[ADA, ("current_password", "{{password}}")]),
    step("list_users", By::Admin, &[]),
    step("change_user", By::Admin, &[ADA]),
    step("list_audit_entries", By::Admin, &[]),
    step("get_activity", By::Admin, &[]),
    step("prove_transaction", By::Anybody, &[]),
    step("get_transaction_timeline", By::Admin, &[]),
    step("get_deposit_timeline", By::Admin, &[DEPOSIT]),
    step("get_withdrawal_timeline", By::Admin, &[WITHDRAWAL]),
    step("get_transfer_timeline", By::Admin, &[TRANSFER]),
    // Nothing is given up while all goes well, so what follows finds nothing.
    step("list_failures", By::Admin, &[]),
    step("get_failure", By::Admin, &[]),
    step("list_webhook_rejections", By::Admin, &[]),
    step("list_conflicts", By::Admin, &[]),
    step("get_conflict", By::Admin, &[]),
    step("resolve_conflict", By::Admin, &[]),
    step("start_operation", By::Admin, &[]),
    step("list_operations", By::Admin, &[]),
    step("get_operation", By::Admin, &[]),
    step("cancel_operation", By::Admin, &[]),
    step("list_dead_letters", By::Admin, &[]),
    step("get_dead_letter", By::Admin, &[]),
    step("redrive_dead_letter", By::Admin, &[]),
    step("write_off_dead_letter", By::Admin, &[]),
    step("list_jobs", By::Admin, &[]),
    step("enqueue_job", By::Admin, &[]),
    step("get_job", By::Admin, &[JOB]),
    step("edit_job", By::Admin, &[JOB]),
    step("reveal_job_args", By::Admin, &[JOB]),
    step("discard_job", By::Admin, &[JOB]),
    step("retry_job", By::Admin, &[JOB]),
    Step { operation: "enqueue_job", name: "enqueue_second_job", by: By::Admin, values: &[] },
    step("run_job_now", By::Admin, &[SECOND_JOB]),
    Step { operation: "enqueue_job", name: "enqueue_third_job", by: By::Admin, values: &[] },
    step("cancel_job", By::Admin, &[THIRD_JOB]),
    step("list_queues", By::Admin, &[]),
    step("pause_queue", By::Admin, &[]),
    step("get_queue", By::Admin, &[]),
    step("get_queue_limits", By::Admin, &[]),
    step("change_queue_limits", By::Admin, &[]),
    step("list_blocked_keys", By::Admin, &[]),
    step("clear_queue_limits", By::Admin, &[]),
    step("drain_queue", By::Admin, &[]),
    step("resume_queue", By::Admin, &[]),
    step("pause_all_queues", By::Admin, &[]),
    step("resume_all_queues", By::Admin, &[]),
    step("list_schedules", By::Admin, &[]),
    step("list_workers", By::Admin, &[]),
    step("get_overview", By::Admin, &[]),
    step("get_health_report", By::Admin, &[]),
    step("start_verification", By::Admin, &[]),
    step("get_verification", By::Admin, &[VERIFICATION]),
    step("list_verifications", By::Admin, &[]),
    // No key is blocked, no schedule is defined, and no worker has this id.
    step("unblock_queue_key", By::Admin, &[]),
    step("get_schedule", By::Admin, &[]),
    step("pause_schedule", By::Admin, &[]),
    step("resume_schedule", By::Admin, &[]),
    step("run_schedule", By::Admin, &[]),
    step("get_worker", By::Admin, &[]),
    step("drain_worker", By::Admin, &[]),
];

/// The file, made from the finished document.
pub(super) fn write(document: &Value) -> String {
    let mut file = HEAD.to_owned();
    for step in STEPS {
        let (method, path, operation) = find(document, step.operation);
        file.push_str(&request(step, method, path, operation));
    }
    file
}

/// Method, path and description of an operation.
fn find<'a>(document: &'a Value, id: &str) -> (&'a str, &'a str, &'a Value) {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    });
    let found = operations.find(|(_, _, operation)| operation["operationId"] == id);
    found.unwrap_or_else(|| panic!("STEPS names {id}, which is no operation"))
}

fn request(step: &Step, method: &str, path: &str, operation: &Value) -> String {
    let value = |name: &str, example: &Value| {
        let own = step.values.iter().find(|(of, _)| *of == name);
        own.map_or_else(|| plain(example), |(_, value)| (*value).to_owned())
    };
    let (mut path, mut query, mut headers) = (path.to_owned(), Vec::new(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        let is_required = parameter["required"] == true;
        match parameter["in"].as_str() {
            Some("path") => {
                path = path.replace(&format!("{{{name}}}"), &value(name, &parameter["example"]));
            }
            Some("query") if is_required => {
                query.push(format!("{name}={}", value(name, &parameter["example"])));
            }
            // A new one whenever it is sent.
            Some("header") if name == crate::http::edge::idempotency::IDEMPOTENCY_KEY => {
                headers.push(format!("{name}: {{{{$guid}}}}\n"));
            }
            Some("header") if is_required => {
                headers.push(format!("{name}: {}\n", value(name, &parameter["example"])));
            }
            _ => {}
        }
    }
    if let Some(token) = step.by.token() {
        headers.push(format!("Authorization: Bearer {token}\n"));
    }
    let mut body = String::new();
    let example = operation.pointer("/requestBody/content/application~1json/example");
    if let Some(fields) = example.and_then(Value::as_object) {
        headers.push("Content-Type: application/json\n".to_owned());
        let with_values = |(name, example): (&String, &Value)| {
            let own = step.values.iter().find(|(of, _)| of == name);
            (name.clone(), own.map_or_else(|| example.clone(), |(_, value)| (*value).into()))
        };
        let fields: Map<String, Value> = fields.iter().map(with_values).collect();
        body = format!("\n{:#}\n", Value::Object(fields));
    }
    let (method, name) = (method.to_uppercase(), step.name);
    let summary = operation["summary"].as_str().unwrap_or_default();
    let question = if query.is_empty() { "" } else { "?" };
    let (query, headers) = (query.join("&"), headers.concat());
    format!(
        "\n### {summary}\n# @name {name}\n{method} {{{{base_url}}}}{path}{question}{query}\n\
         {headers}{body}"
    )
}

/// A value as it stands in a path or a header.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
