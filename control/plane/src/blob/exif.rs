//! Taking Exif out of pictures without touching anything else of them.
//!
//! Only what has Exif in one known place is read: JPEG (segments APP1), PNG (chunks eXIf) and WebP (chunks EXIF). The
//! compressed picture is never decoded, so it stays the same to the bit.

use bytes::Bytes;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const EXIF: &[u8] = b"Exif\0\0";
/// The bit of a WebP's first chunk that announces Exif.
const WEBP_HAS_EXIF: u8 = 0b1000;

/// What became of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stripped {
    /// Without Exif, whether or not it had some.
    Clean(Bytes),
    /// Not one of the pictures that are read here.
    Other,
    /// It begins as one and is broken, so nobody can tell what is in it.
    Broken,
}

/// Judges by the bytes, not by what they are called.
pub(super) fn strip(bytes: &Bytes) -> Stripped {
    let kept = if bytes.starts_with(&[0xff, 0xd8]) {
        jpeg(bytes)
    } else if bytes.starts_with(PNG) {
        png(bytes)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        webp(bytes)
    } else {
        return Stripped::Other;
    };
    kept.map_or(Stripped::Broken, |kept| Stripped::Clean(kept.into()))
}

/// # Source
/// ITU-T T.81, annex B: markers up to the start of the scan, each with its length but for a few.
fn jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = bytes.get(..2)?.to_vec();
    let mut at = 2;
    loop {
        // Any number of fill bytes may stand before a marker.
        (*bytes.get(at)? == 0xff).then_some(())?;
        while *bytes.get(at + 1)? == 0xff {
            at += 1;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            // The start of the scan and the end of the picture: the rest is data.
            0xda | 0xd9 => {
                out.extend_from_slice(bytes.get(at..)?);
                return Some(out);
            }
            0x01 | 0xd0..=0xd7 => {
                out.extend_from_slice(bytes.get(at..at + 2)?);
                at += 2;
            }
            0x00 => return None,
            _ => {
                let length = usize::from(u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?));
                let segment = bytes.get(at..at + 2 + length.max(2))?;
                let is_exif = marker == 0xe1 && segment.get(4..).is_some_and(|data| data.starts_with(EXIF));
                if !is_exif {
                    out.extend_from_slice(segment);
                }
                at += segment.len();
            }
        }
    }
}

/// # Source
/// PNG, third edition, section 5.3: length, type, data, CRC. What follows the last chunk is no part of the picture.
fn png(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = PNG.to_vec();
    let mut at = PNG.len();
    loop {
        let length = usize::try_from(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()?;
        let chunk = bytes.get(at..at.checked_add(length)?.checked_add(12)?)?;
        let kind = chunk.get(4..8)?;
        if kind != b"eXIf" {
            out.extend_from_slice(chunk);
        }
        if kind == b"IEND" {
            return Some(out);
        }
        at += chunk.len();
    }
}

/// # Source
/// RFC 9649, section 2: chunks of a type, a length in little endian, and data that is padded to an even length.
fn webp(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?)).ok()?;
    let end = length.checked_add(8)?;
    bytes.get(..end)?;
    let mut out = bytes.get(..12)?.to_vec();
    let mut at = 12;
    while at < end {
        let length = usize::try_from(u32::from_le_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?)).ok()?;
        let next = at.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
        let chunk = bytes.get(at..next).filter(|_| next <= end)?;
        if !chunk.starts_with(b"EXIF") {
            let start = out.len();
            out.extend_from_slice(chunk);
            if chunk.starts_with(b"VP8X")
                && let Some(flags) = out.get_mut(start + 8)
            {
                *flags &= !WEBP_HAS_EXIF;
            }
        }
        at = next;
    }
    let length = u32::try_from(out.len().checked_sub(8)?).ok()?;
    out.get_mut(4..8)?.copy_from_slice(&length.to_le_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker], &length[..], data].concat()
    }

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], kind, data, b"crc!"].concat()
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = [b"WEBP".to_vec(), chunks.concat()].concat();
        [&b"RIFF"[..], &u32::try_from(body.len()).unwrap().to_le_bytes(), &body].concat()
    }

    fn part(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let pad = if data.len() % 2 == 1 { &b"\0"[..] } else { b"" };
        [&kind[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data, pad].concat()
    }

    fn pictures() -> [(Vec<u8>, Vec<u8>); 3] {
        let exif = segment(0xe1, b"Exif\0\0GPS of my home");
        let (soi, scan) =
            (vec![0xff, 0xd8], b"\xff\xda\0\x04ab\xff\x00Exif\0\0 in the scan\xff\xd9tail".to_vec());
        let own = [segment(0xe0, b"JFIF\0"), segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0x"), vec![0xff]]
            .concat();
        let (head, end) = ([PNG.to_vec(), chunk(b"IHDR", b"13 bytes here")].concat(), chunk(b"IEND", b""));
        let flags = |byte: u8| part(b"VP8X", &[byte, 0, 0, 0, 1, 0, 0, 1, 0, 0]);
        let image = part(b"VP8 ", b"odd");
        [
            (
                [soi.clone(), exif.clone(), own.clone(), exif, scan.clone()].concat(),
                [soi, own[..own.len() - 1].to_vec(), scan].concat(),
            ),
            (
                [head.clone(), chunk(b"eXIf", b"GPS"), chunk(b"IDAT", b"eXIf"), end.clone()].concat(),
                [head, chunk(b"IDAT", b"eXIf"), end].concat(),
            ),
            (riff(&[flags(0b1_1000), image.clone(), part(b"EXIF", b"GPS")]), riff(&[flags(0b1_0000), image])),
        ]
    }

    #[test]
    fn exif_goes_and_every_other_byte_stays() {
        for (with, without) in pictures() {
            // The fill byte before the second Exif goes with it.
            assert_eq!(strip(&with.clone().into()), Stripped::Clean(without.clone().into()));
            assert_eq!(strip(&without.clone().into()), Stripped::Clean(without.into()), "and again");
        }
    }

    #[test]
    fn what_is_no_such_picture_is_left_alone() {
        for other in [&b""[..], b"GIF89a", b"<svg/>", b"\xff", b"RIFF\0\0\0\0WAVE", b"hello"] {
            assert_eq!(strip(&Bytes::copy_from_slice(other)), Stripped::Other, "{other:?}");
        }
    }

    // I01. A picture that ends anywhere, or lies about any length, is broken or clean, and never a panic.
    #[test]
    fn cut_and_lying_pictures_are_broken() {
        for (with, _) in pictures() {
            for end in 12..with.len() {
                let cut = strip(&Bytes::copy_from_slice(&with[..end]));
                assert!(matches!(cut, Stripped::Broken | Stripped::Clean(_)), "{end}");
            }
            assert_eq!(strip(&Bytes::copy_from_slice(&with[..20])), Stripped::Broken);
            for at in 2..with.len() {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut lying = with.clone();
                    lying[at] = byte;
                    let _ = strip(&lying.into());
                }
            }
        }
    }
}
