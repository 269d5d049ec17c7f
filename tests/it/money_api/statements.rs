//! Statements: parsed back, they prove themselves, and nothing in them is a formula.

use surety::payments::orders::{Instruction, NewOrder};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{refusal, start};
use crate::support::ledger::money;
use crate::support::money::{Customer, execute, fund, place_new};
use crate::support::{Answer, TestApi};

pub(super) async fn statement(api: &TestApi, customer: &Customer, query: &str) -> Answer {
    customer.person.get(api, &format!("/v1/wallets/{}/statement?{query}", customer.wallet)).await
}

pub(super) fn rows(answer: &Answer) -> Vec<csv::StringRecord> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut reader = csv::ReaderBuilder::new().from_reader(answer.text.as_bytes());
    let header: Vec<&str> = reader.headers().unwrap().iter().collect::<Vec<_>>().clone();
    let columns = ["number", "time", "description", "in", "out", "balance", "currency", "order_id"];
    assert_eq!(header, columns);
    reader.records().map(|row| row.unwrap()).collect()
}

/// In ten-thousandths.
fn units(cell: &str) -> i64 {
    let cell = if cell.is_empty() { "0" } else { cell };
    let (whole, part) = cell.split_once('.').unwrap_or((cell, ""));
    format!("{whole}{part:0<4}").parse().unwrap()
}

async fn pay(api: &TestApi, from: &Customer, to: &Customer, text: &str, description: &str) {
    let instruction =
        Instruction::Transfer { source: from.wallet, destination: to.wallet, money: money(text) };
    let description = Some(description.to_owned());
    let new = NewOrder { owner: from.id(), instruction, description, if_version: None };
    let id = place_new(&api.pool, &new).await.unwrap().id;
    execute(&api.pool, &[id]).await;
}

#[tokio::test]
async fn a_statement_leads_from_the_opening_to_the_closing_balance() {
    let api = start().await;
    let customer = Customer::with(&api, "100 USD").await;
    let other = Customer::new(&api).await;
    let from: OffsetDateTime =
        sqlx::query_scalar("select entries_from from payments.accounts where id = $1")
            .bind(customer.wallet)
            .fetch_one(&api.pool)
            .await
            .unwrap();
    pay(&api, &customer, &other, "30.50 USD", "rent").await;
    fund(&api.pool, customer.id(), customer.wallet, "7 USD").await;

    let from = from.format(&Rfc3339).unwrap();
    let answer = statement(&api, &customer, &format!("from={from}")).await;

    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    let name = format!("attachment; filename=\"statement-{}.csv\"", customer.wallet);
    assert_eq!(answer.header("content-disposition"), name);
    assert!(answer.text.ends_with("\r\n") && !answer.text.replace("\r\n", "").contains('\n'));
    let rows = rows(&answer);
    assert_eq!((&rows[0][2], &rows[0][5]), ("opening balance", "100.00"));
    assert_eq!(
        (&rows[1][0], &rows[1][2], &rows[1][4], &rows[1][5]),
        ("2", "rent", "30.50", "69.50")
    );
    assert_eq!((&rows[2][0], &rows[2][3], &rows[2][5]), ("3", "7.00", "76.50"));
    assert_eq!((&rows[3][2], &rows[3][5]), ("closing balance", "76.50"));
    assert_eq!(rows.len(), 4);
    let mut balance = units(&rows[0][5]);
    for row in &rows[1..] {
        balance += units(&row[3]) - units(&row[4]);
        assert_eq!(balance, units(&row[5]), "{row:?}");
    }
}

/// RFC 4180.
#[tokio::test]
async fn descriptions_come_back_whole_but_never_as_formulas() {
    let api = start().await;
    let customer = Customer::with(&api, "100 USD").await;
    let other = Customer::new(&api).await;
    let descriptions = [
        "=HYPERLINK(\"http://evil.example\",\"look\")",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\tindented",
        "\rreturned",
        "\u{ff1d}1+1",
        "\u{ff0b}1",
        "\u{ff0d}1",
        "\u{ff20}A1",
        "plain",
        "with, comma",
        "with \"quotes\"",
        "with\nnewline",
        "not = at the start",
        "'=already",
    ];
    for description in descriptions {
        pay(&api, &customer, &other, "1 USD", description).await;
    }
    let answer = statement(&api, &customer, "from=2020-01-01T00:00:00Z").await;
    let rows = rows(&answer);
    assert_eq!(rows.len(), descriptions.len() + 3);
    for (row, description) in rows[2..].iter().zip(descriptions) {
        let cell = &row[2];
        let is_dangerous = description.starts_with([
            '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
        ]);
        let expected =
            if is_dangerous { format!("'{description}") } else { description.to_owned() };
        assert_eq!(cell, expected);
    }
    for row in &rows {
        for cell in row {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
        }
    }
}

#[tokio::test]
async fn a_period_is_half_open_and_must_not_end_before_it_begins() {
    let api = start().await;
    let customer = Customer::with(&api, "1 USD").await;
    let at: OffsetDateTime = sqlx::query_scalar("select max(created_at) from payments.entries")
        .fetch_one(&api.pool)
        .await
        .unwrap();
    let text = at.format(&Rfc3339).unwrap();
    let before = (at - time::Duration::microseconds(1)).format(&Rfc3339).unwrap();
    let after = (at + time::Duration::microseconds(1)).format(&Rfc3339).unwrap();

    for (from, until, entries, closing) in [
        (&text, &after, 1, "1.00"),
        (&before, &text, 0, "0.00"),
        (&text, &text, 0, "0.00"),
        (&after, &after, 0, "1.00"),
    ] {
        let answer = statement(&api, &customer, &format!("from={from}&until={until}")).await;
        assert_eq!(rows(&answer).len(), 2 + entries, "from {from} until {until}");
        assert_eq!(&rows(&answer).last().unwrap()[5], closing, "from {from} until {until}");
    }

    for query in [
        format!("from={text}&until={before}"),
        "from=9999-01-01T00:00:00Z".to_owned(),
        String::new(),
        "until=2026-01-01T00:00:00Z".to_owned(),
        format!("from={text}&from={text}"),
        format!("from={text}&till={text}"),
    ] {
        let answer = statement(&api, &customer, &query).await;
        assert_eq!(refusal(&answer), (400, "invalid-parameter".to_owned()), "{query}");
    }
}
