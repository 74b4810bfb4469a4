//! Tells owners by mail what happens to their leases, and delivers the mail of accounts.
//!
//! A notice becomes mail in the transaction that notes it, so it is told once; delivery is by the mail's id, so
//! doing it twice is doing it once.

use std::sync::Arc;

use store::account_mail::{
    AccountMail, Letter, WaitingNotice, account_mail_done, account_mail_waiting, letter_append, notices_done,
    notices_take,
};
use store::mail::{LabMail, lab_mail_keep};
use types::{LifecycleStep, kill_point};

use crate::Deps;
use crate::kit::ActorError;

const ROWS_MAX: i64 = 100;

/// Writes mail for notices, and delivers what is due. A server that sends no mail leaves both.
///
/// # Errors
/// What the store says; the next tick goes on.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    if !deps.captures_mail {
        return Ok(());
    }
    write_notices(deps).await?;
    for mail in account_mail_waiting(&deps.store, ROWS_MAX).await? {
        let id = mail.id;
        lab_mail_keep(&deps.store, &lab_mail(deps, mail)).await?;
        kill_point!("notice.kept");
        account_mail_done(&deps.store, id).await?;
    }
    Ok(())
}

async fn write_notices(deps: &Deps) -> Result<(), ActorError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let waiting = notices_take(&mut tx, ROWS_MAX).await?;
    if waiting.is_empty() {
        tx.rollback().await?;
        return Ok(());
    }
    let mut done = Vec::with_capacity(waiting.len());
    for notice in waiting {
        let (subject, body) = text(&notice, &deps.hosts.apex);
        let letter = Letter {
            id: deps.entropy.uuid(),
            account: notice.account,
            template: format!("lease_{}", notice.step.as_str()),
            subject,
            body,
        };
        done.push((notice.id, letter_append(&mut tx, &letter, now).await?));
    }
    notices_done(&mut tx, &done, now).await?;
    kill_point!("notice.written");
    tx.commit().await?;
    kill_point!("notice.committed");
    Ok(())
}

fn lab_mail(deps: &Deps, mail: AccountMail) -> LabMail {
    LabMail {
        seq: 0,
        id: mail.id,
        project: None,
        sender: format!("billing@mail.{}", deps.hosts.apex),
        recipient: mail.recipient,
        template: mail.template,
        subject: mail.subject,
        body: mail.body,
        written_at: mail.created_at,
    }
}

/// Subject and body, in the words of the lifecycle.
fn text(notice: &WaitingNotice, platform: &str) -> (String, String) {
    let fact = |name: &str| notice.facts[name].as_str().unwrap_or("unknown").to_owned();
    let (subject, what) = match notice.step {
        LifecycleStep::PastDue => (
            "your lease has ended",
            "Your lease has ended. Everything still works for now; new projects are not made.",
        ),
        LifecycleStep::Frozen => (
            "changes are refused now",
            "Your lease ended two weeks ago. Sites, databases and functions still answer, but deploys and other \
             changes are refused until you renew.",
        ),
        LifecycleStep::Dormant => (
            "schedules are paused and everything will be erased",
            "Your lease ended six weeks ago. Scheduled functions are paused now, and all projects of this account will \
             be erased unless you renew.",
        ),
        LifecycleStep::Purge => ("everything is erased", "The projects of this account are erased."),
    };
    let body = format!(
        "{what}\n\nTier: {}\nNow: {}\nNext change: {}\nErased for good: {}\n\nRenew: run402 tier set {}\n",
        fact("tier"),
        fact("lifecycle_state"),
        fact("next_transition_at"),
        fact("scheduled_purge_at"),
        fact("tier"),
    );
    (format!("{platform}: {subject}"), body)
}
