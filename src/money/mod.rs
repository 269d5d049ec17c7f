//! Money: an [`Amount`], a [`Currency`], and the two together.
//!
//! Amounts are parsed from text by a grammar of our own and never pass through a float:
//! `rust_decimal` alone would take `1_000`, `+1`, `.5` and `1e2`, and round a 30th decimal without
//! a word. What a value of these types holds is therefore exactly what the sender wrote.

mod amount;
mod currency;

use std::fmt;

use rust_decimal::Decimal;

pub use self::amount::{AMOUNT_PATTERN, Amount, AmountError, MAX_DECIMALS, MAX_INTEGER_DIGITS};
pub use self::currency::{Currency, UnknownCurrency};

/// An amount in a currency, with no more decimals than the currency has.
///
/// `Display` gives the amount with exactly the currency's decimals, then the code: `12.50 EUR`,
/// `1500 JPY`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Money {
    amount: Amount,
    currency: Currency,
}

/// The reason that an amount and a currency do not go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoneyError {
    /// More decimals than the currency has. Trailing zeros count: `1.0` is no amount of yen, as a
    /// sender who writes it believes in a decimal that yen do not have.
    #[error("{currency} has {} decimals, the amount has {written}", currency.decimals())]
    TooManyDecimals {
        /// The currency.
        currency: Currency,
        /// The decimals of the amount, trailing zeros included.
        written: u32,
    },
    /// A stored number that is no amount: zero, negative or out of range.
    #[error("the stored number is not an amount")]
    NotAnAmount(#[from] AmountError),
    /// A stored code that is no currency.
    #[error("the stored code is not a currency")]
    NotACurrency(#[from] UnknownCurrency),
}

impl Money {
    /// An amount in a currency.
    ///
    /// # Errors
    ///
    /// [`MoneyError::TooManyDecimals`].
    pub fn new(amount: Amount, currency: Currency) -> Result<Self, MoneyError> {
        let written = amount.decimals();
        if written > currency.decimals() {
            return Err(MoneyError::TooManyDecimals { currency, written });
        }
        Ok(Self { amount, currency })
    }

    /// Money as the database keeps it: a number with four decimals, and a code.
    ///
    /// # Errors
    ///
    /// [`MoneyError`], when what is stored was not written by [`Money`].
    pub fn from_stored(amount: Decimal, currency: &str) -> Result<Self, MoneyError> {
        let currency = Currency::from_stored(currency)?;
        // The column's four decimals become the currency's; significant ones are never cut.
        let mut amount = amount.normalize();
        if amount.scale() < currency.decimals() {
            amount.rescale(currency.decimals());
        }
        Self::new(Amount::parse(&amount.to_string())?, currency)
    }

    /// The amount.
    pub fn amount(self) -> Amount {
        self.amount
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The amount as text, with exactly the decimals of the currency: `12.50`.
    pub fn amount_text(self) -> String {
        let mut amount = self.amount.as_decimal();
        amount.rescale(self.currency.decimals());
        amount.to_string()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount_text(), self.currency)
    }
}

/// The balance of an account: like [`Money`], but it may be zero, or negative where an account has
/// no floor, and is as large as the ledger allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    amount: Decimal,
    currency: Currency,
}

impl Balance {
    /// A balance as the database keeps it: a number with four decimals, and a code.
    ///
    /// # Errors
    ///
    /// [`MoneyError`], when it is no sum of [`Money`].
    pub fn from_stored(amount: Decimal, currency: &str) -> Result<Self, MoneyError> {
        let currency = Currency::from_stored(currency)?;
        let written = amount.normalize().scale();
        if written > currency.decimals() {
            return Err(MoneyError::TooManyDecimals { currency, written });
        }
        Ok(Self { amount, currency })
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Tells if there is nothing.
    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    /// The amount as text, with exactly the decimals of the currency: `-12.50`, `0.00`.
    pub fn amount_text(self) -> String {
        let mut amount = self.amount;
        amount.rescale(self.currency.decimals());
        // There is no negative nothing.
        if amount.is_zero() {
            amount.set_sign_positive(true);
        }
        amount.to_string()
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount_text(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(amount: &str, currency: &str) -> Result<Money, MoneyError> {
        let amount = Amount::parse(amount).expect("an amount");
        Money::new(amount, Currency::parse(currency).expect("a currency"))
    }

    #[test]
    fn an_amount_has_no_more_decimals_than_its_currency() {
        assert!(money("1.234", "KWD").is_ok());
        assert!(money("1.2345", "CLF").is_ok());
        for (amount, currency) in
            [("1.2345", "KWD"), ("1.005", "USD"), ("1.500", "USD"), ("1.5", "JPY"), ("1.0", "JPY")]
        {
            let refused = money(amount, currency);
            assert!(
                matches!(refused, Err(MoneyError::TooManyDecimals { .. })),
                "{amount} {currency}"
            );
        }
    }

    #[test]
    fn money_is_shown_with_the_decimals_of_its_currency() {
        for (amount, currency, shown) in [
            ("12.5", "EUR", "12.50 EUR"),
            ("12", "EUR", "12.00 EUR"),
            ("1500", "JPY", "1500 JPY"),
            ("0.5", "KWD", "0.500 KWD"),
            ("1", "CLF", "1.0000 CLF"),
        ] {
            assert_eq!(money(amount, currency).expect(shown).to_string(), shown);
        }
    }

    #[test]
    fn what_money_did_not_store_is_not_read_as_money() {
        let read = |amount: &str, currency| {
            Money::from_stored(amount.parse().expect("a decimal"), currency)
        };
        assert_eq!(read("1000.0000", "JPY").map(Money::amount_text), Ok("1000".to_owned()));
        assert!(read("1.5000", "JPY").is_err());
        assert!(read("0.0000", "USD").is_err());
        assert!(read("-1.0000", "USD").is_err());
        assert!(read("1.0000", "XXX").is_err());
    }

    proptest! {
        #[test]
        fn money_survives_the_database(
            integer in 0_i64..100_000_000_000_000,
            fraction in 0_i64..10_000,
            code in prop::sample::select(vec!["JPY", "USD", "KWD", "CLF"]),
        ) {
            let currency = Currency::parse(code).expect("a currency");
            let decimals = currency.decimals() as usize;
            let fraction = &format!("{fraction:04}")[..decimals];
            let text = match decimals {
                0 => integer.to_string(),
                _ => format!("{integer}.{fraction}"),
            };
            let Ok(amount) = Amount::parse(&text) else { return Ok(()) };
            let money = Money::new(amount, currency).expect("as many decimals as the currency has");
            prop_assert_eq!(money.amount_text(), text);

            let mut stored = money.amount().as_decimal();
            stored.rescale(4);
            prop_assert_eq!(Money::from_stored(stored, code), Ok(money));
        }
    }
}
