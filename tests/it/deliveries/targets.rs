//! Whom webhooks may reach: ranges of addresses, forms of URLs, answers of name servers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use proptest::prelude::{any, proptest};
use proptest::{prop_assert, prop_assert_eq};
use surety::deliveries::address_rules::{is_allowed, is_public};
use surety::deliveries::{AttemptError, Guard, Reach, TargetError, TargetUrl};

use super::receiver::{OK, Receiver};
use super::{PATIENT, ScriptedNames, client_of, deliver};

/// A public address, which no test connects to.
const PUBLIC: &str = "93.184.215.14";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_ends_of_every_refused_range_are_refused_and_their_neighbours_are_not() {
    for (before, first, last, after) in [
        (None, "0.0.0.0", "0.255.255.255", Some("1.0.0.0")),
        (Some("9.255.255.255"), "10.0.0.0", "10.255.255.255", Some("11.0.0.0")),
        (Some("100.63.255.255"), "100.64.0.0", "100.127.255.255", Some("100.128.0.0")),
        (Some("126.255.255.255"), "127.0.0.0", "127.255.255.255", Some("128.0.0.0")),
        (Some("169.253.255.255"), "169.254.0.0", "169.254.255.255", Some("169.255.0.0")),
        (Some("172.15.255.255"), "172.16.0.0", "172.31.255.255", Some("172.32.0.0")),
        (Some("191.255.255.255"), "192.0.0.0", "192.0.0.255", Some("192.0.1.0")),
        (Some("192.0.1.255"), "192.0.2.0", "192.0.2.255", Some("192.0.3.0")),
        (Some("192.88.98.255"), "192.88.99.0", "192.88.99.255", Some("192.88.100.0")),
        (Some("192.167.255.255"), "192.168.0.0", "192.168.255.255", Some("192.169.0.0")),
        (Some("198.17.255.255"), "198.18.0.0", "198.19.255.255", Some("198.20.0.0")),
        (Some("198.51.99.255"), "198.51.100.0", "198.51.100.255", Some("198.51.101.0")),
        (Some("203.0.112.255"), "203.0.113.0", "203.0.113.255", Some("203.0.114.0")),
        (Some("223.255.255.255"), "224.0.0.0", "239.255.255.255", None),
        (None, "240.0.0.0", "255.255.255.255", None),
        (None, "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000::")),
        (
            Some("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            "2001::",
            "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2001:200::"),
        ),
        (
            Some("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2001:db9::"),
        ),
        (
            Some("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            "2002::",
            "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2003::"),
        ),
        (
            Some("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("3fff:1000::"),
        ),
        (
            Some("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            "4000::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
        ),
    ] {
        for refused in [first, last] {
            assert!(!is_public(ip(refused)), "{refused}");
        }
        for public in [before, after].into_iter().flatten() {
            assert!(is_public(ip(public)), "{public}");
        }
    }
}

#[test]
fn ipv4_in_disguise_is_seen() {
    for refused in [
        "::ffff:127.0.0.1",         // mapped
        "::ffff:93.184.215.14",     // mapped: no host has it
        "::127.0.0.1",              // compatible
        "::ffff:0:127.0.0.1",       // SIIT
        "::5efe:10.0.0.1",          // ISATAP
        "2a00::5efe:10.0.0.1",      // ISATAP, of a global prefix
        "2a00::200:5efe:127.0.0.1", // ISATAP, unique
        "64:ff9b::127.0.0.1",       // NAT64
        "64:ff9b::169.254.169.254", // NAT64
        "64:ff9b:1::93.184.215.14", // NAT64, of a network's own
        "64:ff9b::1:93.184.215.14", // not in 64:ff9b::/96
        "2002:7f00:1::",            // 6to4
        "2001:0:7f00:1::",          // Teredo
        "100::1",                   // discard
        "5f00::1",                  // segment routing
        "fd00:ec2::254",            // metadata
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "::1",
        "::",
    ] {
        assert!(!is_public(ip(refused)), "{refused}");
    }
    for public in ["64:ff9b::93.184.215.14", "2a00::5efe:93.184.215.14", "2606:4700::1111"] {
        assert!(is_public(ip(public)), "{public}");
    }
}

#[test]
fn the_setting_for_private_networks_does_not_open_the_metadata_of_clouds() {
    for allowed in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "::1",
        "fd12::1",
        PUBLIC,
    ] {
        assert!(is_allowed(ip(allowed), Reach::PrivateToo), "{allowed}");
    }
    for refused in [
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",
    ] {
        assert!(!is_allowed(ip(refused), Reach::PrivateToo), "{refused}");
    }
}

#[tokio::test]
async fn an_address_is_seen_in_whatever_form_it_is_written() {
    let guard = Guard::with_names(Reach::PublicOnly, ScriptedNames::new(&[]));
    for url in [
        "http://127.0.0.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://①②⑦.0.0.1/",
        "http://127。0.0.1/",
        "http:10.0.0.1",
        "http:\\\\10.0.0.1\\x",
        "http://10.0.0.1./",
        "http://1\t0.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fd00:ec2::254]:8443/",
        "http://169.254.169.254/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost:8000/",
        "http://0/",
        "http://%31%30.0.0.1/",
    ] {
        assert_eq!(guard.check(url).await, Err(TargetError::RefusedAddress), "{url}");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_sent_to_is_refused_with_the_reason() {
    let guard = Guard::with_names(Reach::PublicOnly, ScriptedNames::new(&[&[PUBLIC]]));
    let long = format!("https://example.com/{}", "x".repeat(2_048));
    // Each of these characters is three bytes of UTF-8, and nine escaped.
    let longer_escaped = format!("https://example.com/{}", "€".repeat(600));
    for (url, expected) in [
        ("", TargetError::Malformed),
        ("example.com/hooks", TargetError::Malformed),
        ("https://", TargetError::Malformed),
        ("https://./", TargetError::Malformed),
        ("https://[fe80::1%25eth0]/", TargetError::Malformed),
        ("https://a b/", TargetError::Malformed),
        ("ftp://example.com/", TargetError::Scheme),
        ("file:///etc/passwd", TargetError::Scheme),
        ("gopher://example.com/", TargetError::Scheme),
        ("https://user@example.com/", TargetError::UserInfo),
        ("https://user:password@example.com/", TargetError::UserInfo),
        ("https://u:p@10.0.0.1@example.com/", TargetError::UserInfo),
        ("https://example.com:0/", TargetError::Port),
        ("http://example.com:25/", TargetError::Port),
        ("http://example.com:22/", TargetError::Port),
        (long.as_str(), TargetError::TooLong),
        (longer_escaped.as_str(), TargetError::TooLong),
    ] {
        assert_eq!(guard.check(url).await, Err(expected), "{url}");
    }
    for (url, stored) in [
        ("https://example.com", "https://example.com/"),
        ("https://EXAMPLE.com:443/a?b=c#d", "https://example.com/a?b=c"),
        ("http://example.com:8443/a b", "http://example.com:8443/a%20b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ] {
        assert_eq!(guard.check(url).await.unwrap().as_str(), stored);
    }
}

#[tokio::test]
async fn one_private_address_among_public_ones_refuses_the_name() {
    for (answer, expected) in [
        (&[PUBLIC, "127.0.0.1"][..], Err(TargetError::RefusedAddress)),
        (&["10.0.0.1", PUBLIC], Err(TargetError::RefusedAddress)),
        (&[PUBLIC, "fd00::1"], Err(TargetError::RefusedAddress)),
        (&["fe80::1"], Err(TargetError::RefusedAddress)),
        (&[], Err(TargetError::NotFound)),
        (&[PUBLIC, "2606:4700::1111"], Ok(2)),
    ] {
        let guard = Guard::with_names(Reach::PublicOnly, ScriptedNames::new(&[answer]));
        let target: TargetUrl = "https://example.com/".parse().unwrap();
        let vetted = guard.resolve(&target).await.map(|addresses| addresses.len());
        assert_eq!(vetted, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn no_search_suffix_of_this_machine_is_tried() {
    let names = ScriptedNames::new(&[&[PUBLIC]]);
    let guard = Guard::with_names(Reach::PublicOnly, names.clone());
    guard.check("https://db/").await.unwrap();
    guard.check("https://example.com./").await.unwrap();
    assert_eq!(names.asked(), ["db.", "example.com."]);
}

#[tokio::test]
async fn a_name_that_turns_private_after_the_check_is_refused_when_it_is_sent_to() {
    let receiver = Receiver::start(&[]).await;
    let names = ScriptedNames::new(&[&[PUBLIC], &["127.0.0.1"]]);
    let guard = Guard::with_names(Reach::PublicOnly, names);
    let url = receiver.url.replace("127.0.0.1", "rebinding.example");
    guard.check(&url).await.unwrap();
    let attempt = deliver(&client_of(guard), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!((attempt.status, attempt.error), (None, Some(AttemptError::RefusedAddress)));
    assert_eq!(attempt.address, None, "what is there is not said");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn whoever_connects_asks_for_no_name_a_second_time() {
    let receiver = Receiver::start(&[OK]).await;
    // A second question would be answered with an address at which nobody is.
    let names = ScriptedNames::new(&[&["127.0.0.1"], &["127.0.0.9"]]);
    let guard = Guard::with_names(Reach::PrivateToo, names.clone());
    let url = receiver.url.replace("127.0.0.1", "pinned.example");
    let attempt = deliver(&client_of(guard), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!(attempt.status, Some(200), "{attempt:?}");
    assert_eq!(names.asked().len(), 1);
    let host = url["http://".len()..].split('/').next().unwrap();
    assert_eq!(receiver.seen()[0]["host"], host);
}

#[tokio::test]
async fn localhost_is_this_machine_where_that_is_allowed() {
    let receiver = Receiver::start(&[OK]).await;
    // Name servers are not asked: these would never answer.
    let guard = Guard::with_names(Reach::PrivateToo, ScriptedNames::new(&[]));
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let attempt = deliver(&client_of(guard), &url, "msg_1", PATIENT).await.attempt;
    assert_eq!(attempt.status, Some(200), "{attempt:?}");
}

#[tokio::test]
async fn the_systems_resolver_is_asked() {
    let guard = Guard::new(Reach::PublicOnly);
    // The domain never has a name (RFC 6761, section 6.4), and many machines have no name server.
    let result = guard.check("https://nobody.invalid/").await;
    assert!(
        matches!(result, Err(TargetError::NotFound | TargetError::LookupTimeout)),
        "{result:?}"
    );
}

#[tokio::test]
async fn name_servers_that_do_not_answer_do_not_hold_a_delivery() {
    let guard = Guard::with_names(Reach::PublicOnly, ScriptedNames::new(&[]));
    let begun = Instant::now();
    let client = client_of(guard);
    let timeout = Duration::from_millis(200);
    let attempt = deliver(&client, "https://example.com/", "msg_1", timeout).await.attempt;
    assert_eq!(attempt.error, Some(AttemptError::Dns));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn neither_the_path_nor_the_query_of_a_url_is_shown() {
    let target: TargetUrl = "https://example.com:8443/secret?key=secret".parse().unwrap();
    assert_eq!(target.to_string(), "https://example.com:8443");
    assert!(!format!("{target:?}").contains("secret"));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "(https?://)?\\PC*") {
        if let Ok(target) = text.parse::<TargetUrl>() {
            prop_assert!(target.as_str().starts_with("http"));
            let again: TargetUrl = target.as_str().parse().unwrap();
            prop_assert_eq!(again, target);
        }
    }

    #[test]
    fn any_path_and_query_of_visible_characters_can_be_sent(text in "[!-~]{0,40}") {
        let target: TargetUrl = format!("https://example.com/{text}").parse().unwrap();
        prop_assert!(target.as_str().is_ascii());
    }

    #[test]
    fn any_address_is_judged_alike_in_all_its_forms(bits in any::<u32>()) {
        let address = Ipv4Addr::from_bits(bits);
        let [a, b, c, d] = address.octets();
        let guard = Guard::with_names(Reach::PublicOnly, ScriptedNames::new(&[]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for host in [
            address.to_string(),
            format!("{bits}"),
            format!("{bits:#x}"),
            format!("0{a:o}.0{b:o}.{c}.{d:#x}"),
            format!("{a}.{}", bits & 0x00ff_ffff),
            format!("[64:ff9b::{address}]"),
        ] {
            let result = runtime.block_on(guard.check(&format!("https://{host}/")));
            prop_assert_eq!(result.is_ok(), is_public(address.into()), "{}", host);
        }
        for disguised in [format!("[::ffff:{address}]"), format!("[::{address}]")] {
            let result = runtime.block_on(guard.check(&format!("https://{disguised}/")));
            prop_assert_eq!(result, Err(TargetError::RefusedAddress));
        }
    }
}
