//! The first packet of a connection: what is said to the pooler, and which settings each
//! transaction is given instead.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Garbled, take_text};
use super::{POOLED, ROUTE_SETTING};

const PROTOCOL_3: u32 = 3 << 16;

/// Parameters that poolers refuse. The digits of floats have had a good default since PostgreSQL
/// 12, and the driver reads them in binary.
const NOT_PASSED_ON: [&[u8]; 2] = [b"options", b"extra_float_digits"];

/// The settings of a transaction, in two forms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Settings {
    /// One query without parameters, for what runs without `BEGIN`: local to the transaction of
    /// its group. As `set local` it would warn that there is no transaction block.
    pub(super) query: String,
    /// Statements to follow a `BEGIN`. A query there would take the snapshot of a repeatable read.
    pub(super) statements: Vec<String>,
}

/// Reads a startup packet, without its length, and gives the packet to send instead and the
/// settings that were in it.
pub(super) fn rewrite(packet: Bytes) -> Result<(BytesMut, Settings), Garbled> {
    let mut rest = packet;
    if rest.len() < 4 || rest.split_to(4)[..] != PROTOCOL_3.to_be_bytes() {
        return Err(Garbled("another version of it"));
    }
    let mut body = BytesMut::new();
    body.put_u32(PROTOCOL_3);
    let mut options = Bytes::new();
    loop {
        let name = take_text(&mut rest)?;
        if name.is_empty() {
            break;
        }
        let value = take_text(&mut rest)?;
        if &name[..] == b"options" {
            options = value;
        } else if !NOT_PASSED_ON.contains(&&name[..]) {
            for text in [&name, &value] {
                body.put_slice(text);
                body.put_u8(0);
            }
        }
    }
    body.put_u8(0);
    let mut startup = BytesMut::with_capacity(body.len() + 4);
    startup.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    startup.put_slice(&body);
    let options = std::str::from_utf8(&options).map_err(|_| Garbled("options in no UTF-8"))?;
    Ok((startup, Settings::of(options)?))
}

impl Settings {
    /// From options in the form `-c name=value -c name=value`, where a backslash makes the next
    /// character an ordinary one.
    fn of(options: &str) -> Result<Self, Garbled> {
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut words = words(options).into_iter();
        while let Some(word) = words.next() {
            let assignment = match word.strip_prefix("-c") {
                Some("") => words.next().unwrap_or_default(),
                Some(assignment) => assignment.to_owned(),
                None => return Err(Garbled("options other than -c")),
            };
            let Some((name, value)) = assignment.split_once('=') else {
                return Err(Garbled("an option without a value"));
            };
            let is_name_char = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if name.is_empty() || !name.chars().all(is_name_char) {
                return Err(Garbled("an option without a name"));
            }
            let value = if name == ROUTE_SETTING { POOLED } else { value };
            // The last wins, as on a server.
            settings.retain(|(known, _)| known != name);
            settings.push((name.to_owned(), value.to_owned()));
        }
        if !settings.iter().any(|(name, _)| name == ROUTE_SETTING) {
            settings.push((ROUTE_SETTING.to_owned(), POOLED.to_owned()));
        }
        let calls: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("set_config('{name}', {}, true)", literal(value)))
            .collect();
        let statements = settings
            .iter()
            .map(|(name, value)| format!("set local {name} = {}", literal(value)))
            .collect();
        Ok(Self { query: format!("select {}", calls.join(", ")), statements })
    }
}

fn words(options: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        let Some(word) = words.last_mut() else { break };
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() => words.push(String::new()),
            c => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// As a literal that means the same whatever `standard_conforming_strings` is.
fn literal(value: &str) -> String {
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(parameters: &[(&str, &str)]) -> Bytes {
        let mut packet = BytesMut::new();
        packet.put_u32(PROTOCOL_3);
        for (name, value) in parameters {
            for text in [name, value] {
                packet.put_slice(text.as_bytes());
                packet.put_u8(0);
            }
        }
        packet.put_u8(0);
        packet.freeze()
    }

    #[test]
    fn the_settings_are_taken_out_of_the_packet() {
        let sent = packet(&[
            ("user", "me"),
            ("extra_float_digits", "2"),
            ("options", r"-c jit=off -c surety.route=direct -c search_path=a\ b,\\'c -cjit=on "),
            ("TimeZone", "UTC"),
        ]);
        let (startup, settings) = rewrite(sent).unwrap();
        assert_eq!(&startup[4..], &packet(&[("user", "me"), ("TimeZone", "UTC")])[..]);
        assert_eq!(startup[..4], (startup.len() as u32).to_be_bytes());
        assert_eq!(
            settings.query,
            [
                r"select set_config('surety.route', E'pooler', true)",
                r"set_config('search_path', E'a b,\\''c', true)",
                r"set_config('jit', E'on', true)"
            ]
            .join(", ")
        );
        assert_eq!(settings.statements[0], "set local surety.route = E'pooler'");
        assert_eq!(settings.statements.len(), 3);
    }

    #[test]
    fn what_is_no_startup_packet_is_refused() {
        assert!(rewrite(Bytes::from_static(&[0, 2, 0, 0, 0])).is_err());
        assert!(rewrite(Bytes::from_static(&[0, 3, 0, 0, b'u'])).is_err());
        assert!(rewrite(packet(&[("user", "me"), ("options", "-c x'y=1")])).is_err());
    }
}
