//! Static releases: host to release to file, from memory.
//!
//! [`Hosts`] builds and reads names, [`path`] decides what a URL path may be, [`resolve()`] finds the file,
//! [`respond()`] makes the headers. All of that is pure. [`Cache`] remembers which release a host shows, what
//! is in a release, and the bytes of small files; it goes on serving what it knows while the control database
//! is away. [`Dns`] and [`Acme`] ask the outside about domains of tenants' own, [`normal_domain()`] says which may be.

mod acme;
mod cache;
mod dns;
mod domain;
mod fingerprint;
mod hosts;
pub mod path;
mod resolve;
mod respond;
pub mod routes;

pub use acme::{Acme, AcmeAccount, AcmeConfig, AcmeError, Issued, Ordered};
pub use cache::{Cache, ReleaseMap, SMALL_BYTES_MAX};
pub use dns::{Dns, DnsConfig, NoResolver, Seen};
pub use domain::{BadDomain, normal_domain};
pub use fingerprint::is_fingerprinted;
pub use hosts::{Hosts, SiteHost};
pub use resolve::{Lookup, Resolution, resolve};
pub use respond::{Conditions, FileRef, Head, Header, respond, respond_missing};
