//! The list of ids. Each is a UUIDv7 shown as `<prefix>_<32 lower-case hex digits>`, which is URL-safe and
//! sorts by the time it was made.

use crate::Entropy;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {article} id: expected {prefix}_ and 32 hex digits")]
pub struct BadId {
    pub prefix: &'static str,
    pub article: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;
            pub fn new(entropy: &dyn Entropy) -> Self { Self(entropy.uuid()) }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }
        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = BadId { prefix: $prefix, article: stringify!($name) };
                let hex = text.strip_prefix(concat!($prefix, "_")).ok_or_else(|| bad.clone())?;
                // `simple` form only: one spelling per id, so texts may be compared.
                if hex.len() != 32 || hex.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(bad);
                }
                uuid::Uuid::try_parse(hex).map(Self).map_err(|_| bad)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A billing account, which is also what later clients call an organisation.
    AccountId, "org";
    /// A project: one database, one set of keys, one live release.
    ProjectId, "prj";
    /// One x402 payment, from verification to its end.
    PaymentId, "pay";
    /// Our quote for a card payment, from checkout to its last refund.
    CheckoutId, "top";
    /// One image that was ordered.
    ImageOrderId, "img";
    /// A fee-payer lane: one address on one network.
    LaneId, "lane";
    /// The watcher of one network; made from its chain id.
    WatcherId, "watch";
    /// One signed chain transaction of ours and its fee bumps.
    ChainTxId, "ctx";
    /// A deploy plan.
    PlanId, "plan";
    /// A deploy operation; clients insist on the prefix.
    OperationId, "op";
    /// An immutable release of a project.
    ReleaseId, "rel";
    /// A version of a project that others may fork.
    AppVersionId, "ver";
    /// A plan for uploading content.
    ContentPlanId, "cplan";
    /// One upload session.
    UploadId, "upl";
    /// Leave for a CI provider's workflows to deploy to one project.
    CiBindingId, "cib";
    /// One running `run402d` process.
    NodeId, "node";
    /// One request, or whatever else started a chain of work.
    TraceId, "trc";
}

impl WatcherId {
    pub fn of(network: crate::Network) -> Self {
        Self(uuid::Uuid::from_u128(u128::from(network.chain_id())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn an_id_reads_back_what_it_shows_and_refuses_other_spellings() {
        let id = ProjectId::new(&OsEntropy);
        assert_eq!(id.to_string().parse::<ProjectId>().unwrap(), id);
        assert!(id.to_string().to_uppercase().parse::<ProjectId>().is_err());
        assert!(id.to_string().replace("prj", "op").parse::<ProjectId>().is_err());
        assert!("prj_".parse::<ProjectId>().is_err());
    }
}
