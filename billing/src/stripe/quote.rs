//! A quote as Stripe keeps it for us: sealed in the session's metadata, so that a payment is credited even when
//! the database was restored from a backup that does not have its quote.

use serde::{Deserialize, Serialize};
use store::cards::{CardBuyer, CardProduct, Checkout, NewCheckout};
use store::{MasterKey, Sealed};
use types::{AccountId, CheckoutId, UsdMicros, Wallet};

/// What Stripe lets a value of metadata have.
const VALUE_BYTES_MAX: usize = 500;

/// What was offered to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    pub id: CheckoutId,
    pub product: CardProduct,
    pub product_key: String,
    pub amount: UsdMicros,
    pub price: UsdMicros,
    pub livemode: bool,
    pub account: Option<AccountId>,
    pub wallet: Option<Wallet>,
}

/// Product, its key, amount, price, mode, account, wallet. Fields are only ever added at the end.
#[derive(Serialize, Deserialize)]
struct Written(String, String, i64, i64, bool, Option<String>, Option<String>);

impl Quote {
    pub fn of_new(new: &NewCheckout) -> Self {
        let (account, unseen) = match new.buyer {
            CardBuyer::Account(account) => (Some(account), None),
            CardBuyer::Wallet(wallet) => (None, Some(wallet)),
        };
        Self {
            id: new.id,
            product: new.product,
            product_key: new.product_key.clone(),
            amount: new.amount,
            price: new.price,
            livemode: new.livemode,
            account,
            wallet: new.wallet.or(unseen),
        }
    }

    pub fn of_stored(stored: &Checkout) -> Self {
        Self {
            id: stored.id,
            product: stored.product,
            product_key: stored.product_key.clone(),
            amount: stored.amount,
            price: stored.price,
            livemode: stored.livemode,
            account: stored.account,
            wallet: stored.wallet,
        }
    }

    /// The quote to store again; none when it names neither an account that `known` has nor a wallet.
    pub fn into_new(self, known: Option<AccountId>) -> Option<NewCheckout> {
        let buyer = known.map(CardBuyer::Account).or_else(|| self.wallet.map(CardBuyer::Wallet))?;
        Some(NewCheckout {
            id: self.id,
            product: self.product,
            product_key: self.product_key,
            amount: self.amount,
            price: self.price,
            livemode: self.livemode,
            buyer,
            wallet: self.wallet,
            off_session: false,
        })
    }

    /// The same text for the same quote: Stripe refuses a repeat under one idempotency key that differs.
    /// None when it does not fit, and then only the database has it.
    pub fn seal(&self, key: &MasterKey) -> Option<String> {
        let written = serde_json::to_string(&Written(
            self.product.as_str().to_owned(),
            self.product_key.clone(),
            self.amount.0,
            self.price.0,
            self.livemode,
            self.account.map(|id| id.to_string()),
            self.wallet.map(|wallet| wallet.to_string()),
        ));
        let (written, label) = (written.ok()?, label(self.id));
        // Derived from all that it seals, so that no nonce ever seals two texts.
        let nonce = hex::decode(key.derive(&format!("{label}/nonce/{written}"))).ok()?.try_into().ok()?;
        let sealed = key.seal(&label, nonce, written.as_bytes()).ok()?;
        Some(hex::encode(sealed.0)).filter(|text| text.len() <= VALUE_BYTES_MAX)
    }

    /// Reads the quote of that id; none for what this platform did not seal for it.
    pub fn open(key: &MasterKey, id: CheckoutId, text: &str) -> Option<Self> {
        let sealed = Sealed(hex::decode(text).ok()?);
        let opened = key.open(&label(id), &sealed).ok()?;
        let Written(product, product_key, amount, price, livemode, account, wallet) =
            serde_json::from_slice(&opened).ok()?;
        Some(Self {
            id,
            product: CardProduct::ALL.into_iter().find(|known| known.as_str() == product)?,
            product_key,
            amount: UsdMicros(amount),
            price: UsdMicros(price),
            livemode,
            account: account.and_then(|id| id.parse().ok()),
            wallet: wallet.and_then(|text| text.parse().ok()),
        })
    }
}

fn label(id: CheckoutId) -> String {
    format!("checkout/{id}/quote")
}

#[cfg(test)]
mod tests {
    use types::{Entropy, OsEntropy};

    use super::*;

    #[test]
    fn a_quote_comes_back_as_it_was_sealed_and_under_no_other_name_or_key() {
        let key = MasterKey::new([7; 32]);
        let id = CheckoutId::new(&OsEntropy);
        let quote = Quote {
            id,
            product: CardProduct::EmailPack,
            product_key: String::new(),
            amount: UsdMicros(i64::MAX),
            price: UsdMicros(i64::MAX),
            livemode: false,
            account: Some(AccountId::new(&OsEntropy)),
            wallet: "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().ok(),
        };
        let text = quote.seal(&key).unwrap();
        assert!(text.len() <= VALUE_BYTES_MAX, "{}", text.len());
        assert_eq!(quote.seal(&key).as_ref(), Some(&text), "a repeat is the same request");
        assert_eq!(Quote::open(&key, id, &text), Some(quote));
        assert_eq!(Quote::open(&key, CheckoutId::new(&OsEntropy), &text), None);
        assert_eq!(Quote::open(&MasterKey::new(OsEntropy.secret()), id, &text), None);
        let mut changed = text.clone().into_bytes();
        changed[60] ^= 1;
        assert_eq!(Quote::open(&key, id, &String::from_utf8_lossy(&changed)), None);
        assert_eq!(Quote::open(&key, id, "x"), None);
    }
}
