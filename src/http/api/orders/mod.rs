//! Orders: the common part of deposits, withdrawals, transfers and refunds.
//!
//! - [`OrderService`]: places, finds and lists orders.
//! - [`PlaceOrders`]: the rows of orders that share a commit.
//! - [`OrderQuery`]: the parameters of every list of orders.
//! - `bodies`: orders on the wire. `answers`: the answers to those who place, read and list them.
//!
//! The operations themselves are in [`super::deposits`], [`super::withdrawals`],
//! [`super::transfers`] and [`super::user_money`].

mod answers;
mod bodies;
mod list_query;
mod placement;
mod service;

pub use self::answers::OrdersListed;
pub use self::answers::{FindOrder, IDEMPOTENT_REPLAYED, ListOrders, OrderAnswer, OrderFound};
pub use self::bodies::{OrderOut, OrderPage, OrderType};
pub use self::list_query::OrderQuery;
pub use self::placement::{OrderRequest, PlaceOrders, Placed};
pub use self::service::OrderService;
