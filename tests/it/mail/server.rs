//! A mail server in the test's process. The protocol is `mailin`'s, and so is the opinion of what a
//! client may say; sockets, TLS and misbehaviour are added here.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use mailin::response::{AUTH_OK, INVALID_CREDENTIALS, OK};
use mailin::{Action, AuthMechanism, Handler, Response, Session, SessionBuilder};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(super) const USER: &str = "surety@mail.example";
pub(super) const PASSWORD: &str = "hunter2#/@ä";

/// A mail that the server has taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) data: Vec<u8>,
    /// Who has signed in, and whether the connection was encrypted.
    pub(super) user: Option<String>,
}

/// What happened, and what is to happen.
#[derive(Default)]
pub(super) struct State {
    pub(super) taken: Vec<Taken>,
    /// Senders that were named, whatever became of it.
    pub(super) senders: usize,
    pub(super) connections: usize,
    open: usize,
    pub(super) most_open: usize,
    /// Answers to the next senders, recipients and ends of mails, before it is all OK again.
    pub(super) to_senders: VecDeque<Response>,
    pub(super) to_recipients: VecDeque<Response>,
    pub(super) to_mails: VecDeque<Response>,
    /// Keeps the answer to the end of a mail, once it was taken.
    pub(super) is_holding: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The way in which a server speaks TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tls {
    None,
    Upgraded,
    FromTheBeginning,
}

/// The server; it listens until the test ends.
pub(super) struct MailServer {
    pub(super) address: SocketAddr,
    /// The certificate that clients have to trust, as PEM.
    pub(super) certificate: String,
    shared: Arc<Shared>,
}

impl MailServer {
    pub(super) fn start() -> Self {
        Self::start_with(Tls::None)
    }

    pub(super) fn start_with(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, config) = (Arc::clone(&theirs), Arc::clone(&config));
                std::thread::spawn(move || {
                    shared.count(1);
                    let _ = serve(stream.unwrap(), tls, config, &shared);
                    shared.count(-1);
                });
            }
        });
        Self { address, certificate: cert.pem(), shared }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// Gives the answers that were kept.
    pub(super) fn release(&self) {
        self.state().is_holding = false;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn count(&self, change: isize) {
        let mut state = self.state.lock().unwrap();
        state.open = state.open.checked_add_signed(change).unwrap();
        state.most_open = state.most_open.max(state.open);
        state.connections += usize::from(change > 0);
    }
}

fn serve(
    mut stream: TcpStream,
    tls: Tls,
    config: Arc<ServerConfig>,
    shared: &Arc<Shared>,
) -> std::io::Result<()> {
    let mut builder = SessionBuilder::new("mail.example");
    if tls != Tls::None {
        builder.enable_start_tls().enable_auth(AuthMechanism::Plain);
    }
    let handler = Conversation { shared: Arc::clone(shared), mail: None, user: None };
    let mut session = builder.build(IpAddr::V4(Ipv4Addr::LOCALHOST), handler);
    let connection = || ServerConnection::new(config).map_err(std::io::Error::other);
    if tls == Tls::FromTheBeginning {
        let mut stream = StreamOwned::new(connection()?, stream);
        session.tls_active();
        session.greeting().write_to(&mut stream)?;
        return converse(&mut session, stream).map(|_| ());
    }
    session.greeting().write_to(&mut stream)?;
    let Some(stream) = converse(&mut session, stream)? else { return Ok(()) };
    session.tls_active();
    converse(&mut session, StreamOwned::new(connection()?, stream)).map(|_| ())
}

/// Answers line by line; gives the stream back when it is to be encrypted.
fn converse<S: Read + Write>(
    session: &mut Session<Conversation>,
    stream: S,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let answer = session.process(&line);
        answer.write_to(stream.get_mut())?;
        stream.get_mut().flush()?;
        match answer.action {
            Action::Reply | Action::NoReply => {}
            Action::Close => return Ok(None),
            Action::UpgradeTls => return Ok(Some(stream.into_inner())),
        }
    }
}

struct Conversation {
    shared: Arc<Shared>,
    mail: Option<Taken>,
    user: Option<String>,
}

impl Conversation {
    fn mail(&mut self) -> &mut Taken {
        self.mail.as_mut().expect("mailin has seen a sender")
    }
}

impl Handler for Conversation {
    fn mail(&mut self, _: IpAddr, _: &str, from: &str) -> Response {
        let mut state = self.shared.state.lock().unwrap();
        state.senders += 1;
        let answer = state.to_senders.pop_front().unwrap_or(OK);
        drop(state);
        let (from, user) = (from.to_owned(), self.user.clone());
        self.mail = Some(Taken { from, to: Vec::new(), data: Vec::new(), user });
        answer
    }

    fn rcpt(&mut self, to: &str) -> Response {
        let answer = self.shared.state.lock().unwrap().to_recipients.pop_front().unwrap_or(OK);
        if !answer.is_error {
            self.mail().to.push(to.to_owned());
        }
        answer
    }

    fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.mail().data.extend(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let mail = self.mail().clone();
        let mut state = self.shared.state.lock().unwrap();
        let answer = state.to_mails.pop_front().unwrap_or(OK);
        if !answer.is_error {
            state.taken.push(mail);
        }
        let patience = Duration::from_secs(60);
        let held = self.shared.changed.wait_timeout_while(state, patience, |it| it.is_holding);
        drop(held.unwrap());
        answer
    }

    fn auth_plain(&mut self, _: &str, user: &str, password: &str) -> Response {
        if (user, password) != (USER, PASSWORD) {
            return INVALID_CREDENTIALS;
        }
        self.user = Some(user.to_owned());
        AUTH_OK
    }
}
