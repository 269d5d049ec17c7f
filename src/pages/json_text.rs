//! JSON laid out for people, from its text: numbers stay exactly what they are.

/// Shorter values stay in one line.
const ONE_LINE_CHARS: usize = 72;

/// The same JSON, with a line for each member of what does not fit into one.
pub(super) fn indented(json: &str) -> String {
    let compact = compact(json);
    match compact.chars().count() <= ONE_LINE_CHARS {
        true => compact,
        false => laid_out(&compact),
    }
}

/// Tokens with a space after each comma and colon.
pub(super) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 16);
    each_char(json, |c, is_in_string| match c {
        c if is_in_string => text.push(c),
        c if c.is_ascii_whitespace() => {}
        ',' | ':' => text.extend([c, ' ']),
        c => text.push(c),
    });
    text
}

fn laid_out(compact: &str) -> String {
    let mut text = String::with_capacity(compact.len() * 2);
    let mut depth = 0_usize;
    let mut last = ' ';
    let mut is_after_comma = false;
    each_char(compact, |c, is_in_string| {
        if std::mem::take(&mut is_after_comma) && c == ' ' {
            return;
        }
        match c {
            c if is_in_string => text.push(c),
            '{' | '[' => {
                depth += 1;
                text.push(c);
                break_line(&mut text, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                // Nothing stands in it.
                if matches!(last, '{' | '[') {
                    text.truncate(text.trim_end().len());
                } else {
                    break_line(&mut text, depth);
                }
                text.push(c);
            }
            ',' => {
                text.push(c);
                break_line(&mut text, depth);
                is_after_comma = true;
            }
            c => text.push(c),
        }
        if c != ' ' {
            last = c;
        }
    });
    text
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

/// Calls with each character, and whether it belongs to a string.
fn each_char(json: &str, mut call: impl FnMut(char, bool)) {
    let (mut is_in_string, mut is_escaped) = (false, false);
    for c in json.chars() {
        let is_quote = c == '"' && !is_escaped;
        call(c, is_in_string || is_quote);
        is_escaped = is_in_string && c == '\\' && !is_escaped;
        if is_quote {
            is_in_string = !is_in_string;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_one_line_and_exact() {
        let json = r#"{"amount":10000000000000000000000.10,"n":9007199254740993}"#;
        let spaced = r#"{"amount": 10000000000000000000000.10, "n": 9007199254740993}"#;
        assert_eq!(indented(json), spaced);
        assert_eq!(
            indented(r#"{ "a" : "x, \" y: {" , "b":[] }"#),
            r#"{"a": "x, \" y: {", "b": []}"#
        );
    }

    #[test]
    fn what_is_long_has_a_line_for_each_member() {
        let long = "x".repeat(80);
        let json = format!(r#"{{"a":"{long}","b":[1,{{}}],"c":{{"d":null}}}}"#);
        let lines = format!(
            "{{\n  \"a\": \"{long}\",\n  \"b\": [\n    1,\n    {{}}\n  ],\n  \"c\": {{\n    \
             \"d\": null\n  }}\n}}"
        );
        assert_eq!(indented(&json), lines);
    }
}
