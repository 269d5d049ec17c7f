//! Deliveries over TLS: whose certificate is believed.

use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use surety::deliveries::{Attempt, AttemptError, Client, Guard, Limits, Reach, Transport};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};

use super::receiver::{self, OK, Receiver};
use super::{PATIENT, ScriptedNames, client, deliver};

/// A receiver with a certificate for `hooks.example` that it made itself, and its port.
async fn start() -> (u16, CertificateDer<'static>) {
    let names = vec!["hooks.example".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let answers = Arc::new(Mutex::new(vec![OK.to_owned(), OK.to_owned()]));
            tokio::spawn(receiver::serve(stream, answers, Arc::default()));
        }
    });
    (port, cert.der().clone())
}

/// What comes of a delivery from somebody who believes this certificate.
async fn attempt(believed: CertificateDer<'static>, url: &str) -> Attempt {
    let mut roots = RootCertStore::empty();
    roots.add(believed).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let guard = Guard::with_names(Reach::PrivateToo, ScriptedNames::new(&[&["127.0.0.1"]]));
    let client = Client::new(Transport::with_tls(guard, Limits::default(), tls));
    deliver(&client, url, "msg_1", PATIENT).await.attempt
}

#[tokio::test]
async fn a_certificate_for_the_name_is_believed_if_its_issuer_is() {
    let (port, certificate) = start().await;
    let (_, foreign) = start().await;
    let url = format!("https://hooks.example:{port}/");
    let believed = attempt(certificate.clone(), &url).await;
    assert_eq!((believed.status, &*believed.answer), (Some(200), "ok"), "{believed:?}");
    for (certificate, url) in [
        (foreign, url.clone()),
        (certificate.clone(), url.replace("hooks.example", "other.example")),
        (certificate, url.replace("hooks.example", "127.0.0.1")),
    ] {
        let attempt = attempt(certificate, &url).await;
        assert_eq!((attempt.status, attempt.error), (None, Some(AttemptError::Tls)), "{url}");
        assert!(attempt.detail.unwrap().contains("certificate"));
    }
}

#[tokio::test]
async fn an_issuer_that_the_system_does_not_know_is_not_believed() {
    let (port, _) = start().await;
    let attempt = deliver(&client(), &format!("https://localhost:{port}/"), "msg_1", PATIENT).await;
    assert_eq!(attempt.attempt.error, Some(AttemptError::Tls));
}

#[tokio::test]
async fn a_receiver_without_tls_is_told_from_one_that_is_not_there() {
    let receiver = Receiver::start(&[OK]).await;
    let url = receiver.url.replace("http:", "https:");
    let attempt = deliver(&client(), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!((attempt.status, attempt.error), (None, Some(AttemptError::Tls)));
}
