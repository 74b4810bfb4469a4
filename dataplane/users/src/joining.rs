//! Whose account somebody enters who has proved to own one elsewhere. Pure.
//!
//! An account of ours is never entered because the address looks the same (H04): either that very account
//! elsewhere was linked to it before, or both sides know who holds the address today.

use uuid::Uuid;

use crate::admission::{Standing, admits};
use crate::settings::Settings;

/// The user who has the address here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub user: Uuid,
    /// A password or a passkey: somebody is in it by something of their own.
    pub has_secret: bool,
    /// Another account of the same provider: addresses are given to new people.
    pub has_identity: bool,
    /// Somebody has shown by mail, or through whoever runs the domain, to hold the address.
    pub is_proved: bool,
    pub is_admitted: bool,
}

/// Somebody with an account elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub email: &'a str,
    /// The provider runs the address's domain.
    pub email_strong: bool,
    /// Whom the account elsewhere is linked to.
    pub owner: Option<Uuid>,
    pub holder: Option<Holder>,
    /// The signed-in user who wants to add it.
    pub link: Option<Uuid>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    Known(Uuid),
    Link(Uuid),
    /// The user with that address gets the account elsewhere.
    Adopt(Uuid),
    Fresh,
}

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The address belongs to a user who has to sign in as before, and to add the account then.
    AccountExists,
    /// The account elsewhere is another user's.
    IdentityLinked,
    /// The project takes addresses of some domains alone.
    Domain,
    /// The project's sign-up policy.
    Signup,
}

/// # Source
/// Wire contract 04 sections 2.2 and 2.12.
pub(crate) fn decide(settings: &Settings, arrival: &Arrival<'_>) -> Result<Joining, Refusal> {
    if !takes_domain(&settings.allowed_email_domains, arrival) {
        return Err(Refusal::Domain);
    }
    match (arrival.link, arrival.owner, arrival.holder) {
        (Some(me), Some(owner), _) if me != owner => Err(Refusal::IdentityLinked),
        (_, Some(owner), _) => Ok(Joining::Known(owner)),
        (Some(me), None, _) => Ok(Joining::Link(me)),
        (None, None, None) => admitted(settings, Standing::Unknown, Joining::Fresh),
        (None, None, Some(holder)) => {
            // Nobody is in it yet, or whoever is has proved the same.
            let is_closed = holder.has_secret || holder.has_identity;
            let is_safe = !is_closed && (holder.is_proved || !holder.is_admitted);
            if !arrival.email_strong || !is_safe {
                return Err(Refusal::AccountExists);
            }
            let standing = if holder.is_admitted { Standing::Admitted } else { Standing::Expected };
            admitted(settings, standing, Joining::Adopt(holder.user))
        }
    }
}

fn admitted(settings: &Settings, standing: Standing, joining: Joining) -> Result<Joining, Refusal> {
    if admits(settings.public_signup, standing, false) { Ok(joining) } else { Err(Refusal::Signup) }
}

/// Who only once held an address of the domain is none of its people.
fn takes_domain(allowed: &[String], arrival: &Arrival<'_>) -> bool {
    let domain = arrival.email.rsplit_once('@').map_or("", |(_, domain)| domain);
    allowed.is_empty() || (arrival.email_strong && allowed.iter().any(|one| one.eq_ignore_ascii_case(domain)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Signup;

    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn settings(public_signup: Signup, domains: &[&str]) -> Settings {
        Settings {
            allow_password_set: false,
            preferred_sign_in_method: None,
            public_signup,
            require_passkey_for_project_admin: false,
            allowed_email_domains: domains.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    fn arrival(email_strong: bool) -> Arrival<'static> {
        Arrival { email: "ada@b.test", email_strong, owner: None, holder: None, link: None }
    }

    fn holder(has_secret: bool, is_proved: bool, is_admitted: bool) -> Option<Holder> {
        Some(Holder { user: OTHER, has_secret, has_identity: false, is_proved, is_admitted })
    }

    // H04: only an address that both sides have proved joins; a password, or a doubt on either side, stops it.
    #[test]
    fn an_account_is_entered_only_when_both_sides_know_its_owner() {
        let open = settings(Signup::Open, &[]);
        for (strong, holder, done) in [
            (true, None, Ok(Joining::Fresh)),
            (false, None, Ok(Joining::Fresh)),
            (true, holder(false, true, true), Ok(Joining::Adopt(OTHER))),
            (true, holder(false, false, false), Ok(Joining::Adopt(OTHER))),
            (true, holder(false, false, true), Err(Refusal::AccountExists)),
            (true, holder(true, true, true), Err(Refusal::AccountExists)),
            (true, holder(true, false, true), Err(Refusal::AccountExists)),
            (false, holder(false, true, true), Err(Refusal::AccountExists)),
            (false, holder(false, false, false), Err(Refusal::AccountExists)),
        ] {
            assert_eq!(decide(&open, &Arrival { holder, ..arrival(strong) }), done, "{strong} {holder:?}");
        }
        // The address was given to somebody else, who has an account of the same provider.
        let holder = holder(false, true, true).map(|holder| Holder { has_identity: true, ..holder });
        assert_eq!(decide(&open, &Arrival { holder, ..arrival(true) }), Err(Refusal::AccountExists));
    }

    #[test]
    fn an_account_elsewhere_has_one_owner() {
        let open = settings(Signup::Open, &[]);
        let at = |owner, link| decide(&open, &Arrival { owner, link, ..arrival(false) });
        assert_eq!(at(Some(ME), None), Ok(Joining::Known(ME)));
        assert_eq!(at(Some(ME), Some(ME)), Ok(Joining::Known(ME)));
        assert_eq!(at(None, Some(ME)), Ok(Joining::Link(ME)));
        assert_eq!(at(Some(OTHER), Some(ME)), Err(Refusal::IdentityLinked));
    }

    // H07: no way round the policy.
    #[test]
    fn the_policy_and_the_domains_are_the_owners() {
        let at = |signup, arrival: Arrival<'_>| decide(&settings(signup, &[]), &arrival);
        let expected = Arrival { holder: holder(false, false, false), ..arrival(true) };
        let known = Arrival { owner: Some(ME), ..arrival(true) };
        assert_eq!(at(Signup::KnownEmail, arrival(true)), Err(Refusal::Signup));
        assert_eq!(at(Signup::KnownEmail, expected), Ok(Joining::Adopt(OTHER)));
        assert_eq!(at(Signup::InviteOnly, arrival(true)), Err(Refusal::Signup));
        assert_eq!(at(Signup::InviteOnly, expected), Err(Refusal::Signup));
        assert_eq!(at(Signup::InviteOnly, known), Ok(Joining::Known(ME)));
        let limited = |strong, domains: &[&str]| decide(&settings(Signup::Open, domains), &arrival(strong));
        assert_eq!(limited(true, &["a.test", "B.test"]), Ok(Joining::Fresh));
        assert_eq!(limited(false, &["b.test"]), Err(Refusal::Domain), "once is not now");
        assert_eq!(limited(true, &["test"]), Err(Refusal::Domain));
        let known = Arrival { owner: Some(ME), ..arrival(true) };
        assert_eq!(decide(&settings(Signup::Open, &["c.test"]), &known), Err(Refusal::Domain));
    }
}
