//! Currencies: those of ISO 4217 that are in use, and those that were.
//!
//! The table is ours, and only grows: a code that was stored once is read for ever, with the
//! decimals that its amounts were written with, whatever becomes of the currency. What is retired
//! moves from one list to the other.

use std::fmt;

/// The currencies in use, by their decimals, sorted. Without what is no money (XXX, XTS), and
/// metals and units of account (XAU, XDR), which have no minor unit.
const IN_USE: &[(u8, &[&str])] = &[
    (
        0,
        &[
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI",
            "VND", "VUV", "XAF", "XOF", "XPF",
        ],
    ),
    (
        2,
        &[
            "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT",
            "BMD", "BND", "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF",
            "CHE", "CHF", "CHW", "CNY", "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DKK", "DOP",
            "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD",
            "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES",
            "KGS", "KHR", "KPW", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL",
            "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR",
            "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR",
            "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP",
            "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP",
            "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "USN", "UYU", "UZS", "VED", "VES", "WST",
            "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
        ],
    ),
    (3, &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
    (4, &["CLF", "UYW"]),
];

/// The currencies that are no longer in use, by their decimals, sorted.
const RETIRED: &[(u8, &[&str])] = &[
    (0, &["BYR"]),
    (
        2,
        &[
            "ANG", "BGN", "CUC", "EEK", "HRK", "LTL", "LVL", "MRO", "SLL", "STD", "VEF", "ZMK",
            "ZWL",
        ],
    ),
];

/// A currency of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: &'static str,
    decimals: u8,
}

/// The text is not the code of a [`Currency`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the code of an ISO 4217 currency in use, such as USD")]
pub struct UnknownCurrency;

impl Currency {
    /// Reads the three-letter code, in upper case, of a currency in use: for new money.
    ///
    /// # Errors
    ///
    /// [`UnknownCurrency`].
    pub fn parse(code: &str) -> Result<Self, UnknownCurrency> {
        find(IN_USE, code).ok_or(UnknownCurrency)
    }

    /// Reads the code of a currency in use or retired: for money that is there already.
    ///
    /// # Errors
    ///
    /// [`UnknownCurrency`].
    pub fn from_stored(code: &str) -> Result<Self, UnknownCurrency> {
        find(IN_USE, code).or_else(|| find(RETIRED, code)).ok_or(UnknownCurrency)
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.code
    }

    /// The number of decimals of an amount in this currency: 0 for JPY, 2 for EUR, 3 for KWD, 4 for
    /// CLF.
    pub fn decimals(self) -> u32 {
        u32::from(self.decimals)
    }
}

fn find(lists: &[(u8, &[&'static str])], code: &str) -> Option<Currency> {
    lists.iter().find_map(|(decimals, codes)| {
        let found = codes.binary_search(&code).ok()?;
        Some(Currency { code: codes[found], decimals: *decimals })
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_was_accepted_once_is_read_for_ever_and_no_longer_accepted() {
        for (code, decimals) in [
            ("ANG", 2),
            ("BGN", 2),
            ("BYR", 0),
            ("CUC", 2),
            ("HRK", 2),
            ("LTL", 2),
            ("SLL", 2),
            ("ZWL", 2),
        ] {
            assert_eq!(Currency::parse(code), Err(UnknownCurrency), "{code}");
            let stored = Currency::from_stored(code).expect(code);
            assert_eq!((stored.code(), stored.decimals()), (code, decimals));
        }
    }

    /// A newer table of the crate's has to be entered here, and no code may leave.
    #[test]
    fn the_table_has_all_that_the_standard_has() {
        use iso_currency::IntoEnumIterator as _;

        for theirs in iso_currency::Currency::iter() {
            let ours = Currency::from_stored(theirs.code());
            match theirs.exponent().filter(|_| !theirs.is_special()) {
                None => assert_eq!(ours, Err(UnknownCurrency), "{theirs:?}"),
                Some(decimals) => {
                    assert_eq!(ours.map(|it| it.decimals()), Ok(u32::from(decimals)), "{theirs:?}");
                    // VES was re-denominated, and both codes are on the list of those in use.
                    let is_in_use = theirs.is_superseded().is_none() || theirs.code() == "VES";
                    assert_eq!(Currency::parse(theirs.code()).is_ok(), is_in_use, "{theirs:?}");
                }
            }
        }
    }

    #[test]
    fn the_table_only_grows() {
        let all = [IN_USE, RETIRED].concat();
        assert!(all.iter().all(|(_, codes)| codes.is_sorted()), "they are searched by halving");
        let mut codes: Vec<&str> = all.iter().flat_map(|(_, codes)| *codes).copied().collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!((codes.len(), count), (178, 178));
        assert!(codes.iter().all(|code| code.len() == 3), "{codes:?}");
    }
}
