//! Passwords: Argon2id on threads of their own, few at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use tokio::sync::Semaphore;

/// # Source
/// Wire contract 04 section 13, question 4. In bytes: nothing is ever cut off.
pub const BYTES: std::ops::RangeInclusive<usize> = 8..=256;
const MEMORY_KIB: u32 = 19_456;
const ROUNDS: u32 = 2;
const PREFIX: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
const HASHES_AT_ONCE: usize = 2;
const QUEUE_MAX: usize = 64;
const WAIT_SECS_MAX: u64 = 10;

/// Hashing is busy: try again later.
#[derive(Debug, thiserror::Error)]
#[error("too many passwords are being hashed")]
pub struct Busy;

/// Hashes and compares passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    /// Of those at work.
    work: Arc<Semaphore>,
    /// Of those at work or waiting: a flood is refused at once and never queues without end.
    queue: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { work: Arc::new(Semaphore::new(HASHES_AT_ONCE)), queue: Arc::new(Semaphore::new(QUEUE_MAX)) }
    }
}

impl Passwords {
    /// The hash as stored: a PHC string with its parameters and the salt.
    ///
    /// # Errors
    /// `Busy` when too many wait.
    pub async fn hash(&self, password: String, salt: [u8; 32]) -> Result<String, Busy> {
        let bits = self.derive(password, salt[..16].to_vec()).await?;
        let text = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        Ok(format!("{PREFIX}{}${}", text(&salt[..16]), text(&bits)))
    }

    /// Whether `password` is the one hashed. Without a stored hash it is not, after the same work.
    ///
    /// # Errors
    /// `Busy` when too many wait.
    pub async fn matches(&self, password: String, stored: Option<&str>) -> Result<bool, Busy> {
        let parsed = stored.and_then(parse);
        let (salt, wanted) = parsed.clone().unwrap_or_else(|| (vec![0; 16], vec![0; 32]));
        let bits = self.derive(password, salt).await?;
        // Every byte is looked at, whichever differs.
        let differs =
            bits.iter().zip(&wanted).fold(wanted.len() ^ bits.len(), |all, (a, b)| all | usize::from(a ^ b));
        Ok(differs == 0 && parsed.is_some())
    }

    async fn derive(&self, password: String, salt: Vec<u8>) -> Result<[u8; 32], Busy> {
        let _queued = self.queue.try_acquire().map_err(|_| Busy)?;
        let work = self.work.clone().acquire_owned();
        let permit = tokio::time::timeout(Duration::from_secs(WAIT_SECS_MAX), work).await;
        let permit = permit.map_err(|_| Busy)?.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work and not by the request: one that gave up must not let another in beside it.
            let _permit = permit;
            let params = Params::new(MEMORY_KIB, ROUNDS, 1, Some(32)).ok()?;
            let mut bits = [0; 32];
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.hash_password_into(password.as_bytes(), &salt, &mut bits).ok()?;
            Some(bits)
        });
        done.await.ok().flatten().ok_or(Busy)
    }
}

fn parse(stored: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (salt, bits) = stored.strip_prefix(PREFIX)?.split_once('$')?;
    let bytes = |text: &str| BASE64_STANDARD_NO_PAD.decode(text).ok();
    Some((bytes(salt)?, bytes(bits)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // H07: nothing is cut at 72 bytes or at a NUL; without a hash nothing matches.
    #[tokio::test]
    async fn every_byte_of_a_password_counts() {
        let passwords = Passwords::default();
        let long = "x".repeat(72);
        let stored = passwords.hash(format!("{long}a\0b"), [3; 32]).await.unwrap();
        for (tried, same) in [(format!("{long}a\0b"), true), (format!("{long}a\0c"), false), (long, false)] {
            assert_eq!(passwords.matches(tried, Some(&stored)).await.unwrap(), same);
        }
        assert!(!passwords.matches("anything".into(), None).await.unwrap());
        assert!(!passwords.matches("anything".into(), Some("$argon2id$junk")).await.unwrap());
    }
}
