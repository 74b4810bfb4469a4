//! Every operation of the API, once, as data.
//!
//! From these entries come the Rust client's calls, the words of the `run402` command, the names of the MCP
//! tools and `openapi.json`; the tests of `api` compare them with the routes that are really served. A new
//! route starts here: add an [`Operation`] to the file of its resource under `resources/`.

mod flows;
mod openapi;
mod operation;
mod resources;

pub use flows::{FLOWS, Flow};
pub use openapi::openapi;
pub use operation::{Auth, Field, Gate, Kind, Media, Method, Operation, Param, Place};
pub use resources::OPERATIONS;

/// The operation of that id, if there is one.
pub fn find(id: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn path_names(path: &str) -> Vec<&str> {
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
    }

    #[test]
    fn an_operation_is_known_by_its_id_and_by_its_route() {
        let ids: HashSet<_> = OPERATIONS.iter().map(|o| o.id).collect();
        let routes: HashSet<_> = OPERATIONS.iter().map(|o| (o.method, o.path)).collect();
        assert_eq!(ids.len(), OPERATIONS.len());
        assert_eq!(routes.len(), OPERATIONS.len());
        assert!(OPERATIONS.iter().all(|o| find(o.id).is_some_and(|found| found.path == o.path)));
        assert!(find("tiers.unknown").is_none());
    }

    #[test]
    fn words_and_tool_names_mean_one_thing() {
        let words: Vec<_> =
            OPERATIONS.iter().filter_map(|o| o.cli).chain(FLOWS.iter().map(|f| f.cli)).collect();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len(), "{words:?}");
        // The published server has one tool more per flow (`deploy`, `init`), never two operations under one
        // name.
        let tools: Vec<_> =
            OPERATIONS.iter().filter_map(|o| o.mcp).chain(FLOWS.iter().filter_map(|f| f.mcp)).collect();
        assert_eq!(tools.iter().collect::<HashSet<_>>().len(), tools.len(), "{tools:?}");
    }

    #[test]
    fn every_placeholder_of_a_path_is_a_required_parameter_and_the_reverse() {
        for operation in OPERATIONS {
            let mut declared: Vec<_> =
                operation.params.iter().filter(|p| p.place == Place::Path).map(|p| p.name).collect();
            assert_eq!(declared, path_names(operation.path), "{}", operation.id);
            assert!(
                operation.params.iter().all(|p| p.place != Place::Path || p.required),
                "{}",
                operation.id
            );
            declared.extend(operation.params.iter().filter(|p| p.place != Place::Path).map(|p| p.name));
            let distinct: HashSet<_> = declared.iter().collect();
            assert_eq!(distinct.len(), declared.len(), "{}: a name is used twice", operation.id);
        }
    }

    #[test]
    fn a_body_is_declared_exactly_where_its_media_type_is() {
        for operation in OPERATIONS {
            let has_fields = operation.params.iter().any(|p| p.place == Place::Body);
            assert!(!has_fields || operation.request != Media::None, "{}", operation.id);
            assert!(operation.method != Method::Get || operation.request == Media::None, "{}", operation.id);
        }
    }

    #[test]
    fn every_flow_names_operations_that_exist() {
        for flow in FLOWS {
            assert!(flow.operations.iter().all(|id| find(id).is_some()), "{}", flow.id);
        }
    }

    #[test]
    fn every_entry_says_in_a_sentence_what_it_does() {
        for operation in OPERATIONS {
            assert!(operation.summary.ends_with('.') && operation.doc.ends_with('.'), "{}", operation.id);
            for param in operation.params {
                assert!(param.doc.ends_with('.'), "{} {}", operation.id, param.name);
            }
        }
    }
}
