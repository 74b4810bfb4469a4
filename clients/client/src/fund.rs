//! Test money for the client's own wallet.

use serde_json::{Value, json};

use crate::answer::text_of;
use crate::{Call, Client, ClientError};

impl Client {
    /// Asks the faucet and, where a chain node is known, waits until the transfer is in a block. The answer
    /// is the faucet's, with `confirmed`: true, false when it still was not after half a minute, null when
    /// nobody could look.
    ///
    /// # Errors
    /// `Refused` as the faucet says, `Network` when it does not answer, `NO_ALLOWANCE` without a wallet.
    pub async fn request_faucet(&self, rpc: Option<&str>) -> Result<Value, ClientError> {
        let address = self.wallet()?.address_text();
        let mut answer = self.call(Call::new("faucet.request").json(json!({ "address": address }))).await?;
        let confirmed = match rpc {
            // The money is on its way: a node that cannot be asked does not make that a failure.
            Some(rpc) => self.wait_for_receipt(rpc, text_of(&answer, "transaction_hash")?).await.ok(),
            None => None,
        };
        answer["confirmed"] = json!(confirmed);
        Ok(answer)
    }

    /// The chain node of a lab, as its status names it. None anywhere else.
    ///
    /// # Errors
    /// `Network` when the server does not answer.
    pub async fn lab_chain_rpc(&self) -> Result<Option<String>, ClientError> {
        match self.call(Call::new("service.status")).await {
            Ok(status) => Ok(status["lab"]["chain_rpc"].as_str().map(str::to_owned)),
            Err(error @ ClientError::Network { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
