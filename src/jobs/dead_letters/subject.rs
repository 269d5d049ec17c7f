//! The order or transaction that a job is about.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::DeadLetterError;
use crate::ids::{OrderId, TransactionId};
use crate::jobs::{ExecuteBankOrder, ExecuteTransfer, ResolveBankOrder, SettleTransaction};
use crate::payments::orders::{self, Order};
use crate::payments::transactions::{self, Transaction};
use crate::queue::Job as _;
use crate::queue::operate::inspect::StoredArgs;

/// The order or transaction that a job is about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A user's order.
    Order(Order),
    /// A provider's transaction.
    Transaction(Transaction),
}

/// The id of it, as the arguments of the job have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobSubject {
    /// A user's order.
    Order(OrderId),
    /// A provider's transaction, by our number of it.
    Transaction(TransactionId),
}

impl JobSubject {
    /// The subject of a job of this kind with these arguments; none if it is about no money, or
    /// its arguments cannot be read.
    #[must_use]
    pub fn of(kind: &str, args: &StoredArgs) -> Option<Self> {
        match kind {
            ExecuteBankOrder::KIND => {
                args.parse::<ExecuteBankOrder>().map(|args| Self::Order(args.order))
            }
            ResolveBankOrder::KIND => {
                args.parse::<ResolveBankOrder>().map(|args| Self::Order(args.args.order))
            }
            ExecuteTransfer::KIND => {
                args.parse::<ExecuteTransfer>().map(|args| Self::Order(args.order))
            }
            SettleTransaction::KIND => {
                args.parse::<SettleTransaction>().map(|args| Self::Transaction(args.transaction))
            }
            _ => None,
        }
    }

    /// The order or transaction as it stands; none when it does not exist.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError`].
    pub async fn find(self, conn: &mut PgConnection) -> Result<Option<Subject>, DeadLetterError> {
        Ok(match self {
            Self::Order(id) => orders::find(conn, id).await?.map(Subject::Order),
            Self::Transaction(id) => {
                transactions::find_by_number(conn, id).await?.map(Subject::Transaction)
            }
        })
    }
}

/// Those of these that have no outcome yet: only for them a job is run again.
///
/// # Errors
///
/// [`DeadLetterError`].
pub async fn without_outcome(
    conn: &mut PgConnection,
    subjects: &[JobSubject],
) -> Result<HashSet<JobSubject>, DeadLetterError> {
    let (mut order_ids, mut transaction_ids) = (Vec::new(), Vec::new());
    for subject in subjects {
        match subject {
            JobSubject::Order(id) => order_ids.push(*id),
            JobSubject::Transaction(id) => transaction_ids.push(*id),
        }
    }
    let orders = orders::unfinished_among(&mut *conn, &order_ids).await?;
    let transactions = transactions::unsettled_among(conn, &transaction_ids).await?;
    let orders = orders.into_iter().map(JobSubject::Order);
    Ok(orders.chain(transactions.into_iter().map(JobSubject::Transaction)).collect())
}
