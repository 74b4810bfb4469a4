//! How an object is cut for its upload.

/// Bytes of a part, unless there would be too many of them.
pub const PART_BYTES: u64 = 16 * 1024 * 1024;
/// Parts that S3 joins.
pub const PARTS_MAX: u64 = 10_000;

/// One part: its number from 1, and its bytes from `start` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub number: i32,
    pub start: u64,
    pub end: u64,
}

/// The parts of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub size_bytes: u64,
    pub part_size_bytes: u64,
}

impl Layout {
    /// One part for everything.
    pub fn single(size_bytes: u64) -> Self {
        Self { size_bytes, part_size_bytes: size_bytes }
    }

    /// Parts of 16 MiB, or of as many more MiB as it takes to need no more than [`PARTS_MAX`].
    pub fn in_parts(size_bytes: u64) -> Self {
        const MIB: u64 = 1024 * 1024;
        let least = size_bytes.div_ceil(PARTS_MAX).div_ceil(MIB) * MIB;
        Self { size_bytes, part_size_bytes: least.max(PART_BYTES) }
    }

    /// At least 1: an empty object is one empty part.
    pub fn count(&self) -> u64 {
        self.size_bytes.div_ceil(self.part_size_bytes.max(1)).max(1)
    }

    /// Every part in order. The empty part of an empty object ends at 0 as well: clients slice with it.
    pub fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        (0..self.count()).map(|index| {
            let start = index * self.part_size_bytes;
            let end = (start + self.part_size_bytes).min(self.size_bytes).saturating_sub(1);
            Span { number: i32::try_from(index + 1).unwrap_or(i32::MAX), start, end }
        })
    }

    /// Bytes of the part of that number; none when there is no such part.
    pub fn size_of(&self, number: i32) -> Option<u64> {
        let index = u64::try_from(number).ok()?.checked_sub(1).filter(|index| *index < self.count())?;
        Some((self.size_bytes - index * self.part_size_bytes).min(self.part_size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_object_once() {
        for size in [1, PART_BYTES, PART_BYTES + 1, 40 << 20, 5 << 30, 5 << 40] {
            let layout = Layout::in_parts(size);
            let mut at = 0;
            for span in layout.spans() {
                assert_eq!(span.start, at);
                assert_eq!(layout.size_of(span.number), Some(span.end + 1 - span.start));
                at = span.end + 1;
            }
            assert_eq!((at, layout.count() <= PARTS_MAX), (size, true), "{layout:?}");
        }
        assert_eq!(Layout::in_parts(5 << 40).part_size_bytes, 525 << 20);
        assert_eq!(Layout::in_parts(40 << 20).count(), 3);
        assert_eq!(Layout::in_parts(1).size_of(2), None);
        assert_eq!(Layout::in_parts(1).size_of(0), None);
    }

    #[test]
    fn an_empty_object_is_one_empty_part() {
        let spans: Vec<Span> = Layout::single(0).spans().collect();
        assert_eq!(spans, [Span { number: 1, start: 0, end: 0 }]);
        assert_eq!(Layout::single(0).size_of(1), Some(0));
        assert_eq!(Layout::single(7).spans().map(|span| span.end).collect::<Vec<_>>(), [6]);
    }
}
