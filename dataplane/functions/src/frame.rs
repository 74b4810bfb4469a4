//! Messages between the server and a worker: u32 length of the rest, u8 kind, u32 id, u32 length of the JSON,
//! the JSON, bytes. Numbers are little-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::BODY_BYTES_MAX;

/// JSON and bytes of the largest message.
const FRAME_BYTES_MAX: usize = BODY_BYTES_MAX + (1 << 20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the worker: become this function.
    Bind = 1,
    Invoke = 2,
    /// From the worker: it can be bound.
    Ready = 10,
    Bound = 11,
    Result = 12,
    Log = 13,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        [Self::Bind, Self::Invoke, Self::Ready, Self::Bound, Self::Result, Self::Log]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub kind: Kind,
    pub id: u32,
    pub meta: Value,
    pub body: Bytes,
}

impl Frame {
    pub fn new(kind: Kind, id: u32, meta: Value, body: Bytes) -> Self {
        Self { kind, id, meta, body }
    }

    /// The head with its JSON; the body follows it.
    pub fn head(&self) -> Bytes {
        let json = self.meta.to_string();
        let length = |n: usize| u32::try_from(n).expect("bodies are far below 4 GiB");
        let mut head = BytesMut::with_capacity(13 + json.len());
        head.put_u32_le(length(9 + json.len() + self.body.len()));
        head.put_u8(self.kind as u8);
        head.put_u32_le(self.id);
        head.put_u32_le(length(json.len()));
        head.put_slice(json.as_bytes());
        head.freeze()
    }

    /// The next message; none when the worker has gone, or sent what is none: it may be a tenant's doing.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let length = usize::try_from(from.read_u32_le().await.ok()?).ok()?;
        if !(9..=FRAME_BYTES_MAX).contains(&length) {
            return None;
        }
        // Grows with what really arrives.
        let mut bytes = Vec::new();
        let read = from.take(length as u64).read_to_end(&mut bytes).await.ok()?;
        if read != length {
            return None;
        }
        let mut rest = Bytes::from(bytes);
        let kind = Kind::of(rest.get_u8())?;
        let id = rest.get_u32_le();
        let json = usize::try_from(rest.get_u32_le()).ok()?;
        if json > rest.len() {
            return None;
        }
        let meta = serde_json::from_slice(&rest.split_to(json)).ok()?;
        Some(Self { kind, id, meta, body: rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_reads_back_and_a_broken_one_is_none() {
        let frame = Frame::new(Kind::Result, 7, serde_json::json!({ "a": 1 }), Bytes::from_static(b"body"));
        let bytes = [&frame.head()[..], &frame.body].concat();
        let read = Frame::read(&mut &bytes[..]).await.unwrap();
        assert_eq!((read.kind, read.id, &read.meta, &read.body), (Kind::Result, 7, &frame.meta, &frame.body));
        for broken in [
            &bytes[..bytes.len() - 1],
            &[0, 0, 0, 0],
            &[255; 64],
            &[9, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0],
            &[9, 0, 0, 0, 12, 0, 0, 0, 0, 9, 0, 0, 0],
        ] {
            assert!(Frame::read(&mut &broken[..]).await.is_none(), "{broken:?}");
        }
    }
}
