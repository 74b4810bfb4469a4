//! What an account's owner lets its agents spend.

use store::accounts::account_wallets;
use store::budgets::{BUDGETS_MAX, budget_set};
pub use store::budgets::{Budget, Scope};
use types::{AccountId, Code, Problem, UsdMicros, Wallet};

use crate::Plane;
use crate::caller::Caller;
use crate::pay::unavailable;

impl Plane {
    /// The budgets of the caller's account, with what was spent today.
    ///
    /// # Errors
    /// As [`Plane::account`].
    pub async fn budget_list(&self, caller: &Caller) -> Result<Vec<Budget>, Problem> {
        let (_, account) = self.account(caller).await?;
        self.deps().store.budget_list(account, self.now()).await.map_err(unavailable)
    }

    /// Sets a limit on what may be spent in a day of the account's credit, or takes it away; answers all of them.
    /// Idempotent.
    ///
    /// # Errors
    /// As [`Plane::account`]; `FORBIDDEN` for everybody but the account's first wallet: who is limited must not
    /// raise the limit; `BAD_REQUEST` for a negative limit or one budget too many; `PROJECT_NOT_FOUND` for a
    /// project of others.
    pub async fn budget_set(
        &self,
        caller: &Caller,
        scope: Scope,
        limit: Option<UsdMicros>,
    ) -> Result<Vec<Budget>, Problem> {
        let (wallet, account) = self.account(caller).await?;
        self.owner(wallet, account).await?;
        let store = &self.deps().store;
        if limit.is_some_and(|limit| limit < UsdMicros::ZERO) {
            return Err(Problem::new(Code::BadRequest, "a limit is not negative"));
        }
        if let Some(id) = scope.project {
            let project = store::projects::project_find(store, id).await.map_err(unavailable)?;
            if project.is_none_or(|project| project.account != account) {
                return Err(Problem::new(Code::ProjectNotFound, format!("no project {id} of this account")));
            }
        }
        let known = store.budget_list(account, self.now()).await.map_err(unavailable)?;
        let full = i64::try_from(known.len()).unwrap_or(i64::MAX) >= BUDGETS_MAX;
        if full && limit.is_some() && !known.iter().any(|budget| budget.scope == scope) {
            let message = format!("an account has at most {BUDGETS_MAX} budgets");
            return Err(Problem::new(Code::BadRequest, message));
        }
        let mut tx = store.begin().await.map_err(unavailable)?;
        budget_set(&mut tx, (account, scope), limit, (wallet, self.now())).await.map_err(unavailable)?;
        tx.commit().await.map_err(unavailable)?;
        tracing::info!(account.id = %account, %wallet, ?scope, ?limit, "budget set");
        store.budget_list(account, self.now()).await.map_err(unavailable)
    }

    /// The wallet that opened the account is its owner; those linked later are its agents.
    async fn owner(&self, wallet: Wallet, account: AccountId) -> Result<(), Problem> {
        let wallets = account_wallets(&self.deps().store, account).await.map_err(unavailable)?;
        if wallets.first() == Some(&wallet) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "only the account's first wallet sets its budgets"))
    }
}
