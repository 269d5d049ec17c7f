//! The reason that a parameter is refused, in words that say what would be right. poem-openapi
//! tells what went wrong inside it.

use std::collections::HashMap;

/// The values of each type of parameter that has a list of them, by the name of the type.
pub type Choices = HashMap<String, Vec<String>>;

/// The sentence for poem-openapi's `reason`.
pub fn parameter_reason(reason: &str, choices: &Choices) -> String {
    if let Some(rule) = reason.strip_prefix("verification failed. ") {
        return in_words(rule).unwrap_or_else(|| format!("must keep to {rule}"));
    }
    let parsed = reason.strip_prefix("failed to parse \"").and_then(|it| it.split_once("\": "));
    let Some((type_name, said)) = parsed else { return reason.to_owned() };
    // The parameter may be absent, which is told once more.
    let said = said.split(" (occurred while parsing").next().unwrap_or(said);
    if let Some(values) = choices.get(type_name) {
        return format!("must be one of {}", values.join(", "));
    }
    match type_name {
        "string(uuid)" => "must be a UUID".to_owned(),
        "boolean" => "must be true or false".to_owned(),
        integer if integer.starts_with("integer") => "must be a whole number".to_owned(),
        _ => said.to_owned(),
    }
}

/// `minimum(1, exclusive: false)` in words.
fn in_words(rule: &str) -> Option<String> {
    let (name, bound) = rule.split_once('(')?;
    let bound = bound.split([',', ')']).next()?;
    Some(match name {
        "minimum" => format!("must be at least {bound}"),
        "maximum" => format!("must be at most {bound}"),
        "minLength" => format!("must have at least {bound} characters"),
        "maxLength" => format!("must have at most {bound} characters"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_would_be_right() {
        let choices =
            Choices::from([("Color".to_owned(), ["red", "blue"].map(str::to_owned).to_vec())]);
        for (reason, expected) in [
            ("verification failed. minimum(1, exclusive: false)", "must be at least 1"),
            ("verification failed. maxLength(10)", "must have at most 10 characters"),
            ("verification failed. pattern(\"^a$\")", "must keep to pattern(\"^a$\")"),
            (
                "failed to parse \"integer(uint16)\": invalid digit found in string (occurred \
                 while parsing \"optional_integer(uint16)\")",
                "must be a whole number",
            ),
            (
                "failed to parse \"Color\": Expect a valid enumeration value. (occurred while \
                 parsing \"optional_Color\")",
                "must be one of red, blue",
            ),
            ("failed to parse \"string(uuid)\": invalid length", "must be a UUID"),
            ("failed to parse \"string(date-time)\": must be a moment", "must be a moment"),
            ("parameter is missing", "parameter is missing"),
        ] {
            assert_eq!(parameter_reason(reason, &choices), expected, "{reason}");
        }
    }
}
