//! Keys of a single machine (the lab), at rest: a JSON file of XChaCha20-Poly1305 boxes, opened by a key
//! file beside it. Whoever has both files has the keys; a copy of one alone, in a backup say, is worth
//! nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use secrecy::{ExposeSecret, SecretBox};
use types::Entropy;

use crate::signer::{KeySecret, LocalSigner, SignerError};

const NONCE_BYTES: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    /// The keys in the keystore are lost unless the file comes back: a new one is not made over them.
    #[error("the keystore is there and its key file {0} is not")]
    KeyFileMissing(PathBuf),
    #[error("{0} is not a key file: expected 32 bytes")]
    BadKeyFile(PathBuf),
    #[error("{0} is not a keystore")]
    BadKeystore(PathBuf),
    #[error("the key named {0} does not open: wrong key file, or a changed keystore")]
    Sealed(String),
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Named keys of one process; two processes must not share a keystore.
pub struct Keystore {
    path: PathBuf,
    cipher: XChaCha20Poly1305,
    /// Base64 of nonce and box; the name is authenticated with it, so boxes cannot be swapped.
    entries: BTreeMap<String, String>,
}

impl Keystore {
    /// Opens both files, or makes both where neither is. Blocks on the disk.
    ///
    /// # Errors
    /// Each variant says which file and why; nothing is overwritten.
    pub fn open(path: &Path, key_path: &Path, entropy: &dyn Entropy) -> Result<Self, KeystoreError> {
        let bytes = read_if_there(path)?;
        let key = match (read_if_there(key_path)?, &bytes) {
            (Some(key), _) => SecretBox::new(Box::new(
                <[u8; 32]>::try_from(key.as_slice())
                    .map_err(|_| KeystoreError::BadKeyFile(key_path.to_owned()))?,
            )),
            (None, Some(_)) => return Err(KeystoreError::KeyFileMissing(key_path.to_owned())),
            (None, None) => {
                let key = SecretBox::new(Box::new(entropy.secret()));
                write_durably(key_path, key.expose_secret())?;
                key
            }
        };
        let entries = match bytes {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| KeystoreError::BadKeystore(path.to_owned()))?
            }
            None => BTreeMap::new(),
        };
        let cipher = XChaCha20Poly1305::new(key.expose_secret().into());
        Ok(Self { path: path.to_owned(), cipher, entries })
    }

    /// The signer of that name; a fresh key is made, and is on the disk, before its signer is handed out.
    ///
    /// # Errors
    /// `Sealed` when the key is there and does not open; `File` when a new one cannot be written.
    pub fn signer(&mut self, name: &str, entropy: &dyn Entropy) -> Result<LocalSigner, KeystoreError> {
        if let Some(sealed) = self.entries.get(name) {
            let secret = self.unseal(name, sealed).ok_or_else(|| KeystoreError::Sealed(name.to_owned()))?;
            return Ok(LocalSigner::new(&secret)?);
        }
        let secret = KeySecret::new(Box::new(entropy.secret()));
        let signer = LocalSigner::new(&secret)?;
        self.put(name, &secret, entropy)?;
        Ok(signer)
    }

    /// Stores a key under a name, replacing what was there.
    ///
    /// # Errors
    /// `File` when it cannot be written; then the keystore is as before.
    pub fn put(
        &mut self,
        name: &str,
        secret: &KeySecret,
        entropy: &dyn Entropy,
    ) -> Result<(), KeystoreError> {
        let nonce: [u8; NONCE_BYTES] =
            entropy.secret()[..NONCE_BYTES].try_into().expect("a secret has 32 bytes");
        let payload = Payload { msg: secret.expose_secret(), aad: name.as_bytes() };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| KeystoreError::Sealed(name.to_owned()))?;
        let mut entries = self.entries.clone();
        entries.insert(name.to_owned(), STANDARD.encode([nonce.as_slice(), &sealed].concat()));
        let bytes = serde_json::to_vec_pretty(&entries).expect("a map of texts is always JSON");
        write_durably(&self.path, &bytes)?;
        self.entries = entries;
        Ok(())
    }

    fn unseal(&self, name: &str, sealed: &str) -> Option<KeySecret> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        let secret = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(KeySecret::new(Box::new(secret.try_into().ok()?)))
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, KeystoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeystoreError::File { path: path.to_owned(), source }),
    }
}

/// Readable by its owner only; either the old bytes or all of the new ones are there after a crash.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        // The new name is durable only once its folder is.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| KeystoreError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::signer::Signer;
    use types::OsEntropy;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keystore-{}", hex::encode(OsEntropy.secret())));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn keys_come_back_and_only_with_their_key_file_and_under_their_name() {
        let folder = folder();
        let (store, key) = (folder.join("keys.json"), folder.join("keys.key"));
        let mut keys = Keystore::open(&store, &key, &OsEntropy).unwrap();
        let payee = keys.signer("payee", &OsEntropy).unwrap().address();
        let lane = keys.signer("lane-0", &OsEntropy).unwrap().address();
        assert_ne!(payee, lane);

        let mut again = Keystore::open(&store, &key, &OsEntropy).unwrap();
        assert_eq!(again.signer("payee", &OsEntropy).unwrap().address(), payee);
        assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

        let swapped = fs::read_to_string(&store).unwrap().replace("lane-0", "x").replace("payee", "lane-0");
        fs::write(&store, swapped).unwrap();
        let mut swapped = Keystore::open(&store, &key, &OsEntropy).unwrap();
        assert!(matches!(swapped.signer("lane-0", &OsEntropy), Err(KeystoreError::Sealed(_))));

        fs::remove_file(&key).unwrap();
        let missing = Keystore::open(&store, &key, &OsEntropy);
        assert!(matches!(missing, Err(KeystoreError::KeyFileMissing(_))));
        assert!(!key.exists(), "a new key file would hide that the keys are lost");
        fs::remove_dir_all(folder).unwrap();
    }
}
