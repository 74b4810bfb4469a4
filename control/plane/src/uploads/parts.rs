//! Which parts an upload needs, and whether they are there.

use std::collections::BTreeMap;

use blobs::{Layout, Part};
use store::content::{Multipart, Upload};
use types::{Code, Mutation, Problem};

use super::SentPart;

pub(super) fn layout(upload: &Upload, multipart: &Multipart) -> Layout {
    Layout { size_bytes: upload.size_bytes, part_size_bytes: multipart.part_size_bytes }
}

/// The parts that arrived, if they are all there, each of its size, and what the client says that it sent.
pub(super) fn complete_parts(
    layout: Layout,
    arrived: &[Part],
    sent: &[SentPart],
) -> Result<Vec<Part>, Problem> {
    let incomplete = |number: i32, why: &str| {
        Problem::new(Code::UploadIncomplete, format!("part {number} {why}"))
            .detail("part_number", number)
            .mutation(Mutation::NotStarted)
    };
    let mut told: BTreeMap<i32, &str> = BTreeMap::new();
    for SentPart { number, etag } in sent {
        if layout.size_of(*number).is_none() {
            return Err(Problem::new(Code::BadRequest, format!("there is no part {number}")));
        }
        let etag = etag.trim_matches('"');
        if *told.entry(*number).or_insert(etag) != etag {
            return Err(Problem::new(Code::BadRequest, format!("part {number} is named twice")));
        }
    }
    let arrived: BTreeMap<i32, &Part> = arrived.iter().map(|part| (part.number, part)).collect();
    let mut parts = Vec::with_capacity(arrived.len());
    for span in layout.spans() {
        let number = span.number;
        let part = arrived.get(&number).ok_or_else(|| incomplete(number, "was not uploaded yet"))?;
        let mut part = Part::clone(part);
        if Some(part.size_bytes) != layout.size_of(number) {
            return Err(incomplete(number, "has another size than announced: put it again"));
        }
        // An empty text is what a client sends that could not read the header.
        let told = told.get(&number).filter(|told| !told.is_empty());
        match (&part.etag, told) {
            (Some(etag), Some(told)) if etag.trim_matches('"') != *told => {
                return Err(incomplete(number, "is another one than you sent: put it again"));
            }
            (Some(_), _) => {}
            (None, told) => part.etag = told.map(|told| format!("\"{told}\"")),
        }
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: i32, size_bytes: u64) -> Part {
        Part { number, size_bytes, etag: Some(format!("\"tag{number}\"")) }
    }

    fn sent(number: i32, etag: &str) -> SentPart {
        SentPart { number, etag: etag.to_owned() }
    }

    // I01: parts in any order, none missing, none of another size, none that is not there.
    #[test]
    fn parts_are_judged_by_what_arrived() {
        let layout = Layout { size_bytes: 25, part_size_bytes: 10 };
        let arrived = [part(3, 5), part(1, 10), part(2, 10)];
        for told in [
            vec![],
            vec![sent(2, "tag2"), sent(1, "\"tag1\""), sent(3, "\"\"")],
            vec![sent(1, ""), sent(1, "")],
        ] {
            let parts = complete_parts(layout, &arrived, &told).unwrap();
            assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 3]);
        }
        let code =
            |arrived: &[Part], told: &[SentPart]| complete_parts(layout, arrived, told).unwrap_err().code;
        assert_eq!(code(&arrived[..2], &[]), Code::UploadIncomplete);
        assert_eq!(code(&[part(1, 10), part(2, 9), part(3, 5)], &[]), Code::UploadIncomplete);
        assert_eq!(code(&arrived, &[sent(2, "other")]), Code::UploadIncomplete);
        assert_eq!(code(&arrived, &[sent(4, "")]), Code::BadRequest);
        assert_eq!(code(&arrived, &[sent(0, "")]), Code::BadRequest);
        assert_eq!(code(&arrived, &[sent(1, "a"), sent(1, "b")]), Code::BadRequest);
    }

    #[test]
    fn a_store_that_lists_no_tags_gets_those_of_the_client() {
        let layout = Layout { size_bytes: 5, part_size_bytes: 10 };
        let arrived = [Part { number: 1, size_bytes: 5, etag: None }];
        let parts = complete_parts(layout, &arrived, &[sent(1, "x")]).unwrap();
        assert_eq!(parts[0].etag.as_deref(), Some("\"x\""));
    }
}
