//! `[control_db]`, `[[cells]]` and `[s3]`: where data is.

use secrecy::{ExposeSecret, SecretString};

use super::defaults;
use super::reader::Section;

const POSTGRES_URL: &str = "a URL such as \"postgres://user:password@host/database\"";

#[derive(Debug)]
pub struct ControlDbConfig {
    pub url: SecretString,
    pub connections_max: u32,
}

/// One Postgres server for tenant databases.
#[derive(Debug)]
pub struct CellConfig {
    /// Written into rows: never change it.
    pub name: String,
    /// Of a superuser, to the maintenance database.
    pub url: SecretString,
}

#[derive(Debug)]
pub struct S3Config {
    /// In presigned URLs, so clients must reach it too.
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    pub access_key: SecretString,
    pub secret_key: SecretString,
    /// Larger blobs are uploaded in parts.
    pub single_put_bytes_max: u64,
}

impl ControlDbConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let url = s.required::<SecretString>("url", POSTGRES_URL);
        let connections = s.or("connections_max", defaults::CONTROL_CONNECTIONS_MAX, "4 to 1000");
        s.check(url.as_ref().is_none_or(is_postgres), "url", || POSTGRES_URL.to_owned());
        let enough = connections.is_none_or(|n| (4..=1000).contains(&n));
        s.check(enough, "connections_max", || "4 to 1000".to_owned());
        s.finish();
        Some(Self { url: url?, connections_max: connections?.try_into().ok()? })
    }
}

impl CellConfig {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let name = s.required("name", "a short name such as \"cell-1\", never changed later");
        let url = s.required::<SecretString>("url", POSTGRES_URL);
        s.check(url.as_ref().is_none_or(is_postgres), "url", || POSTGRES_URL.to_owned());
        s.finish();
        Some(Self { name: name?, url: url? })
    }
}

impl S3Config {
    pub(super) fn read(mut s: Section<'_>) -> Option<Self> {
        let endpoint = s.required::<String>("endpoint", "such as \"https://s3.eu-central-1.amazonaws.com\"");
        let region = s.or("region", defaults::S3_REGION.to_owned(), "such as \"eu-central-1\"");
        let bucket = s.required("bucket", "the bucket's name");
        let access_key = s.required("access_key", "the access key's id");
        let secret_key = s.required("secret_key", "the access key's secret");
        let single = s.or("single_put_bytes_max", defaults::SINGLE_PUT_BYTES_MAX, "1 to 5368709120");
        let is_url =
            endpoint.as_deref().is_none_or(|e| e.starts_with("http://") || e.starts_with("https://"));
        s.check(is_url, "endpoint", || "a URL with http or https".to_owned());
        let possible = single.is_none_or(|n| (1..=defaults::SINGLE_PUT_BYTES_MAX).contains(&n));
        s.check(possible, "single_put_bytes_max", || "1 to 5368709120".to_owned());
        s.finish();
        Some(Self {
            endpoint: endpoint?,
            region: region?,
            bucket: bucket?,
            access_key: access_key?,
            secret_key: secret_key?,
            single_put_bytes_max: single?,
        })
    }
}

fn is_postgres(url: &SecretString) -> bool {
    let url = url.expose_secret();
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}
