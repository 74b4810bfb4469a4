//! `[identity]`: who may sign in, and for what.

use types::Wallet;

use super::reader::Section;

#[derive(Debug, Default)]
pub struct IdentityConfig {
    /// Host names that signatures may name; the host of the public URL when empty.
    pub siwx_domains: Vec<String>,
    /// Origins that signatures may name; any on those domains when empty.
    pub siwx_origins: Vec<String>,
    /// Changes must be signed for exactly their own path.
    pub siwx_path_bound: bool,
    pub admin_wallets: Vec<Wallet>,
}

impl IdentityConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let domains = s.or("siwx_domains", Vec::<String>::new(), "a list of host names without ports");
        let origins =
            s.or("siwx_origins", Vec::<String>::new(), "a list such as [\"https://api.example.com\"]");
        let path_bound = s.or("siwx_path_bound", true, "true or false");
        let admins = s.or("admin_wallets", Vec::new(), "a list of addresses: 0x and 40 hex digits");
        s.finish();
        let lower = |names: Vec<String>| names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Some(Self {
            siwx_domains: lower(domains?),
            siwx_origins: lower(origins?),
            siwx_path_bound: path_bound?,
            admin_wallets: admins?,
        })
    }
}
