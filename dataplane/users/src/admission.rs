//! Who may become a user.

use sqlx::postgres::PgConnection;

use crate::settings::{Settings, Signup, settings};

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Unknown,
    /// The owner made the user, who has not come yet.
    Expected,
    Admitted,
}

/// Whether somebody who has just proved to own an address may come in. `trusted`: the owner asked for it.
///
/// # Source
/// Wire contract 04 section 2.2.
pub fn admits(policy: Signup, standing: Standing, trusted: bool) -> bool {
    match (policy, standing) {
        (_, Standing::Admitted) | (Signup::Open, _) | (Signup::KnownEmail, Standing::Expected) => true,
        (Signup::KnownEmail, Standing::Unknown)
        | (Signup::InviteOnly, Standing::Unknown | Standing::Expected) => trusted,
    }
}

pub(crate) async fn settings_read(conn: &mut PgConnection) -> Result<Settings, sqlx::Error> {
    sqlx::query("select * from auth.settings").fetch_one(conn).await.and_then(|row| settings(&row))
}

#[cfg(test)]
mod tests {
    use super::*;

    // H07: no way in but the ones that the policy leaves.
    #[test]
    fn a_policy_admits_whom_it_says() {
        use Signup::{InviteOnly, KnownEmail, Open};
        use Standing::{Admitted, Expected, Unknown};
        for (policy, standing, public) in [
            (Open, Unknown, true),
            (Open, Expected, true),
            (Open, Admitted, true),
            (KnownEmail, Unknown, false),
            (KnownEmail, Expected, true),
            (KnownEmail, Admitted, true),
            (InviteOnly, Unknown, false),
            (InviteOnly, Expected, false),
            (InviteOnly, Admitted, true),
        ] {
            assert_eq!(admits(policy, standing, false), public, "{policy:?} {standing:?}");
            assert!(admits(policy, standing, true), "an invitation always admits");
        }
    }
}
