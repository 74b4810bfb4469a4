//! Takes mail out of the projects' own outboxes and delivers it.
//!
//! A mark says where to look and was written before the mail, so that a death at any point leaves something
//! to find. Delivery is by the mail's id: doing it twice is doing it once.

use std::sync::Arc;

use futures::future::join_all;
use store::mail::{LabMail, MailMark, lab_mail_keep, mail_mark_done, mail_mark_drop, mail_marks_take};
use users::UsersError;

use crate::Deps;
use crate::kit::ActorError;

const PROJECTS_MAX: i64 = 20;
const MAILS_MAX: i64 = 50;

/// Delivers what is due. A server that sends no mail leaves it.
///
/// # Errors
/// What the store says; the next tick goes on.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    if !deps.captures_mail {
        return Ok(());
    }
    let marks = mail_marks_take(&deps.store, PROJECTS_MAX).await?;
    // One slow database does not hold the others.
    for done in join_all(marks.iter().map(|mark| deliver(deps, mark))).await {
        done?;
    }
    Ok(())
}

async fn deliver(deps: &Deps, mark: &MailMark) -> Result<(), ActorError> {
    let Some(slot) = store::cells::slot_of(&deps.store, mark.project).await? else {
        return Ok(mail_mark_drop(&deps.store, mark.project).await?);
    };
    loop {
        let waiting = match deps.users.mail_waiting(&slot, MAILS_MAX).await {
            Ok(waiting) => waiting,
            Err(UsersError::Busy) => return Ok(()),
            Err(UsersError::Store(error)) => {
                tracing::warn!(project.id = %mark.project, error = &error as &dyn std::error::Error,
                    "a project's mail cannot be read");
                return Ok(());
            }
        };
        if waiting.is_empty() {
            return Ok(mail_mark_done(&deps.store, mark).await?);
        }
        let mut ids = Vec::with_capacity(waiting.len());
        for mail in waiting {
            ids.push(mail.id);
            let mail = LabMail {
                seq: 0,
                id: mail.id,
                project: Some(mark.project),
                sender: format!("auth@mail.{}", deps.hosts.apex),
                recipient: mail.recipient,
                template: mail.template,
                subject: mail.subject,
                body: mail.body,
                written_at: mail.written_at,
            };
            lab_mail_keep(&deps.store, &mail).await?;
        }
        if deps.users.mail_done(&slot, &ids).await.is_err() {
            // It is delivered once more, which changes nothing.
            return Ok(());
        }
    }
}
