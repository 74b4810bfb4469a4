//! The four logins of a slot, one per level of trust.

use std::fmt;

use crate::MasterKey;

/// A level of trust. Hostile SQL on a connection can become whatever its login may become, so levels never
/// share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Login {
    /// May become `anon` or `authenticated`.
    Api,
    /// May become `project_admin`.
    Staff,
    /// Owns the project's schema and may become `service_role`.
    Admin,
    /// Owns the schema `auth`.
    Auth,
}

impl Login {
    pub const ALL: [Self; 4] = [Self::Api, Self::Staff, Self::Admin, Self::Auth];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Staff => "staff",
            Self::Admin => "admin",
            Self::Auth => "auth",
        }
    }

    /// What the role itself may open, over all nodes.
    pub(super) fn connections_max(self) -> u32 {
        match self {
            Self::Api => 8,
            Self::Admin => 6,
            Self::Staff | Self::Auth => 4,
        }
    }
}

/// `p0007`: the name of a slot's database and of the schema within. Four digits at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName(pub i32);

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:04}", self.0)
    }
}

impl SlotName {
    /// `p0007_api`. Only letters, digits and underscores, so it may stand unquoted in SQL.
    pub fn role(self, login: Login) -> String {
        format!("{self}_{}", login.as_str())
    }
}

/// Limits of a login that only a superuser may set, so that its tenant cannot lift them.
pub(super) fn bounds(role: &str) -> [String; 2] {
    [
        format!("alter role {role} set temp_file_limit = '256MB'"),
        // `raise log` and `debug_print_plan` would write the disk full, with tenants' own words.
        format!("alter role {role} set log_min_messages = 'fatal'"),
    ]
}

/// 256 random-looking bits: SCRAM with one iteration is enough for them.
pub(super) fn password(key: &MasterKey, name: SlotName, login: Login) -> String {
    key.derive(&format!("slot/{name}/{}/1", login.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_names_grow_past_four_digits() {
        assert_eq!(SlotName(7).to_string(), "p0007");
        assert_eq!(SlotName(12_345).to_string(), "p12345");
        assert_eq!(SlotName(7).role(Login::Staff), "p0007_staff");
    }
}
