//! The client that progenitor makes of the OpenAPI document, in both of its styles; the round trip
//! uses the builders.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use uuid::Uuid;

use builder::{Client, types};

/// Compiled only.
#[allow(dead_code)]
mod positional {
    progenitor::generate_api!(spec = "../../../openapi/openapi.json", interface = Positional);
}

#[allow(dead_code)]
mod builder {
    progenitor::generate_api!(spec = "../../../openapi/openapi.json", interface = Builder);
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("usage: surety-client URL")?;
    webhook_and_transaction(&Client::new(&url)).await?;
    user_and_wallet(&url).await?;
    println!("rust: a webhook was posted, its transaction read, and a wallet's balance");
    Ok(())
}

async fn webhook_and_transaction(client: &Client) -> Result<()> {
    let id = format!("txn_rust_{}", Uuid::new_v4());
    let event = types::TransactionEvent::builder()
        .transaction_id(id.as_str())
        .source_account("acc_rust")
        .destination_account("acc_shop")
        .amount(types::AmountInput::Amount("12.50".parse()?))
        .currency("USD");
    let accepted = client.receive_transaction().body(event).send().await?;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);

    let mut transaction = client.get_transaction().transaction_id(&id).send().await?;
    for _ in 0..100 {
        if transaction.status != types::TransactionStatus::Processing {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        transaction = client.get_transaction().transaction_id(&id).send().await?;
    }
    assert_eq!(transaction.status, types::TransactionStatus::Completed);
    assert_eq!(transaction.amount.as_str(), "12.50");

    let unknown = client.get_transaction().transaction_id("txn_unknown").send().await;
    assert_eq!(unknown.err().and_then(|error| error.status()), Some(StatusCode::NOT_FOUND));
    Ok(())
}

async fn user_and_wallet(url: &str) -> Result<()> {
    let (email, password) = (format!("{}@example.com", Uuid::new_v4()), "three otters on a raft");
    let anybody = Client::new(url);
    let user = types::UserIn::builder().email(email.as_str()).password(password).currency("USD");
    anybody.create_user().body(user).send().await?;
    let login = types::Login::builder().email(email.as_str()).password(password);
    let access = anybody.sign_in().body(login).send().await?;

    let bearer = HeaderValue::try_from(format!("Bearer {}", access.access_token))?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    let with_token = reqwest::Client::builder().default_headers(headers).build()?;
    let client = Client::new_with_client(url, with_token);
    let wallet = client.list_wallets().send().await?.wallets[0].id;
    let balance = client.get_wallet_balance().wallet_id(wallet).send().await?;
    assert_eq!(balance.balance.as_str(), "0.00");
    Ok(())
}
