//! H04: accounts that somebody prepares for an address of others, with what passkeys add to that.

use serde_json::{Value, json};
use sqlx::Connection;
use tests::{Answer, Authenticator, Lab, eventually};

use super::mail::{mailed_token, redeem};
use super::openid::{OpenId, Person};
use super::passkeys::{PAGE, register, register_options, register_verify, sign_in, user};
use super::{PASSWORD, as_user, google, login, refresh, refused, tables};

const EXISTS: &str = "account_exists_requires_link";

async fn by_mail(lab: &Lab, project: &Value, email: &str) -> Value {
    let body = json!({ "email": email, "redirect_url": PAGE });
    let session = redeem(lab, project, &mailed_token(lab, project, body, 1).await).await;
    assert_eq!(session.status, 200, "{session:?}");
    session.body
}

// H04. Goal: who signs in with a passkey is not joined by whoever has the address at the provider: it may have been
// given to somebody else since. Method: the same user without, with and again without one.
#[tokio::test]
async fn an_account_with_a_passkey_is_not_entered_by_its_address() {
    let openid = OpenId::start().await;
    let lab = google::lab(&openid).await;
    let (_, project) = lab.project().await;
    let eve = by_mail(&lab, &project, "eve@b.test").await;
    let (mut passkey, made) = register(&lab, &eve, PAGE).await;
    openid.sign_in(Person::hosted("1", "eve@b.test"));
    assert_eq!(google::arrive(&lab, &project).await["error"], EXISTS);
    // Also when the passkey comes between the provider's answer and the page's trade.
    let zoe = by_mail(&lab, &project, "zoe@b.test").await;
    openid.sign_in(Person::hosted("2", "zoe@b.test"));
    let arrived = google::arrive(&lab, &project).await;
    register(&lab, &zoe, PAGE).await;
    let code = arrived.get("code").unwrap_or_else(|| panic!("{arrived:?}"));
    let late = google::trade(&lab, &project, code, &google::verifier()).await;
    assert!(late.status >= 400 && late.body.get("access_token").is_none(), "{late:?}");

    // Its own user may add the account, and then both lead to the same user.
    openid.sign_in(Person::hosted("1", "eve@b.test"));
    let path = format!("/auth/v1/passkeys/{}", made["id"].as_str().unwrap());
    assert_eq!(sign_in(&lab, &project, &mut passkey).await.body["user"]["id"], eve["user"]["id"]);
    assert_eq!(as_user(&lab, "DELETE", &path, &eve).await.status, 200);
    let entered = google::enter(&lab, &project).await;
    assert_eq!(entered.body["user"]["id"], eve["user"]["id"], "without it, as anybody by mail: {entered:?}");
}

// H04. Goal: an address that a provider only vouched for is not proved: a passkey from then goes, with what it signed
// in, when the mailbox's owner comes.
#[tokio::test]
async fn a_passkey_of_a_vouched_address_goes_when_its_owner_comes() {
    let openid = OpenId::start().await;
    let lab = google::lab(&openid).await;
    let (_, project) = lab.project().await;
    openid.sign_in(Person::vouched("5", "zoe@b.test"));
    let early = google::enter(&lab, &project).await.body;
    assert!(early["user"]["email_verified_at"].is_string(), "{early}");
    let (mut passkey, _) = register(&lab, &early, PAGE).await;
    let by_passkey = sign_in(&lab, &project, &mut passkey).await;
    assert_eq!(by_passkey.status, 200, "{by_passkey:?}");

    let zoe = by_mail(&lab, &project, "zoe@b.test").await;
    assert_eq!(zoe["user"]["id"], early["user"]["id"]);
    refused(&sign_in(&lab, &project, &mut passkey).await, 401, "PASSKEY_VERIFICATION_FAILED");
    refused(&refresh(&lab, &project, &by_passkey.body).await, 400, "INVALID_GRANT");
    let list = as_user(&lab, "GET", "/auth/v1/passkeys", &zoe).await.body;
    assert_eq!(list, json!({ "passkeys": [] }));
}

/// Waits until so many requests of this project's users wait for a row.
async fn waiting(lab: &Lab, project: &Value, count: i64) {
    let (conn, _) = tables::slot(lab, project).await;
    let conn = tokio::sync::Mutex::new(conn);
    eventually("requests that wait for the user", 20, || async {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *conn.lock().await)
        .await
        .unwrap();
        (waiting >= count).then_some(())
    })
    .await;
}

/// The answers to the owner's proof, and to what had passed its first checks when the owner came.
async fn behind(
    lab: &Lab,
    project: &Value,
    email: &str,
    late: impl Future<Output = Answer>,
) -> (Value, Answer) {
    let body = json!({ "email": email, "redirect_url": PAGE });
    let token = mailed_token(lab, project, body, 1).await;
    let (mut holder, _) = tables::slot(lab, project).await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("select from auth.users for update").execute(&mut *held).await.unwrap();
    let (owner, late, ()) = tokio::join!(
        redeem(lab, project, &token),
        async {
            waiting(lab, project, 1).await;
            late.await
        },
        async {
            waiting(lab, project, 2).await;
            held.rollback().await.unwrap();
        },
    );
    assert_eq!(owner.status, 200, "{owner:?}");
    (owner.body, late)
}

// H04, H06. Goal: what a stranger has under way at the moment when the owner of the address comes is worth nothing.
// Method: hold the user's row, so that the owner's proof and then the stranger's request wait for it in this order.
#[tokio::test]
async fn what_a_stranger_has_under_way_ends_when_the_owner_comes() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let stranger = user(&lab, &project, "ada@b.test").await;
    let begun = register_options(&lab, &stranger, PAGE).await.body;
    let mut authenticator = Authenticator::new(&begun["options"]);
    let say = authenticator.say(&begun["options"], PAGE);
    let late = register_verify(&lab, &stranger, &begun, authenticator.create(&say));
    let (owner, registered) = behind(&lab, &project, "ada@b.test", late).await;
    refused(&registered, 401, "AUTHENTICATION_REQUIRED");
    let list = as_user(&lab, "GET", "/auth/v1/passkeys", &owner).await.body;
    assert_eq!(list, json!({ "passkeys": [] }));

    let stranger = user(&lab, &project, "bob@b.test").await;
    let (mut passkey, _) = register(&lab, &stranger, PAGE).await;
    let late = sign_in(&lab, &project, &mut passkey);
    let (_, by_passkey) = behind(&lab, &project, "bob@b.test", late).await;
    refused(&by_passkey, 401, "PASSKEY_VERIFICATION_FAILED");

    user(&lab, &project, "eve@b.test").await;
    let late = login(&lab, &project, "eve@b.test", PASSWORD);
    let (_, by_password) = behind(&lab, &project, "eve@b.test", late).await;
    refused(&by_password, 401, "INVALID_CREDENTIALS");

    let stranger = user(&lab, &project, "kim@b.test").await;
    let new = json!({ "new_password": "another horse", "current_password": PASSWORD });
    let bearer = stranger["access_token"].as_str().unwrap();
    let late = lab.with_key(bearer, "PUT", "/auth/v1/user/password", Some(new));
    let (owner, changed) = behind(&lab, &project, "kim@b.test", late).await;
    refused(&changed, 401, "INVALID_CREDENTIALS");
    let me = as_user(&lab, "GET", "/auth/v1/user", &owner).await.body;
    assert_eq!(me["has_password"], false, "{me}");
}
