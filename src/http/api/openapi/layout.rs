//! JSON as people lay it out: an object or array that fits in a line is one line, so that a changed
//! header, parameter or reference is one changed line in a review, and its name stands beside it.

use serde_json::Value;

const MAX_COLUMNS: usize = 100;
const INDENT: &str = "  ";

/// The text of a document.
pub(super) fn json(document: &Value) -> String {
    let mut text = String::new();
    write(document, 0, 0, &mut text);
    text + "\n"
}

/// Writes a value `depth` levels deep, of whose first line `used` columns are taken beside it.
fn write(value: &Value, depth: usize, used: usize, text: &mut String) {
    let line = one_line(value);
    if INDENT.len() * depth + used + line.chars().count() <= MAX_COLUMNS {
        return text.push_str(&line);
    }
    let (open, close, members) = match value {
        Value::Object(fields) => {
            let keyed = |(name, value): (&String, _)| (format!("{}: ", quoted(name)), value);
            ('{', '}', fields.iter().map(keyed).collect::<Vec<(String, &Value)>>())
        }
        Value::Array(items) => ('[', ']', items.iter().map(|it| (String::new(), it)).collect()),
        _ => return text.push_str(&line),
    };
    text.push(open);
    for (position, (key, member)) in members.iter().enumerate() {
        let comma = if position + 1 < members.len() { "," } else { "" };
        text.push('\n');
        text.push_str(&INDENT.repeat(depth + 1));
        text.push_str(key);
        write(member, depth + 1, key.chars().count() + comma.len(), text);
        text.push_str(comma);
    }
    text.push('\n');
    text.push_str(&INDENT.repeat(depth));
    text.push(close);
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let field =
                |(name, value): (&String, _)| format!("{}: {}", quoted(name), one_line(value));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(name: &str) -> String {
    Value::from(name).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_in_a_line_is_one() {
        let long = "x".repeat(90);
        let document = json!({ "a": { "$ref": "#/b" }, "none": {}, "list": [1, "two"], "c": long });
        let lines = [
            "{",
            r##"  "a": { "$ref": "#/b" },"##,
            r#"  "none": {},"#,
            r#"  "list": [1, "two"],"#,
            &format!(r#"  "c": "{long}""#),
            "}\n",
        ];
        assert_eq!(json(&document), lines.join("\n"));
    }

    #[test]
    fn a_line_has_a_hundred_columns_at_most_with_its_comma() {
        let of = |chars: usize| json!([{ "key": "x".repeat(chars) }, 1]);
        // Two of the indent, eleven around the text, and the comma.
        assert!(json(&of(84)).lines().nth(1).is_some_and(|line| line.len() == 100));
        assert_eq!(json(&of(85)).lines().nth(1), Some("  {"));
    }
}
