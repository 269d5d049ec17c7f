//! Cron expressions as crontab(5) has them, in the words of the cron library, which takes some that
//! say nothing, and reads two restricted days otherwise.

/// The fields from the last to the first, each with its lowest and highest number.
const FIELDS: [(&str, u32, u32); 6] = [
    ("day of the week", 0, 7),
    ("month", 1, 12),
    ("day of the month", 1, 31),
    ("hour", 0, 23),
    ("minute", 0, 59),
    ("second", 0, 59),
];

/// The nicknames, each with what the library calls it.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "@hourly"),
    ("@daily", "@daily"),
    ("@midnight", "@daily"),
    ("@weekly", "@weekly"),
    ("@monthly", "@monthly"),
    ("@yearly", "@yearly"),
    ("@annually", "@annually"),
];

/// More characters than these are not repeated to people.
const MAX_SHOWN_CHARS: usize = 60;

/// The expression for the library, or the reason that it is none.
pub(super) fn standard(expression: &str) -> Result<String, String> {
    if expression.starts_with('@') {
        let nickname = expression.to_ascii_lowercase();
        let known = NICKNAMES.iter().find(|(name, _)| *name == nickname);
        return known.map(|(_, known)| (*known).to_owned()).ok_or_else(|| {
            let names = NICKNAMES.map(|(name, _)| name).join(", ");
            format!("the nicknames are {names}")
        });
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    for (field, bounds) in fields.iter().rev().zip(FIELDS) {
        field.split(',').try_for_each(|item| check(item, bounds))?;
    }
    match fields.as_slice() {
        [before @ .., day, month, weekday] if means_both(day, weekday) => {
            Ok([before, &[day, month, &format!("+{weekday}")]].concat().join(" "))
        }
        _ => Ok(expression.to_owned()),
    }
}

/// Of two restricted days either may match, but where one begins with a star both must: so
/// `0 0 */2 * 1` are the Mondays on odd days, as in the cron of Vixie and what came of it.
fn means_both(day: &str, weekday: &str) -> bool {
    let is_any = |field: &str| ["*", "?"].contains(&field);
    let has_star = day.starts_with('*') || weekday.starts_with('*');
    has_star && !is_any(day) && !is_any(weekday)
}

/// Looks at the numbers of an item of a list; names and signs are the library's.
fn check(item: &str, (name, lowest, highest): (&str, u32, u32)) -> Result<(), String> {
    if item.is_empty() {
        return Err(format!("the list of the {name} has an empty item"));
    }
    let (range, step) = item.split_once('/').unwrap_or((item, ""));
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let beyond = |value: &u32| !(lowest..=highest).contains(value);
    if let Some(value) = range.split('-').filter_map(number).find(beyond) {
        return Err(format!("{value} is no {name}, which goes from {lowest} to {highest}"));
    }
    match number(step) {
        Some(step) if step > highest => {
            Err(format!("a step of {step} is beyond the {name}, which goes up to {highest}"))
        }
        _ => Ok(()),
    }
}

/// The beginning of a text, for messages.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_with_a_step_restricts_together_with_the_other_day() {
        for (given, expected) in [
            ("0 0 */2 * 1", "0 0 */2 * +1"),
            ("0 0 1 * */2", "0 0 1 * +*/2"),
            ("5 0 0 */2 * */3", "5 0 0 */2 * +*/3"),
            ("0 0 1 * 1", "0 0 1 * 1"),
            ("0 0 * * 1", "0 0 * * 1"),
            ("0 0 */2 * *", "0 0 */2 * *"),
            ("0 0 */2 * ?", "0 0 */2 * ?"),
            ("0 0 1 * +1", "0 0 1 * +1"),
            ("@midnight", "@daily"),
            ("@Hourly", "@hourly"),
        ] {
            assert_eq!(standard(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_crontab_does_not_know_is_refused_by_the_field() {
        for (given, reason) in [
            ("1,,2 * * * *", "minute has an empty item"),
            ("* ,1 * * *", "hour has an empty item"),
            ("* * 1, * *", "day of the month has an empty item"),
            ("60 * * * *", "60 is no minute"),
            ("0 20-30 * * *", "30 is no hour"),
            ("0 0 0 * *", "0 is no day of the month"),
            ("0 0 * 1,13 *", "13 is no month"),
            ("0 0 * * 8", "8 is no day of the week"),
            ("60 0 0 * * *", "60 is no second"),
            ("*/100 * * * *", "a step of 100 is beyond the minute"),
            ("99999999999 * * * *", "is no minute"),
            ("@reboot", "@midnight"),
        ] {
            let refused = standard(given).unwrap_err();
            assert!(refused.contains(reason), "{given}: {refused}");
        }
    }

    #[test]
    fn messages_repeat_the_beginning_only() {
        assert_eq!(shortened("* * * * *"), "* * * * *");
        assert_eq!(shortened(&"é".repeat(40_000)).chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
