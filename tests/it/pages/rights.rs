//! Every action on money and on what others are told, asked for by those who may not, and by forms
//! that are not ours.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::visitor::Visitor;
use crate::support::{TestApi, send};

const NONE: &str = "00000000-0000-7000-8000-000000000000";
const EVENT: &str = "evt_00000000000000000000000000000000";

/// The actions, and whether an operator may do them.
fn actions() -> Vec<(String, bool)> {
    let of_endpoint = |action: &str, may| (format!("/ui/endpoints/{NONE}/{action}"), may);
    vec![
        ("/ui/ledger/verify".to_owned(), true),
        ("/ui/conflicts/1/keep".to_owned(), false),
        ("/ui/conflicts/1/correct".to_owned(), false),
        of_endpoint("enable", true),
        of_endpoint("disable", true),
        of_endpoint("test", true),
        of_endpoint("replay", true),
        of_endpoint("rotate-secret", false),
        (format!("/ui/deliveries/{NONE}/{EVENT}/retry"), true),
    ]
}

#[tokio::test]
async fn an_action_needs_a_form_of_ours_a_sign_in_and_the_right() {
    let api = TestApi::start().await;
    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    let mut admin = Visitor::with_key(&api, &key(&api, ActsAs::Admin).await).await;
    let fields = [("reason", "a test"), ("replay", "failed")];
    for (path, operator_may) in actions() {
        let stranger = send(Visitor::new(&api).form(&path, "00", &fields)).await;
        assert_eq!(stranger.status, 401, "{path}");
        assert_eq!(admin.send_form(&path, "00", &fields).await.status, 403, "{path}");
        assert_eq!(admin.request("GET", &path).send().await.unwrap().status().as_u16(), 405);
        let by_operator = operator.act("/ui/ledger", &path, &fields).await.status;
        match operator_may {
            true => assert_ne!(by_operator, 403, "{path}"),
            false => assert_eq!(by_operator, 403, "{path}"),
        }
        // There is nothing of this name, or it was done.
        let by_admin = admin.act("/ui/ledger", &path, &fields).await.status;
        assert!([303, 404].contains(&by_admin), "{path}: {by_admin}");
    }
}
