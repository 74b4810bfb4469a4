//! An image file, as far as it must be believed.

use crate::AiError;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Length and name of the first chunk, which every PNG begins with.
const HEADER: &[u8] = b"\0\0\0\x0dIHDR";
const END: &[u8] = b"IEND\xae\x42\x60\x82";
/// Sides that no display reaches.
const SIDE_MAX: u32 = 16_384;

/// The bytes of a PNG: it begins and ends like one and has a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Png(Vec<u8>);

impl Png {
    /// # Errors
    /// `Garbage` for anything else.
    ///
    /// # Source
    /// Portable Network Graphics specification, sections 5.2, 5.3 and 11.2.2.
    pub fn new(bytes: Vec<u8>) -> Result<Self, AiError> {
        let not = || AiError::Garbage("not a PNG");
        let rest =
            bytes.strip_prefix(SIGNATURE).and_then(|rest| rest.strip_prefix(HEADER)).ok_or_else(not)?;
        let side = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let sides = [side(0), side(4)].map(|side| side.is_some_and(|side| (1..=SIDE_MAX).contains(&side)));
        if sides.contains(&false) || !bytes.ends_with(END) {
            return Err(not());
        }
        Ok(Self(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
pub(crate) fn tiny() -> Vec<u8> {
    use base64::Engine;
    const ONE_PIXEL: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";
    base64::prelude::BASE64_STANDARD.decode(ONE_PIXEL).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    // I11: garbage is not sold.
    #[test]
    fn only_a_png_is_one() {
        let good = tiny();
        assert_eq!(Png::new(good.clone()).unwrap().bytes(), good);
        let mut flat = good.clone();
        flat[16..20].copy_from_slice(&[0; 4]);
        let mut vast = good.clone();
        vast[16] = 0xff;
        let cut = good[..good.len() - 1].to_vec();
        for bad in [Vec::new(), b"<svg/>".to_vec(), good[..20].to_vec(), cut, flat, vast] {
            assert!(Png::new(bad).is_err());
        }
    }
}
