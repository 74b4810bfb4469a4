//! E-mail accounts, and wallets that join an account.

use store::StoreError;
use store::accounts::{
    EmailAccount, LinkVoice, Linked, account_find, account_of_email_ensure, account_of_email_find,
    account_of_wallet_find, mailbox_of_account_find, wallet_link,
};
use store::ledger::{Currency, balances_of_owner};
use types::{AccountId, Code, Problem, Wallet};

use super::email::Email;
use crate::Plane;
use crate::caller::Caller;
use crate::tiers::down;

/// An e-mail account as its maker is told.
#[derive(Debug, Clone)]
pub struct EmailAccountView {
    pub account: AccountId,
    pub email: String,
    pub email_credits: i64,
    pub verified: bool,
    /// A mail that asks for the confirmation is there now.
    pub asked: bool,
}

/// What became of a wish to link a wallet.
#[derive(Debug, Clone)]
pub struct LinkView {
    pub account: AccountId,
    pub wallet: Wallet,
    pub linked: bool,
    /// What is missing, for a person.
    pub missing: Option<&'static str>,
}

impl Plane {
    /// The account of an e-mail address; opened at first sight, the same one ever after.
    ///
    /// # Errors
    /// `BAD_EMAIL`, `RATE_LIMITED`.
    ///
    /// # Source
    /// Wire contract 01 section 9.3.
    pub async fn billing_email_account(
        &self,
        caller: &Caller,
        email: &str,
    ) -> Result<EmailAccountView, Problem> {
        let email = Email::parse(email)?;
        self.mail_call(caller)?;
        let deps = self.deps();
        let fresh = AccountId::new(&*deps.entropy);
        let names = (email.key(), email.shown());
        let known: EmailAccount =
            account_of_email_ensure(&deps.store, names, fresh, self.now()).await.map_err(down)?;
        let verified = known.verified_at.is_some();
        let asked = !verified && self.mailbox_ask((email.key(), &known), None).await?;
        let balances = balances_of_owner(&deps.store, known.account).await.map_err(down)?;
        Ok(EmailAccountView {
            account: known.account,
            email: known.email,
            email_credits: balances.get(&Currency::Email).map_or(0, |b| b.available().0),
            verified,
            asked,
        })
    }

    /// Links a wallet to an account once both agree: the wallet by signing this request, the account by a
    /// wallet that it has already or by its confirmed mailbox, which is asked by mail. An account without
    /// wallets agrees to its first, unless its mailbox is confirmed. Whoever only knows an address and an id gets
    /// `pending`.
    ///
    /// # Errors
    /// `BAD_REQUEST`, `RESOURCE_NOT_FOUND`, `WALLET_LINKED_ELSEWHERE`; `AUTHENTICATION_REQUIRED` for a
    /// signature that does not hold.
    ///
    /// # Source
    /// Wire contract 01 section 9.4, open question 18.
    pub async fn billing_link_wallet(
        &self,
        caller: &Caller,
        id: &str,
        wallet: &str,
    ) -> Result<LinkView, Problem> {
        let account = account_id(id)?;
        let wallet: Wallet = wallet
            .parse()
            .map_err(|_| Problem::new(Code::BadRequest, "wallet is not an address: 0x and 40 hex digits"))?;
        let voice = match &caller.siwx {
            None => LinkVoice::Nobody,
            Some(_) => match self.wallet(caller).await? {
                signer if signer == wallet => LinkVoice::Wallet,
                signer => LinkVoice::Member(signer),
            },
        };
        let linked = wallet_link(&self.deps().store, account, wallet, voice, self.now()).await;
        let linked = linked.map_err(|e| match e {
            StoreError::NotFound(_) => unknown_account(),
            e => down(e),
        })?;
        let (linked, missing) = match linked {
            Linked::Yes => (true, None),
            Linked::Pending { wallet_agreed: false, .. } => {
                (false, Some("sign this request with the wallet: run402 billing link-wallet"))
            }
            Linked::Pending { .. } => (false, Some(self.account_asked(account, wallet).await?)),
            Linked::Elsewhere => {
                return Err(Problem::new(
                    Code::WalletLinkedElsewhere,
                    "this wallet speaks for another account",
                ));
            }
        };
        Ok(LinkView { account, wallet, linked, missing })
    }

    /// Asks the account's side about a wallet that has signed, and says what is waited for.
    async fn account_asked(&self, account: AccountId, wallet: Wallet) -> Result<&'static str, Problem> {
        let mailbox = mailbox_of_account_find(&self.deps().store, account).await.map_err(down)?;
        if let Some((key, known)) = mailbox.filter(|(_, known)| known.verified_at.is_some())
            && self.mailbox_ask((&key, &known), Some(wallet)).await?
        {
            return Ok(
                "open the link that was mailed to the account's address, or repeat this request signed by a \
                       wallet that the account has already",
            );
        }
        Ok("repeat this request signed by a wallet that the account has already")
    }

    /// The account of that id, which the caller's wallet speaks for.
    pub(super) async fn account_of_member(&self, caller: &Caller, id: &str) -> Result<AccountId, Problem> {
        const HINT: &str = "Sign with a wallet of the account; one without wallets links its first by: run402 \
                            billing link-wallet <account> <wallet>";
        let asked = account_id(id)?;
        let signer = self.wallet(caller).await.map_err(|problem| problem.hint(HINT))?;
        let store = &self.deps().store;
        let known = account_find(store, asked).await.map_err(down)?;
        let known = known.ok_or_else(unknown_account)?;
        if account_of_wallet_find(store, signer).await.map_err(down)? == Some(known.id) {
            return Ok(known.id);
        }
        Err(Problem::new(Code::Forbidden, "this wallet does not speak for the account").hint(HINT))
    }

    /// The account of a wallet or an e-mail, for buying.
    pub(super) async fn email_account(&self, caller: &Caller, email: &str) -> Result<EmailAccount, Problem> {
        let email = Email::parse(email)?;
        self.mail_call(caller)?;
        let known = account_of_email_find(&self.deps().store, email.key()).await.map_err(down)?;
        known.ok_or_else(super::unknown_email)
    }
}

/// Reads an account's id: a plain UUID as it was told, or with the prefix that later clients know.
pub(super) fn account_id(text: &str) -> Result<AccountId, Problem> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    uuid::Uuid::try_parse(text).map(AccountId).map_err(|_| unknown_account())
}

pub(super) fn unknown_account() -> Problem {
    Problem::new(Code::ResourceNotFound, "there is no such billing account")
}
