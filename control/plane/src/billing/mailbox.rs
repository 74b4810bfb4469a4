//! What the mailbox of an account is asked, and what it answers.

use sha2::{Digest, Sha256};
use store::account_mail::{
    AccountMail, Asked, NewConfirmation, confirmation_answered, confirmation_ask, confirmation_open,
};
use store::accounts::{EmailAccount, LinkVoice, Linked, wallet_link};
use types::{AccountId, Code, Problem, Wallet};

use crate::Plane;
use crate::caller::Caller;
use crate::tiers::down;

const TOKEN_PREFIX: &str = "bc_";
const TOKEN_BYTES: usize = TOKEN_PREFIX.len() + 64;

/// What a mailbox confirmed.
#[derive(Debug, Clone)]
pub struct Confirmed {
    pub account: AccountId,
    pub email: String,
    /// The wallet that it was asked about, and whether that is linked now.
    pub link: Option<(Wallet, bool)>,
}

impl Plane {
    /// Takes the answer of a mailbox: the account is its own, and the wallet it was asked about may join.
    ///
    /// # Errors
    /// `CONFIRMATION_INVALID` for a token that is unknown, over or used; `WALLET_LINKED_ELSEWHERE`,
    /// `RATE_LIMITED`.
    ///
    /// # Source
    /// Wire contract 01 section 9.3, open question 18.
    pub async fn billing_confirm_email(&self, caller: &Caller, token: &str) -> Result<Confirmed, Problem> {
        self.mail_call(caller)?;
        let invalid = || Problem::new(Code::ConfirmationInvalid, "this confirmation is not open");
        if !is_token(token) {
            return Err(invalid());
        }
        let (store, now) = (&self.deps().store, self.now());
        let hash = token_hash(token);
        let open = confirmation_open(store, &hash, now).await.map_err(down)?.ok_or_else(invalid)?;
        let link = match open.wallet {
            None => None,
            Some(wallet) => {
                let linked = wallet_link(store, open.account, wallet, LinkVoice::Mailbox, now).await;
                Some((wallet, linked.map_err(down)?))
            }
        };
        if !confirmation_answered(store, &hash, now).await.map_err(down)? {
            return Err(invalid());
        }
        tracing::info!(account.id = %open.account, link = ?link, "a mailbox has answered");
        let link = match link {
            Some((_, Linked::Elsewhere)) => {
                let message = "this wallet speaks for another account";
                return Err(Problem::new(Code::WalletLinkedElsewhere, message));
            }
            link => link.map(|(wallet, linked)| (wallet, linked == Linked::Yes)),
        };
        Ok(Confirmed { account: open.account, email: open.email, link })
    }

    /// Asks a mailbox whether it belongs to the account, or with `wallet` whether that may join. True when the
    /// question is in the mailbox now.
    pub(super) async fn mailbox_ask(
        &self,
        (email_key, known): (&str, &EmailAccount),
        wallet: Option<Wallet>,
    ) -> Result<bool, Problem> {
        let deps = self.deps();
        if !deps.captures_mail {
            return Ok(false);
        }
        let token = format!("{TOKEN_PREFIX}{}", hex::encode(deps.entropy.secret()));
        let url = format!("{}/billing/v1/email-confirmations?token={token}", self.public_url());
        let (template, subject, body) = question(&url, wallet);
        let now = self.now();
        let mail = AccountMail {
            id: deps.entropy.uuid(),
            account: known.account,
            recipient: known.email.clone(),
            template: template.to_owned(),
            subject: format!("{}: {subject}", deps.hosts.apex),
            body,
            created_at: now,
        };
        let (token_hash, email_key) = (token_hash(&token), email_key.to_owned());
        let new = NewConfirmation { token_hash, email_key, wallet, mail };
        let asked = confirmation_ask(&deps.store, &new, now).await.map_err(down)?;
        Ok(asked != Asked::Limited)
    }
}

/// A token as it is mailed; anything else is not worth a look.
fn is_token(text: &str) -> bool {
    let digits = text.strip_prefix(TOKEN_PREFIX);
    text.len() == TOKEN_BYTES && digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn question(url: &str, wallet: Option<Wallet>) -> (&'static str, &'static str, String) {
    const FOOT: &str = "The link works once and for a day. If you did not ask for this, do nothing.";
    match wallet {
        None => (
            "confirm_email",
            "confirm your address",
            format!(
                "A billing account was made for this address. To confirm that it is yours:\n\n{url}\n\n{FOOT}\n"
            ),
        ),
        Some(wallet) => (
            "confirm_link",
            "a wallet wants to join your account",
            format!(
                "The wallet {wallet} wants to join your billing account and to spend its credit. To let \
                 it:\n\n{url}\n\n{FOOT}\n"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_that_is_mailed_is_looked_at() {
        assert!(is_token(&format!("bc_{}", "0a".repeat(32))));
        for bad in [
            "",
            "bc_",
            &"0a".repeat(33),
            &format!("bc_{}", "0g".repeat(32)),
            &format!("bc_{}\n", "0a".repeat(32)),
        ] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
