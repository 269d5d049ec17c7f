//! Any sequence of what the driver does, against a pooler that gives each group outside a
//! transaction to a server on which another client has just left a statement of its own.

use proptest::prelude::*;

use super::*;

const SETTINGS_QUERY: &str = "select set_config('x', E'1', true)";

/// A step of the driver; statements by number.
#[derive(Clone, Copy, Debug)]
enum Step {
    Prepare(u8),
    Run(u8),
    RunUnprepared(u8),
    Close(u8),
    Begin,
    Commit,
    Ping,
    Listen,
    /// A statement that the server refuses: when it is parsed, or when it is run.
    PrepareBad,
    RunBad,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4u8).prop_map(Step::Prepare),
        (0..4u8).prop_map(Step::Run),
        (0..4u8).prop_map(Step::Run),
        (0..4u8).prop_map(Step::RunUnprepared),
        (0..4u8).prop_map(Step::Close),
        Just(Step::Begin),
        Just(Step::Commit),
        Just(Step::Ping),
        Just(Step::Listen),
        Just(Step::PrepareBad),
        Just(Step::RunBad),
    ];
    proptest::collection::vec(step, 1..40)
}

fn message(tag: u8, parts: &[&[u8]]) -> Message {
    let mut bytes = BytesMut::new();
    wire::put(&mut bytes, tag, parts);
    Message::take(&mut bytes).unwrap().unwrap()
}

fn messages(mut bytes: BytesMut) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = Message::take(&mut bytes).unwrap() {
        messages.push(message);
    }
    assert!(bytes.is_empty());
    messages
}

/// A server behind the pooler, as much of it as matters.
#[derive(Default)]
struct Server {
    unnamed: Option<String>,
    in_transaction: bool,
    has_failed: bool,
    is_skipping: bool,
    has_settings: bool,
    /// Statements run, settings aside, each with whether it had the settings.
    run: Vec<(String, bool)>,
}

impl Server {
    fn handle(&mut self, message: &Message, out: &mut BytesMut) {
        let mut body = message.body();
        if self.is_skipping && message.tag() != b'S' {
            return;
        }
        match message.tag() {
            b'P' => {
                assert_eq!(take_text(&mut body).unwrap(), "", "a name is left on a server");
                let text = String::from_utf8(take_text(&mut body).unwrap().to_vec()).unwrap();
                if text == "bad to parse" || self.has_failed {
                    return self.fail(out);
                }
                self.unnamed = Some(text);
                wire::put(out, b'1', &[]);
            }
            b'B' => {
                take_text(&mut body).unwrap();
                let name = take_text(&mut body).unwrap();
                if !name.is_empty() || self.unnamed.is_none() || self.has_failed {
                    return self.fail(out);
                }
                wire::put(out, b'2', &[]);
            }
            b'D' => {
                assert_eq!(take_text(&mut body).unwrap(), "S");
                wire::put(out, b't', &[&[0, 0]]);
                wire::put(out, b'n', &[]);
            }
            b'E' => {
                let text = self.unnamed.clone().unwrap();
                if text == "bad to run" {
                    return self.fail(out);
                }
                if text == SETTINGS_QUERY {
                    self.has_settings = true;
                    wire::put(out, b'D', &[&[0, 0]]);
                } else {
                    self.run.push((text, self.has_settings));
                }
                wire::put(out, b'C', &[b"SELECT 1\0"]);
            }
            b'C' => {
                self.unnamed = None;
                wire::put(out, b'3', &[]);
            }
            b'S' => self.ready(out),
            b'Q' => {
                let text = take_text(&mut body).unwrap();
                for statement in std::str::from_utf8(&text).unwrap().split(';') {
                    match statement {
                        "begin" => self.in_transaction = true,
                        "commit" => self.in_transaction = false,
                        "set local x = E'1'" => self.has_settings = true,
                        other => panic!("not expected: {other}"),
                    }
                    wire::put(out, b'C', &[b"DONE\0"]);
                }
                self.unnamed = None;
                self.ready(out);
            }
            tag => panic!("not expected: {}", char::from(tag)),
        }
    }

    fn fail(&mut self, out: &mut BytesMut) {
        self.has_failed = self.in_transaction;
        self.is_skipping = true;
        wire::put_error(out, "ERROR", "XX000", "refused");
    }

    fn ready(&mut self, out: &mut BytesMut) {
        self.is_skipping = false;
        self.has_failed &= self.in_transaction;
        self.has_settings &= self.in_transaction;
        let state = match (self.in_transaction, self.has_failed) {
            (false, _) => b'I',
            (true, false) => b'T',
            (true, true) => b'E',
        };
        wire::put(out, b'Z', &[&[state]]);
    }
}

/// The driver, the rewriter and the server.
struct World {
    rewriter: Rewriter,
    server: Server,
}

impl World {
    /// Sends a group; the tags of what the driver is answered.
    fn send(&mut self, group: &[Message]) -> String {
        if !self.server.in_transaction {
            self.server.unnamed = Some("somebody else's".to_owned());
        }
        let (mut to_server, mut to_driver) = (BytesMut::new(), BytesMut::new());
        for message in group {
            assert!(self.rewriter.may_take(message));
            self.rewriter.driver_sends(message, &mut to_server, &mut to_driver).unwrap();
        }
        let mut answers = BytesMut::new();
        for message in messages(to_server) {
            self.server.handle(&message, &mut answers);
        }
        for answer in messages(answers) {
            self.rewriter.server_sends(&answer, &mut to_driver).unwrap();
        }
        assert!(self.rewriter.due.is_empty());
        messages(to_driver).iter().map(|message| char::from(message.tag())).collect()
    }

    fn prepare(&mut self, name: &str, text: &str) -> String {
        self.send(&[
            message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"]),
            message(b'D', &[b"S", name.as_bytes(), b"\0"]),
            message(b'S', &[]),
        ])
    }

    fn run(&mut self, name: &str) -> String {
        self.send(&[
            message(b'B', &[b"\0", name.as_bytes(), b"\0", &[0; 6]]),
            message(b'E', &[b"\0", &[0; 4]]),
            message(b'C', &[b"P\0"]),
            message(b'S', &[]),
        ])
    }

    fn step(&mut self, step: Step, prepared: &mut [bool; 4]) {
        let failed = self.server.has_failed;
        let name = |n: u8| format!("s{n}");
        let text = |n: u8| format!("text {n}");
        match step {
            Step::Prepare(n) => {
                let answer = self.prepare(&name(n), &text(n));
                assert_eq!(answer, if failed { "EZ" } else { "1tnZ" });
                prepared[usize::from(n)] = !failed;
            }
            Step::Run(n) if prepared[usize::from(n)] => {
                let before = self.server.run.len();
                let answer = self.run(&name(n));
                assert_eq!(answer, if failed { "EZ" } else { "2C3Z" });
                let expected: &[(String, bool)] = if failed { &[] } else { &[(text(n), true)] };
                assert_eq!(&self.server.run[before..], expected);
            }
            Step::Run(n) => assert_eq!(self.run(&name(n)), "EZ"),
            Step::RunUnprepared(n) => {
                let before = self.server.run.len();
                self.prepare("", &text(n));
                let answer = self.run("");
                assert_eq!(answer, if failed { "EZ" } else { "2C3Z" });
                assert_eq!(self.server.run.len() - before, usize::from(!failed));
            }
            Step::Close(n) => {
                let close = [message(b'C', &[b"S", name(n).as_bytes(), b"\0"]), message(b'S', &[])];
                assert_eq!(self.send(&close), "3Z");
                prepared[usize::from(n)] = false;
            }
            Step::Begin => assert_eq!(self.send(&[message(b'Q', &[b"begin\0"])]), "CZ"),
            Step::Commit => assert_eq!(self.send(&[message(b'Q', &[b"commit\0"])]), "CZ"),
            Step::Ping => assert_eq!(self.send(&[message(b'S', &[])]), "Z"),
            Step::Listen => {
                let refused = self.prepare("l", "LISTEN channel");
                assert_eq!(
                    refused,
                    if self.server.in_transaction && !failed { "1tnZ" } else { "EZ" }
                );
            }
            Step::PrepareBad => {
                assert_eq!(self.prepare("bad", "bad to parse"), "EZ");
                assert!(!self.rewriter.statements.contains_key(&b"bad"[..]));
            }
            Step::RunBad => {
                if self.prepare("r", "bad to run") == "1tnZ" {
                    assert_eq!(self.run("r"), "2EZ");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_run_finds_its_own_statement_and_the_settings(steps in steps()) {
        let settings = Settings {
            query: SETTINGS_QUERY.to_owned(),
            statements: vec!["set local x = E'1'".to_owned()],
        };
        let mut world = World { rewriter: Rewriter::new(settings), server: Server::default() };
        let mut prepared = [false; 4];
        for step in steps {
            world.step(step, &mut prepared);
        }
    }
}
