//! Money: an [`Amount`], a [`Currency`], and the two together.
//!
//! Amounts are parsed from text by a grammar of our own and never pass through a float:
//! `rust_decimal` alone would take `1_000`, `+1`, `.5` and `1e2`, and round a 30th decimal without
//! a word. What a value of these types holds is therefore exactly what the sender wrote.

use std::fmt;

use rust_decimal::Decimal;

/// The most digits before the decimal point: what `numeric(18, 4)` holds.
pub const MAX_INTEGER_DIGITS: usize = 14;
/// The most digits after the decimal point: what `numeric(18, 4)` holds, and what CLF, the currency
/// with most, has.
pub const MAX_DECIMALS: usize = 4;
/// The grammar of [`Amount::parse`] as a regular expression, for schemas.
pub const AMOUNT_PATTERN: &str = r"^(0|[1-9][0-9]{0,13})(\.[0-9]{1,4})?$";

/// A positive amount, of no currency yet: at most 14 digits before the point and 4 after it.
///
/// Two amounts are equal when they are the same number (`1000.0` and `1000.00`), whatever decimals
/// were written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Amount(Decimal);

/// The reason that a text is not an [`Amount`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AmountError {
    /// The text is not `digits[.digits]`.
    #[error("an amount is written as digits with an optional decimal point, such as 12.50")]
    Malformed,
    /// A well-written number that is zero or negative.
    #[error("an amount must be greater than zero")]
    NotPositive,
    /// More than [`MAX_INTEGER_DIGITS`] digits before the decimal point.
    #[error("an amount has at most {MAX_INTEGER_DIGITS} digits before the decimal point")]
    TooLarge,
    /// More than [`MAX_DECIMALS`] digits after the decimal point.
    #[error("an amount has at most {MAX_DECIMALS} decimals")]
    TooManyDecimals,
}

impl Amount {
    /// Reads `digits[.digits]` in ASCII: no plus sign, exponent, separator or space, no leading
    /// zero as in `01`, at least one digit on either side of a point.
    ///
    /// # Errors
    ///
    /// [`AmountError`]; what is a number but a negative one, or zero, is
    /// [`AmountError::NotPositive`].
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (integer, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(AmountError::Malformed),
            Some(parts) => parts,
            None => (digits, ""),
        };
        let has_leading_zero = integer.len() > 1 && integer.starts_with('0');
        if integer.is_empty() || has_leading_zero || !are_digits(integer) || !are_digits(fraction) {
            return Err(AmountError::Malformed);
        }
        if negative {
            return Err(AmountError::NotPositive);
        }
        if integer.len() > MAX_INTEGER_DIGITS {
            return Err(AmountError::TooLarge);
        }
        if fraction.len() > MAX_DECIMALS {
            return Err(AmountError::TooManyDecimals);
        }
        // 18 digits at most, so an i64 holds the number of smallest units.
        let units = integer
            .bytes()
            .chain(fraction.bytes())
            .fold(0_i64, |units, digit| units * 10 + i64::from(digit - b'0'));
        if units == 0 {
            return Err(AmountError::NotPositive);
        }
        let scale = u32::try_from(fraction.len()).expect("at most MAX_DECIMALS");
        Ok(Self(Decimal::new(units, scale)))
    }

    /// The number, with the decimals that were written.
    pub fn as_decimal(self) -> Decimal {
        self.0
    }

    /// The number of decimals that were written, trailing zeros included.
    pub fn decimals(self) -> u32 {
        self.0.scale()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A currency of ISO 4217 that is in use and has a defined number of decimals.
///
/// Not among them: what was replaced by another currency (HRK), what is no money (XXX, XTS), and
/// metals and units of account (XAU, XDR), which have no minor unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// The text is not the code of a [`Currency`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the code of an ISO 4217 currency in use, such as USD")]
pub struct UnknownCurrency;

impl Currency {
    /// Reads a three-letter code in upper case.
    ///
    /// # Errors
    ///
    /// [`UnknownCurrency`].
    pub fn parse(code: &str) -> Result<Self, UnknownCurrency> {
        let currency = iso_currency::Currency::from_code(code).ok_or(UnknownCurrency)?;
        let is_special = currency.is_special();
        let is_replaced = currency.is_superseded().is_some() && !is_still_in_use(currency);
        if is_special || is_replaced || currency.exponent().is_none() {
            return Err(UnknownCurrency);
        }
        Ok(Self(currency))
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// The number of decimals of an amount in this currency: 0 for JPY, 2 for EUR, 3 for KWD, 4 for
    /// CLF.
    pub fn decimals(self) -> u32 {
        self.0.exponent().map(u32::from).expect("parse refuses currencies without")
    }
}

/// VES was re-denominated, and both codes are on the ISO's list of currencies in use.
fn is_still_in_use(currency: iso_currency::Currency) -> bool {
    currency == iso_currency::Currency::VES
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

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
        let currency = Currency::parse(currency)?;
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
        let mut amount = self.amount.0;
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
        let currency = Currency::parse(currency)?;
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
    fn amounts_are_digits_with_an_optional_point() {
        for text in ["1", "1.5", "1.50", "100.00", "0.0001", "0.5", "12345678901234.5678"] {
            assert_eq!(Amount::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_in_the_grammar_is_malformed() {
        for text in [
            "", " ", " 1", "1 ", "+1", "1_000", "1__0", "1_", "1.", ".5", ".", "1._5", "1,000",
            "0x10", "1e2", "1E2", "1e400", "１", "١", "1.５", "01", "00012.50", "00", "--1", "-",
            "-.5", "-01", "NaN", "Infinity", "1.2.3", "1\0", "1\n", "null", "-1e2",
        ] {
            assert_eq!(Amount::parse(text), Err(AmountError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn zero_and_negative_amounts_are_not_positive() {
        for text in ["0", "0.0", "0.0000", "-0", "-0.0", "-1", "-12.50"] {
            assert_eq!(Amount::parse(text), Err(AmountError::NotPositive), "{text:?}");
        }
    }

    #[test]
    fn amounts_are_bounded_on_both_sides_of_the_point() {
        assert_eq!(Amount::parse("123456789012345"), Err(AmountError::TooLarge));
        assert_eq!(Amount::parse("9223372036854775808"), Err(AmountError::TooLarge));
        assert_eq!(Amount::parse("1.00000"), Err(AmountError::TooManyDecimals));
        let long = format!("1.{}", "3".repeat(30));
        assert_eq!(Amount::parse(&long), Err(AmountError::TooManyDecimals));
    }

    #[test]
    fn amounts_are_equal_as_numbers() {
        assert_eq!(Amount::parse("1000.0"), Amount::parse("1000.00"));
        assert_ne!(Amount::parse("1000.0"), Amount::parse("1000.01"));
    }

    #[test]
    fn currencies_know_their_decimals() {
        for (code, decimals) in [
            ("USD", 2),
            ("JPY", 0),
            ("KWD", 3),
            ("CLF", 4),
            ("UYW", 4),
            ("VES", 2),
            ("XOF", 0),
            ("XCD", 2),
        ] {
            assert_eq!(Currency::parse(code).expect(code).decimals(), decimals, "{code}");
        }
    }

    #[test]
    fn what_is_no_currency_in_use_is_unknown() {
        for code in [
            "",
            "usd",
            "Usd",
            " USD",
            "USD ",
            "US",
            "USDT",
            "USD\0",
            "USÐ",
            "ＵＳＤ",
            "ZZZ",
            "DEM",
            "HRK",
            "ZWL",
            "XXX",
            "XTS",
            "XAU",
            "XDR",
            "XAD",
            "XBA",
            "840",
        ] {
            assert_eq!(Currency::parse(code), Err(UnknownCurrency), "{code:?}");
        }
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

    /// The grammar once more, written in another way: what the parser must agree with.
    fn is_in_the_grammar(text: &str) -> bool {
        let mut parts = text.split('.');
        let integer = parts.next().unwrap_or_default();
        let fraction = parts.next();
        let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        digits(integer)
            && (integer == "0" || !integer.starts_with('0'))
            && integer.len() <= MAX_INTEGER_DIGITS
            && fraction.is_none_or(|fraction| digits(fraction) && fraction.len() <= MAX_DECIMALS)
            && parts.next().is_none()
            && text.chars().any(|c| ('1'..='9').contains(&c))
    }

    proptest! {
        #[test]
        fn the_parser_accepts_exactly_the_grammar(text in "[-+0-9._eE, １\u{660}]{0,22}") {
            prop_assert_eq!(Amount::parse(&text).is_ok(), is_in_the_grammar(&text));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            prop_assert_eq!(Amount::parse(&text).is_ok(), is_in_the_grammar(&text));
        }

        #[test]
        fn an_amount_is_what_was_written(text in r"(0|[1-9][0-9]{0,13})(\.[0-9]{1,4})?") {
            match Amount::parse(&text) {
                Ok(amount) => prop_assert_eq!(amount.to_string(), text),
                Err(error) => prop_assert_eq!(error, AmountError::NotPositive),
            }
        }

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
