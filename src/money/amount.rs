//! Amounts: positive numbers in a grammar of our own, and none that a float has touched.

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    }
}
