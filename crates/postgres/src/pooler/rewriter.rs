//! The changes to each message between the driver and a pooler.
//!
//! The driver sends groups of messages, each ended by a `Sync`, or a single `Query`. As long as a
//! group is under way, the pooler stays with one server; between groups it stays only while a
//! transaction is open. So each group is made complete in itself:
//!
//! ```text
//! driver                      to the pooler
//! Parse(s1) Describe(s1) Sync Parse("") Describe("") Sync
//! Bind(s1) Execute Sync       [settings] Parse("") Bind("") Execute Sync
//! Query(begin)                Query(begin; set local …)
//! ```
//!
//! Only the unnamed statement is ever used on a server, and in every group that uses it, it is
//! parsed anew before. What the server says to messages of our own is taken out of its answers.

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use super::sql::{begins_a_transaction, needs_a_session};
use super::startup::Settings;
use super::wire::{self, Garbled, Message, take_text};

/// The statements that the driver has prepared: by name, the rest of its `Parse`, which is the text
/// and the types of the parameters.
type Statements = HashMap<Bytes, Bytes>;

/// Stands for whatever the driver has not prepared, or not with success: the server must refuse it,
/// and neither its unnamed statement nor one of another program's may be taken for it.
const NEVER_PREPARED: &[u8] = b"surety: never prepared";

/// The state of one connection of the driver's.
pub(super) struct Rewriter {
    settings: Settings,
    statements: Statements,
    /// The state by the last answer: no transaction, an open one, or a failed one.
    transaction: Transaction,
    group: Group,
    /// The answers that are due, in order.
    due: VecDeque<Due>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transaction {
    None,
    Open,
    Failed,
}

/// The group that the driver is sending.
#[derive(Default)]
struct Group {
    begun: bool,
    has_settings: bool,
    /// The driver's statement that the unnamed one is now.
    parsed: Option<Bytes>,
    /// It was refused by us: the rest of it is not sent.
    refused: bool,
}

/// An answer that is due.
struct Due {
    to: Request,
    /// The driver did not ask for it.
    hidden: bool,
}

enum Request {
    Parse {
        name: Bytes,
    },
    Bind,
    Describe,
    Execute,
    Close,
    Sync,
    /// Ends like a `Sync`. After the first completion, so many are not the driver's.
    Query {
        completions: usize,
        added: usize,
    },
}

impl Rewriter {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            statements: HashMap::new(),
            transaction: Transaction::None,
            group: Group::default(),
            due: VecDeque::new(),
        }
    }

    /// Tells whether a message of the driver's may be handled now. The first of a group has to wait
    /// for the answer to the group before, which says whether a transaction is open.
    pub(super) fn may_take(&self, message: &Message) -> bool {
        let is_within_a_group = matches!(message.tag(), b'd' | b'c' | b'f' | b'p' | b'X');
        self.group.begun || is_within_a_group || self.due.is_empty()
    }

    /// Handles a message of the driver's: what to send to the server, or to answer at once.
    pub(super) fn driver_sends(
        &mut self,
        message: &Message,
        to_server: &mut BytesMut,
        to_driver: &mut BytesMut,
    ) -> Result<(), Garbled> {
        if self.group.refused {
            if message.tag() == b'S' {
                self.group = Group::default();
                wire::put(to_driver, b'Z', &[&[self.transaction.letter()]]);
            }
            return Ok(());
        }
        match message.tag() {
            b'Q' => self.query(message, to_server, to_driver)?,
            b'P' => self.parse(message, to_server, to_driver)?,
            b'B' => self.bind(message, to_server)?,
            b'D' => self.describe(message, to_server)?,
            b'E' => {
                to_server.put_slice(message.bytes());
                self.expect(Request::Execute, false);
            }
            b'C' => self.close(message, to_server)?,
            b'S' => {
                to_server.put_slice(message.bytes());
                self.expect(Request::Sync, false);
                self.group = Group::default();
            }
            b'H' => {
                self.group.begun = true;
                to_server.put_slice(message.bytes());
            }
            b'd' | b'c' | b'f' | b'p' | b'X' => to_server.put_slice(message.bytes()),
            _ => return Err(Garbled("a message that the driver does not send")),
        }
        Ok(())
    }

    fn expect(&mut self, to: Request, hidden: bool) {
        self.group.begun = true;
        self.due.push_back(Due { to, hidden });
    }

    fn query(
        &mut self,
        message: &Message,
        to_server: &mut BytesMut,
        to_driver: &mut BytesMut,
    ) -> Result<(), Garbled> {
        let sql = take_text(&mut message.body())?;
        let is_outside = self.transaction == Transaction::None && !self.group.begun;
        self.group = Group::default();
        if is_outside && needs_a_session(&sql) {
            refuse(to_driver);
            wire::put(to_driver, b'Z', &[&[self.transaction.letter()]]);
            return Ok(());
        }
        let mut added = 0;
        if is_outside && begins_a_transaction(&sql) {
            // Nothing in a BEGIN can hold a semicolon but its end.
            let end = sql.iter().position(|byte| *byte == b';').unwrap_or(sql.len());
            let settings = self.settings.statements.join(";");
            added = self.settings.statements.len();
            wire::put(
                to_server,
                b'Q',
                &[&sql[..end], b";", settings.as_bytes(), &sql[end..], b"\0"],
            );
        } else {
            to_server.put_slice(message.bytes());
        }
        self.due.push_back(Due { to: Request::Query { completions: 0, added }, hidden: false });
        Ok(())
    }

    fn parse(
        &mut self,
        message: &Message,
        to_server: &mut BytesMut,
        to_driver: &mut BytesMut,
    ) -> Result<(), Garbled> {
        let mut body = message.body();
        let name = take_text(&mut body)?;
        let is_outside = self.transaction == Transaction::None && !self.group.begun;
        if is_outside && needs_a_session(&take_text(&mut body.clone())?) {
            refuse(to_driver);
            self.group.refused = true;
            return Ok(());
        }
        self.statements.insert(name.clone(), body);
        self.put_parse(&name, false, to_server);
        Ok(())
    }

    /// Makes the unnamed statement of the server this one of the driver's.
    fn put_parse(&mut self, name: &Bytes, hidden: bool, to_server: &mut BytesMut) {
        let Some(statement) = self.statements.get(name) else { return };
        wire::put(to_server, b'P', &[b"\0", statement]);
        self.group.parsed = Some(name.clone());
        self.expect(Request::Parse { name: name.clone() }, hidden);
    }

    /// The name under which the server knows the statement in this group.
    fn ensure_parsed(&mut self, name: &Bytes, to_server: &mut BytesMut) -> &'static [u8] {
        if !self.statements.contains_key(name) {
            return NEVER_PREPARED;
        }
        if self.group.parsed.as_ref() != Some(name) {
            self.put_parse(name, true, to_server);
        }
        b""
    }

    fn bind(&mut self, message: &Message, to_server: &mut BytesMut) -> Result<(), Garbled> {
        let mut body = message.body();
        let portal = take_text(&mut body)?;
        let name = take_text(&mut body)?;
        if self.transaction == Transaction::None && !self.group.has_settings {
            self.put_settings(to_server);
        }
        let known_as = self.ensure_parsed(&name, to_server);
        wire::put(to_server, b'B', &[&portal, b"\0", known_as, b"\0", &body]);
        self.expect(Request::Bind, false);
        Ok(())
    }

    /// The settings, as a query in the same implicit transaction.
    fn put_settings(&mut self, to_server: &mut BytesMut) {
        wire::put(to_server, b'P', &[b"\0", self.settings.query.as_bytes(), b"\0\0\0"]);
        self.expect(Request::Parse { name: Bytes::new() }, true);
        // No parameters, no formats.
        wire::put(to_server, b'B', &[b"\0\0", &[0; 6]]);
        self.expect(Request::Bind, true);
        wire::put(to_server, b'E', &[b"\0", &[0; 4]]);
        self.expect(Request::Execute, true);
        self.group.has_settings = true;
        self.group.parsed = None;
    }

    fn describe(&mut self, message: &Message, to_server: &mut BytesMut) -> Result<(), Garbled> {
        let mut body = message.body();
        if body.first() == Some(&b'S') {
            let name = take_text(&mut body.split_off(1))?;
            let known_as = self.ensure_parsed(&name, to_server);
            wire::put(to_server, b'D', &[b"S", known_as, b"\0"]);
        } else {
            to_server.put_slice(message.bytes());
        }
        self.expect(Request::Describe, false);
        Ok(())
    }

    fn close(&mut self, message: &Message, to_server: &mut BytesMut) -> Result<(), Garbled> {
        let mut body = message.body();
        if body.first() == Some(&b'S') {
            let name = take_text(&mut body.split_off(1))?;
            self.statements.remove(&name);
            self.group.parsed = None;
            wire::put(to_server, b'C', &[b"S\0"]);
        } else {
            to_server.put_slice(message.bytes());
        }
        self.expect(Request::Close, false);
        Ok(())
    }

    /// Handles a message of the server's: appends it to what the driver is sent, or not.
    pub(super) fn server_sends(
        &mut self,
        message: &Message,
        to_driver: &mut BytesMut,
    ) -> Result<(), Garbled> {
        let is_for_driver = match message.tag() {
            // Notices and changed parameters may come at any time.
            b'N' | b'S' => true,
            // Somebody else's: a session that listened was given on by the pooler.
            b'A' => false,
            b'E' => {
                self.fail();
                true
            }
            b'Z' => {
                self.transaction = Transaction::of(message.body().first())?;
                while let Some(due) = self.due.pop_front() {
                    if matches!(due.to, Request::Sync | Request::Query { .. }) {
                        break;
                    }
                }
                true
            }
            tag => self.answer(tag),
        };
        if is_for_driver {
            to_driver.put_slice(message.bytes());
        }
        Ok(())
    }

    /// After an error, the server says nothing more before the answer to `Sync` or `Query`.
    fn fail(&mut self) {
        while let Some(due) = self.due.front() {
            match &due.to {
                Request::Sync | Request::Query { .. } => return,
                // The driver will not use what could not be prepared.
                Request::Parse { name } if !due.hidden => {
                    self.statements.remove(name);
                }
                _ => {}
            }
            self.due.pop_front();
        }
    }

    /// An answer to the message at the front: whether the driver asked for it.
    fn answer(&mut self, tag: u8) -> bool {
        // Before the first group, while the connection is made.
        let Some(due) = self.due.front_mut() else { return true };
        let is_last = match &mut due.to {
            Request::Query { completions, added } => {
                if tag != b'C' {
                    return true;
                }
                *completions += 1;
                return *completions == 1 || *completions > *added + 1;
            }
            Request::Parse { .. } => tag == b'1',
            Request::Bind => tag == b'2',
            Request::Describe => tag == b'T' || tag == b'n',
            Request::Execute => matches!(tag, b'C' | b'I' | b's'),
            Request::Close => tag == b'3',
            Request::Sync => false,
        };
        let hidden = due.hidden;
        if is_last {
            self.due.pop_front();
        }
        !hidden
    }
}

impl Transaction {
    fn of(letter: Option<&u8>) -> Result<Self, Garbled> {
        match letter {
            Some(b'I') => Ok(Self::None),
            Some(b'T') => Ok(Self::Open),
            Some(b'E') => Ok(Self::Failed),
            _ => Err(Garbled("an unknown state of the transaction")),
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::None => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }
}

fn refuse(to_driver: &mut BytesMut) {
    wire::put_error(
        to_driver,
        "ERROR",
        "0A000",
        "this needs a session of its own, which a connection pooler does not give: set \
         APP_DATABASE_DIRECT_URL",
    );
}

#[cfg(test)]
mod tests {
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
                    let close =
                        [message(b'C', &[b"S", name(n).as_bytes(), b"\0"]), message(b'S', &[])];
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
}
