//! Every page and action of the table of routes, asked for by each role, and by forms that are not
//! ours.
//!
//! The table is read from its source, so that a new line of it cannot be forgotten here.

use surety::identity::api_keys::ActsAs;

use super::access::key;
use super::visitor::Visitor;
use crate::support::{TestApi, send};

const NONE: &str = "00000000-0000-7000-8000-000000000000";

/// The actions that only an admin may do, and no others. Of many jobs at once, what is needed
/// depends on what they are: `access.rs`.
const ADMINS: [&str; 7] = [
    "/ui/jobs/:id/reveal",
    "/ui/jobs/:id/redrive",
    "/ui/jobs/:id/write-off",
    "/ui/queues/:name/unblock",
    "/ui/conflicts/:id/keep",
    "/ui/conflicts/:id/correct",
    "/ui/endpoints/:id/rotate-secret",
];

/// A page or an action.
#[derive(Clone, Debug)]
struct Routed {
    path: String,
    is_action: bool,
    right: String,
}

/// The table of routes, as it is written.
fn routed() -> Vec<Routed> {
    let source = include_str!("../../../src/pages/routes.rs");
    let mut all = Vec::new();
    for row in source.split(".at(").skip(1) {
        let Some((_, rest)) = row.split_once('"') else { continue };
        let (path, handlers) = rest.split_once('"').unwrap();
        for (call, is_action) in [("page(site, ", false), ("action(site, ", true)] {
            if let Some((_, rest)) = handlers.split_once(call) {
                let right = rest.split_once(',').unwrap().0.to_owned();
                all.push(Routed { path: path.to_owned(), is_action, right });
            }
        }
    }
    let written = source.matches("page(site, ").count() + source.matches("action(site, ").count();
    assert_eq!(all.len(), written, "a line of the table is written in a way of its own");
    all
}

impl Routed {
    /// The path, about what there is none of.
    fn about_nothing(&self) -> String {
        let segments = self.path.split('/').map(|segment| match segment {
            ":id" if self.path.contains("/jobs/") || self.path.contains("/operations/") => "404",
            ":id" if self.path.contains("/conflicts/") || self.path.contains("/audit/") => "404",
            ":id" => NONE,
            ":name" if self.path.contains("/deliveries/") => "evt_00000000000000000000000000000000",
            ":name" => "absent",
            other => other,
        });
        segments.collect::<Vec<_>>().join("/")
    }
}

#[test]
fn no_action_is_for_viewers_and_what_is_for_admins_is_said_here() {
    for route in routed() {
        let is_for_admins = ADMINS.contains(&route.path.as_str());
        let expected = match (route.is_action, is_for_admins) {
            (false, _) => "Read",
            (true, false) => "Operate",
            (true, true) => "Decide",
        };
        assert_eq!(route.right, expected, "{route:?}");
    }
}

#[tokio::test]
async fn a_page_is_for_every_role_but_users() {
    let api = TestApi::start().await;
    let mut viewer = Visitor::with_key(&api, &key(&api, ActsAs::Viewer).await).await;
    for route in routed().into_iter().filter(|route| !route.is_action) {
        let path = route.about_nothing();
        let stranger = Visitor::new(&api).get(&path).await;
        assert_eq!(stranger.status, 303, "{path}");
        let seen = viewer.get(&path).await.status;
        // A page needs a filter, or there is nothing of this name.
        assert!([200, 400, 404, 422].contains(&seen), "{path}: {seen}");
    }
}

#[tokio::test]
async fn an_action_needs_a_form_of_ours_a_sign_in_and_the_right() {
    let api = TestApi::start().await;
    let mut viewer = Visitor::with_key(&api, &key(&api, ActsAs::Viewer).await).await;
    let mut operator = Visitor::with_key(&api, &key(&api, ActsAs::Operator).await).await;
    let mut admin = Visitor::with_key(&api, &key(&api, ActsAs::Admin).await).await;
    let fields = [("reason", "a test"), ("replay", "failed"), ("args", "{}")];
    for route in routed().into_iter().filter(|route| route.is_action) {
        let path = route.about_nothing();
        let stranger = send(Visitor::new(&api).form(&path, "00", &fields)).await;
        assert_eq!(stranger.status, 401, "{path}");
        assert_eq!(admin.send_form(&path, "00", &fields).await.status, 403, "{path}");
        let by_viewer = viewer.act("/ui/ledger", &path, &fields).await;
        assert_eq!(by_viewer.status, 403, "{path}");
        assert!(by_viewer.text.contains("This needs the role"), "{path}: {}", by_viewer.text);
        let by_operator = operator.act("/ui/ledger", &path, &fields).await.status;
        assert_eq!(by_operator == 403, route.right == "Decide", "{path}: {by_operator}");
        let by_admin = admin.act("/ui/ledger", &path, &fields).await.status;
        // There is nothing of this name, or it was done, or it needs more than was said.
        assert!([303, 400, 404, 422].contains(&by_admin), "{path}: {by_admin}");
    }
}

#[tokio::test]
async fn a_viewer_sees_the_actions_and_can_press_none() {
    let api = TestApi::start().await;
    api.post(crate::support::event("txn_1")).await;
    let job = api.count("select id from queue.jobs").await;
    let mut viewer = Visitor::with_key(&api, &key(&api, ActsAs::Viewer).await).await;
    for page in [format!("/ui/jobs/{job}"), "/ui/queues/default".to_owned()] {
        let shown = viewer.get(&page).await;
        assert_eq!(shown.status, 200, "{page}");
        assert!(!shown.text.contains(r#"name="reason""#), "{page}: {}", shown.text);
        assert!(shown.text.contains("This needs another role"), "{page}: {}", shown.text);
    }
}
