//! What deposits, withdrawals and transfers have in common: each is an order.
//!
//! - [`OrderDesk`]: takes orders, and shows them.
//! - [`PlaceOrders`]: what is written when one is taken.
//! - [`OrderQuery`]: the parameters of every list of orders.
//! - `bodies`: what orders look like. `answers`: what those who ask for them can be answered.
//!
//! The operations themselves are in [`super::deposits`], [`super::withdrawals`],
//! [`super::transfers`] and [`super::user_money`].

mod answers;
mod bodies;
mod desk;
mod list_query;
mod placement;

pub use self::answers::OrdersListed;
pub use self::answers::{FindOrder, IDEMPOTENT_REPLAYED, ListOrders, OrderAnswer, OrderFound};
pub use self::bodies::{OrderOut, OrderPage, OrderType};
pub use self::desk::OrderDesk;
pub use self::list_query::OrderQuery;
pub use self::placement::{OrderRequest, PlaceOrders, Placed};
