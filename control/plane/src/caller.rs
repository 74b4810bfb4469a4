//! What a request presented, and who that proves.

use chain::siwx::{self, Siwx};
use sha2::{Digest, Sha256};
use store::requests::NonceUse;
use types::{AccountId, Code, Problem, TraceId, Wallet};

use crate::Plane;

const SIGN_IN_HEADER: &str = "SIGN-IN-WITH-X";

/// What a request presented; nothing in it is verified. Verification is lazy, so that a stale wallet
/// signature never fails a request that a project key decides.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The `SIGN-IN-WITH-X` header.
    pub siwx: Option<String>,
    /// `Authorization: Bearer`.
    pub bearer: Option<String>,
    pub apikey: Option<String>,
    /// x402 version 2.
    pub payment_signature: Option<String>,
    /// x402 version 1.
    pub x_payment: Option<String>,
    pub idempotency_key: Option<String>,
    /// `X-Admin-Mode: 1`.
    pub admin_mode: bool,
    pub method: String,
    /// As routed: duplicate leading slashes are gone.
    pub path_and_query: String,
    pub body_sha256: [u8; 32],
    pub client_ip: String,
    pub trace: TraceId,
}

impl Caller {
    /// A read cannot be repeated to anyone's harm.
    pub fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// What makes two requests the same one: method, path with query, and body. Payment headers are left out,
    /// because the paid repeat of a request is that request.
    pub fn request_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.method.as_bytes(), self.path_and_query.as_bytes(), &self.body_sha256] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Plane {
    /// The wallet that signed this request.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED` when the header is missing, does not verify, was signed for another path
    /// (changes only), or was used for another request before; `UNAVAILABLE` when that cannot be looked up.
    ///
    /// # Source
    /// Wire contract 01 section 2.3 and its open questions 3 and 4.
    pub async fn wallet(&self, caller: &Caller) -> Result<Wallet, Problem> {
        Ok(self.signed_in(caller).await?.address)
    }

    /// The wallet that signed this request and the account it speaks for, which is opened at first sight.
    ///
    /// # Errors
    /// As [`Plane::wallet`].
    pub async fn account(&self, caller: &Caller) -> Result<(Wallet, AccountId), Problem> {
        let wallet = self.wallet(caller).await?;
        let deps = self.deps();
        let fresh = AccountId::new(&*deps.entropy);
        let account = store::accounts::account_of_wallet_ensure(&deps.store, wallet, fresh, self.now())
            .await
            .map_err(unavailable)?;
        Ok((wallet, account))
    }

    /// An operator's wallet, with the header that says it is meant.
    ///
    /// # Errors
    /// `ADMIN_REQUIRED` for everybody else, or as [`Plane::wallet`].
    pub async fn admin(&self, caller: &Caller) -> Result<Wallet, Problem> {
        let refused = || {
            Problem::new(Code::AdminRequired, "this is for operators of the server")
                .extra("error", "admin_required")
                .extra("admin_required", true)
        };
        if !caller.admin_mode {
            return Err(refused());
        }
        let wallet = self.wallet(caller).await?;
        if self.config().admin_wallets.contains(&wallet) { Ok(wallet) } else { Err(refused()) }
    }

    async fn signed_in(&self, caller: &Caller) -> Result<Siwx, Problem> {
        let header = caller.siwx.as_deref().ok_or_else(|| match caller.ci_token() {
            Some(_) => crate::ci::out_of_scope(),
            None => refused("the request is not signed"),
        })?;
        let siwx = siwx::verify(header, &self.config().siwx, self.deps().wall.now())
            .map_err(|e| refused(&e.to_string()))?;
        if self.config().siwx_path_bound && !caller.is_read() {
            check_target(&siwx, caller, &self.config().public_url)?;
        }
        let store = &self.deps().store;
        let used = store
            .siwx_nonce_use(siwx.address, &siwx.nonce, &caller.request_hash(), siwx.expires_at)
            .await
            .map_err(unavailable)?;
        if used == NonceUse::Other {
            return Err(refused("its nonce was used for another request"));
        }
        Ok(siwx)
    }
}

impl Plane {
    /// A signed target as the router sees it.
    pub(crate) fn own_target(&self, target: &str) -> String {
        normal_target(target, &self.config().public_url)
    }
}

/// A signature for one path must not work on another: a captured read would become a purchase.
fn check_target(siwx: &Siwx, caller: &Caller, public_url: &str) -> Result<(), Problem> {
    if normal_target(siwx.target(), public_url) == caller.path_and_query {
        return Ok(());
    }
    Err(refused("it was signed for another path"))
}

/// The signed target as the router sees it: without the path of the public URL (a proxy strips that) and
/// without the double slash that clients make of a base with a trailing slash.
fn normal_target(target: &str, public_url: &str) -> String {
    let base = public_url.split_once("://").map_or("", |(_, rest)| rest);
    let base = base.find('/').map_or("", |at| base[at..].trim_end_matches('/'));
    let rest = target.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(target);
    format!("/{}", rest.trim_start_matches('/'))
}

fn refused(why: &str) -> Problem {
    Problem::new(Code::AuthenticationRequired, format!("sign in with your wallet: {why}"))
        .detail("header", SIGN_IN_HEADER)
        .detail("reason", why)
}

/// The control database did not answer, so nothing was started.
fn unavailable(error: store::StoreError) -> Problem {
    tracing::warn!(error = &error as &dyn std::error::Error, "control database");
    Problem::new(Code::Unavailable, "the control database did not answer")
        .mutation(types::Mutation::NotStarted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_target_is_compared_as_the_router_sees_it() {
        let plain = "http://localhost:4020";
        assert_eq!(normal_target("/tiers/v1/hobby?a=1", plain), "/tiers/v1/hobby?a=1");
        assert_eq!(normal_target("//tiers/v1/hobby", plain), "/tiers/v1/hobby");
        assert_eq!(normal_target("/", plain), "/");
        let prefixed = "https://example.test/run402/";
        assert_eq!(normal_target("/run402/tiers/v1/hobby", prefixed), "/tiers/v1/hobby");
        assert_eq!(normal_target("/run402//tiers/v1/hobby", prefixed), "/tiers/v1/hobby");
        assert_eq!(normal_target("/run402x/tiers", prefixed), "/run402x/tiers");
    }

    #[test]
    fn the_paid_repeat_is_the_same_request_and_another_body_is_not() {
        let first = Caller {
            siwx: None,
            bearer: None,
            apikey: None,
            payment_signature: None,
            x_payment: None,
            idempotency_key: None,
            admin_mode: false,
            method: "POST".into(),
            path_and_query: "/tiers/v1/hobby".into(),
            body_sha256: [1; 32],
            client_ip: "127.0.0.1".into(),
            trace: TraceId::new(&types::OsEntropy),
        };
        let paid = Caller { payment_signature: Some("e30=".into()), ..first.clone() };
        assert_eq!(first.request_hash(), paid.request_hash());
        let others = [
            Caller { body_sha256: [2; 32], ..first.clone() },
            Caller { method: "PUT".into(), ..first.clone() },
            Caller { path_and_query: "/tiers/v1/team".into(), ..first.clone() },
        ];
        assert!(others.iter().all(|other| other.request_hash() != first.request_hash()));
    }
}
