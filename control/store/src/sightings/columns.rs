use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{Network, Wallet};

use crate::{During, StoreError};

/// Reads the column types that the payment tables share.
pub(crate) struct Reader<'a> {
    pub row: &'a PgRow,
}

impl Reader<'_> {
    pub fn get<'r, T>(&'r self, name: &str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        self.row.try_get(name).during("read a payment column")
    }

    pub fn network(&self) -> Result<Network, StoreError> {
        let text: String = self.get("network")?;
        text.parse().map_err(|_| StoreError::Corrupt(format!("network {text}")))
    }

    pub fn wallet(&self, name: &str) -> Result<Wallet, StoreError> {
        let text: String = self.get(name)?;
        text.parse().map_err(|_| StoreError::Corrupt(format!("{name} {text}")))
    }

    pub fn bytes32(&self, name: &str) -> Result<[u8; 32], StoreError> {
        self.bytes32_opt(name)?.ok_or_else(|| StoreError::Corrupt(format!("{name} is null")))
    }

    pub fn bytes32_opt(&self, name: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let bytes: Option<Vec<u8>> = self.get(name)?;
        bytes
            .map(|b| <[u8; 32]>::try_from(b.as_slice()))
            .transpose()
            .map_err(|_| StoreError::Corrupt(format!("{name} is not 32 bytes")))
    }
}
