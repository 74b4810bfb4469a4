//! `allowance.json`: the wallet of this machine.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::json_file;
use crate::{LocalError, WalletKey};

/// Where the wallet is kept.
#[derive(Debug, Clone)]
pub struct AllowanceFile(PathBuf);

/// The wallet and what is known of it. The key is behind [`Allowance::key`] and never in `Debug`.
#[derive(Debug, Clone)]
pub struct Allowance {
    key: WalletKey,
    fields: Map<String, Value>,
}

impl AllowanceFile {
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// # Errors
    /// `LOCAL_FILE_CORRUPT` when the file is not an allowance whose address belongs to its key.
    pub fn load(&self) -> Result<Option<Allowance>, LocalError> {
        let Some(fields) = json_file::read(&self.0)? else { return Ok(None) };
        let corrupt = |why: &str| json_file::corrupt(&self.0, why);
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let key = text("privateKey").ok_or_else(|| corrupt("it has no privateKey"))?;
        let key = WalletKey::from_hex(key).map_err(|error| corrupt(&error.message))?;
        let address = text("address").ok_or_else(|| corrupt("it has no address"))?;
        if !address.eq_ignore_ascii_case(&key.address_text()) {
            return Err(corrupt("its address does not belong to its key"));
        }
        Ok(Some(Allowance { key, fields }))
    }

    /// Keeps a new wallet, unless there is one: then the one there is returned. Safe beside another process
    /// that does the same.
    ///
    /// # Errors
    /// `LOCAL_FILE` and `LOCAL_FILE_CORRUPT`.
    pub fn create(&self, key: &WalletKey, created: &str) -> Result<(Allowance, Created), LocalError> {
        if let Some(found) = self.load()? {
            return Ok((found, Created::Already));
        }
        let fields = Map::from_iter([
            ("address".to_owned(), json!(key.address_text())),
            ("privateKey".to_owned(), json!(key.to_hex())),
            ("created".to_owned(), json!(created)),
            ("funded".to_owned(), json!(false)),
            ("rail".to_owned(), json!("x402")),
        ]);
        if json_file::create(&self.0, &fields)? {
            return Ok((Allowance { key: key.clone(), fields }, Created::Now));
        }
        let found = self.load()?.ok_or_else(|| json_file::corrupt(&self.0, "it came and went"))?;
        Ok((found, Created::Already))
    }

    /// Notes that the faucet paid, keeping every other field.
    ///
    /// # Errors
    /// `LOCAL_FILE` and `LOCAL_FILE_CORRUPT`.
    pub fn note_faucet(&self, at: &str) -> Result<(), LocalError> {
        let Some(mut allowance) = self.load()? else { return Ok(()) };
        allowance.fields.insert("funded".to_owned(), json!(true));
        allowance.fields.insert("lastFaucet".to_owned(), json!(at));
        json_file::replace(&self.0, &allowance.fields)
    }
}

/// Whether the wallet is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Now,
    Already,
}

impl Allowance {
    pub fn key(&self) -> &WalletKey {
        &self.key
    }

    /// The faucet has paid this wallet before.
    pub fn is_funded(&self) -> bool {
        self.fields.get("funded").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Everything but the key.
    pub fn public_fields(&self) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        fields.remove("privateKey");
        fields.insert("address".to_owned(), self.key.address_text().into());
        fields
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::json_file::tests::Scratch;
    use super::*;
    use crate::wallet::tests::KEY;

    #[test]
    fn the_first_wallet_stays() {
        let scratch = Scratch::new();
        let file = AllowanceFile::at(scratch.0.join("allowance.json"));
        assert!(file.load().unwrap().is_none());
        let key = WalletKey::from_hex(KEY).unwrap();
        let (made, created) = file.create(&key, "2030-01-01T00:00:00.000Z").unwrap();
        assert_eq!((created, made.is_funded()), (Created::Now, false));
        let other = WalletKey::generate(&types::OsEntropy);
        let (kept, created) = file.create(&other, "2031-01-01T00:00:00.000Z").unwrap();
        assert_eq!((created, kept.key().wallet()), (Created::Already, key.wallet()));
        assert!(!made.public_fields().contains_key("privateKey"));
    }

    #[test]
    fn the_faucets_mark_keeps_fields_that_we_do_not_know() {
        let scratch = Scratch::new();
        let file = AllowanceFile::at(scratch.0.join("allowance.json"));
        let text = json!({ "address": "0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266", "privateKey": KEY,
                           "rail": "mpp", "later": { "a": [1] } });
        fs::write(file.path(), text.to_string()).unwrap();
        file.note_faucet("2030-01-01T00:00:00.000Z").unwrap();
        let fields = file.load().unwrap().unwrap().public_fields();
        assert_eq!((&fields["later"], &fields["rail"]), (&json!({ "a": [1] }), &json!("mpp")));
        assert_eq!(fields["funded"], true);
    }

    #[test]
    fn a_corrupt_allowance_is_never_written_over() {
        let scratch = Scratch::new();
        let file = AllowanceFile::at(scratch.0.join("allowance.json"));
        let key = WalletKey::from_hex(KEY).unwrap();
        let foreign = json!({ "address": "0x1111111111111111111111111111111111111111", "privateKey": KEY });
        for bad in ["{", "{}", r#"{"privateKey":"0x1"}"#, &foreign.to_string()] {
            fs::write(file.path(), bad).unwrap();
            assert_eq!(file.create(&key, "now").unwrap_err().code, "LOCAL_FILE_CORRUPT", "{bad}");
            assert_eq!(file.note_faucet("now").unwrap_err().code, "LOCAL_FILE_CORRUPT", "{bad}");
            assert_eq!(fs::read_to_string(file.path()).unwrap(), bad);
        }
    }
}
