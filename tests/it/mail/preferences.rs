//! Who wants no mail gets none.

use serde_json::json;
use surety::identity::Role;
use surety::ids::UserId;
use surety::jobs::mail_delivery::{Recipient, recipients};
use surety::notices::preferences::{self, Preferences};

use super::{Post, ada, deposit};
use crate::support::{App, Binary as _, Person, TestApi};

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_waits_is_not_sent_to_who_has_switched_mail_off_meanwhile() {
    let post = Post::new().await;
    let (wanted, unwanted) = (deposit(ada()), deposit(ada()));
    post.enqueue(&wanted).await;
    let id = post.enqueue(&unwanted).await;
    let off = Preferences { email_notifications: false };
    let mut conn = post.pool().acquire().await.unwrap();
    preferences::set(&mut conn, unwanted.user, off).await.unwrap();
    post.run().await;

    assert_eq!(post.record(&wanted).await, ("sent", None, 1));
    assert_eq!(post.record(&unwanted).await, ("switched_off", None, 1));
    assert_eq!(post.job(id).await.0, "completed");
    post.only_mail();
}

#[tokio::test]
async fn users_switch_their_own_mail_off_and_on_again() {
    let api = TestApi::start().await;
    let [ada, bob] = [Person::new(&api, Role::User).await, Person::new(&api, Role::User).await];
    let path = format!("{}/notifications", ada.path());
    assert_eq!(ada.get(&api, &path).await.json(), json!({ "email_notifications": true }));
    for wanted in [false, true, false] {
        let body = json!({ "email_notifications": wanted });
        let answer = ada.send(&api, "PUT", &path, &body).await;
        assert_eq!((answer.status, answer.json()), (200, body.clone()));
        assert_eq!(ada.get(&api, &path).await.json(), body);
    }
    let body = json!({ "email_notifications": true });
    assert_eq!(bob.send(&api, "PUT", &path, &body).await.status, 404);
    for body in [json!({}), json!({ "email_notifications": "no" }), json!({ "x": true })] {
        assert_eq!(ada.send(&api, "PUT", &path, &body).await.status, 400, "{body}");
    }
    assert_eq!(ada.get(&api, &path).await.json(), json!({ "email_notifications": false }));
}

#[tokio::test]
async fn recipients_are_those_who_want_mail_and_are_not_closed() {
    let api = TestApi::start().await;
    let mut people = Vec::new();
    for _ in 0..3 {
        people.push(Person::new(&api, Role::User).await);
    }
    let [wants, wants_not, closed] = &people[..] else { unreachable!() };
    let url = api.db.as_ref().unwrap().url.clone();
    for (command, user) in [("set-mail off", wants_not), ("set-status closed", closed)] {
        let (command, word) = command.split_once(' ').unwrap();
        let command = App::command(["users", command, &user.email, word]);
        let (status, said) = command.env("DATABASE_URL", &url).run().await;
        assert!(status.success(), "{said}");
    }
    let mut asked: Vec<UserId> = people.iter().map(|person| UserId(person.id)).collect();
    asked.extend([UserId(wants.id), UserId(uuid::Uuid::now_v7())]);
    let mut conn = api.pool.acquire().await.unwrap();
    let found = recipients(&mut conn, &asked).await.unwrap();
    let expected = Recipient { user: UserId(wants.id), email: wants.email.clone() };
    assert_eq!(found, [expected]);
}
