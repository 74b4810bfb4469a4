//! Where objects are. Flat and hashed: one key is never a folder of another.

use types::{Sha256Hex, UploadId};

/// Where an upload's bytes wait to be verified.
///
/// # Source
/// Wire contract 02 section 3.
pub fn staging_key(upload: UploadId, sha256: &Sha256Hex) -> String {
    format!("_staging/{upload}/{sha256}")
}

/// Where a blob's bytes wait; its digest may not be known yet.
pub fn blob_staging_key(upload: UploadId) -> String {
    format!("_staging/{upload}/blob")
}

/// Where verified content stays.
pub fn cas_key(sha256: &Sha256Hex) -> String {
    let (head, rest) = sha256.as_str().split_at(2);
    format!("_cas/{head}/{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_of_digests_and_ids_only() {
        let sha: Sha256Hex =
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        assert_eq!(cas_key(&sha), "_cas/ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let upload = UploadId::new(&types::OsEntropy);
        assert_eq!(staging_key(upload, &sha), format!("_staging/{upload}/{sha}"));
    }
}
