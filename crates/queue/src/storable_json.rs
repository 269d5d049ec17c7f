//! JSON that PostgreSQL does not store: its `jsonb` takes less than JSON has.

/// The deepest nesting that is sent: PostgreSQL reads it by recursion, within 2 MB of stack.
const MAX_DEPTH: usize = 1_000;

/// The most digits of a `numeric` before and behind its point.
const MAX_DIGITS: (i64, i64) = (131_072, 16_383);

/// The reason that PostgreSQL stores no such JSON. The words go on from "the arguments".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotStorable {
    /// A text has the character U+0000.
    #[error("have the character U+0000 in a text, which PostgreSQL does not store")]
    Nul,
    /// A text has one half of a surrogate pair, which is no character.
    #[error("have one half of a surrogate pair (\\ud800 to \\udfff) in a text")]
    LoneSurrogate,
    /// A number has more digits than a `numeric`.
    #[error("have a number with more digits than PostgreSQL stores")]
    Number,
    /// Objects and arrays are nested too deep.
    #[error("are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Makes sure that PostgreSQL stores this text, which is JSON, as `jsonb`.
///
/// # Errors
///
/// The reason that it does not.
pub(crate) fn check(json: &str) -> Result<(), NotStorable> {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => after_text(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => after_number(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                at + 1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            _ => at + 1,
        };
        if depth > MAX_DEPTH {
            return Err(NotStorable::TooDeep);
        }
    }
    Ok(())
}

/// The position after the text that goes on at `at`.
fn after_text(json: &[u8], mut at: usize) -> Result<usize, NotStorable> {
    loop {
        at = match json.get(at) {
            None | Some(b'"') => return Ok(at + 1),
            Some(b'\\') if json.get(at + 1) == Some(&b'u') => after_escape(json, at)?,
            Some(b'\\') => at + 2,
            Some(_) => at + 1,
        };
    }
}

/// The position after the escape at `at`, with the second one of a surrogate pair.
fn after_escape(json: &[u8], at: usize) -> Result<usize, NotStorable> {
    match code_unit(json, at) {
        Some(0) => Err(NotStorable::Nul),
        Some(0xd800..=0xdbff) => match code_unit(json, at + 6) {
            Some(0xdc00..=0xdfff) => Ok(at + 12),
            _ => Err(NotStorable::LoneSurrogate),
        },
        Some(0xdc00..=0xdfff) => Err(NotStorable::LoneSurrogate),
        _ => Ok(at + 6),
    }
}

/// The number in the escape `\u…` at `at`, if there is one.
fn code_unit(json: &[u8], at: usize) -> Option<u32> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The position after the number at `at`.
fn after_number(json: &[u8], at: usize) -> Result<usize, NotStorable> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let length = json[at..].iter().take_while(|byte| is_part(byte)).count();
    let number = std::str::from_utf8(&json[at..at + length]).unwrap_or_default();
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let count = |digits: &str| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    // One with so many digits that it does not fit is too large by far.
    let exponent = exponent.parse::<i32>().map(i64::from).map_err(|_| NotStorable::Number)?;
    let is_stored =
        count(whole) + exponent <= MAX_DIGITS.0 && count(fraction) - exponent <= MAX_DIGITS.1;
    if is_stored { Ok(at + length) } else { Err(NotStorable::Number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_does_not_store_is_told() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (json, expected) in [
            (r#"{"a":"\u0000"}"#, NotStorable::Nul),
            (r#"{"\u0000":1}"#, NotStorable::Nul),
            (r#"["\\\u0000"]"#, NotStorable::Nul),
            (r#""\ud800""#, NotStorable::LoneSurrogate),
            (r#""\ud800\u0041""#, NotStorable::LoneSurrogate),
            (r#""\uDFFF""#, NotStorable::LoneSurrogate),
            (r#""\ud800\n""#, NotStorable::LoneSurrogate),
            ("1e131072", NotStorable::Number),
            ("-1E+400000", NotStorable::Number),
            ("[0,1e-16384]", NotStorable::Number),
            ("1.5e-16383", NotStorable::Number),
            ("1e99999999999999999999", NotStorable::Number),
            (&"9".repeat(131_073), NotStorable::Number),
            (&deep(MAX_DEPTH + 1), NotStorable::TooDeep),
        ] {
            assert_eq!(check(json), Err(expected), "{}", &json[..json.len().min(40)]);
        }
        for json in [
            r#"{"a":"\\u0000 \" \u0001 \u0041 \ud83d\ude00"}"#,
            r#""\\\\u0000""#,
            "[1e131071,1e-16383,-0,1.50,null,true]",
            &deep(MAX_DEPTH),
            "[[],[],[]]",
        ] {
            assert_eq!(check(json), Ok(()), "{}", &json[..json.len().min(40)]);
        }
    }
}
