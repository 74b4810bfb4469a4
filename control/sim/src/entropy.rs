//! Ids and secrets that the seed decides.

use std::sync::{Arc, Mutex, PoisonError};

use types::{Clock, Entropy, ManualClock};
use uuid::Uuid;

use crate::dice::Dice;

pub(crate) struct SeededEntropy {
    dice: Mutex<Dice>,
    clock: Arc<ManualClock>,
}

impl SeededEntropy {
    pub fn new(dice: Dice, clock: Arc<ManualClock>) -> Self {
        Self { dice: Mutex::new(dice), clock }
    }

    fn bytes<const N: usize>(&self) -> [u8; N] {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }
}

impl Entropy for SeededEntropy {
    fn uuid(&self) -> Uuid {
        let millis = self.clock.now().timestamp_millis().unsigned_abs();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    fn secret(&self) -> [u8; 32] {
        self.bytes()
    }
}
