//! `openapi.json`, made from the catalogue.

use serde_json::{Map, Value, json};

use crate::{Auth, Field, Kind, Media, OPERATIONS, Operation, Param, Place};

/// The OpenAPI 3.1 document of this catalogue.
///
/// # Shape One path item per path; `operationId` is [`Operation::id`]; every failure refers to the one
/// `Problem` schema.
pub fn openapi(version: &str) -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        item[operation.method.as_str().to_lowercase()] = describe(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Run402",
            "version": version,
            "summary": "Postgres, storage and hosting that an agent provisions and pays for by itself.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": { "Problem": problem() }, "securitySchemes": security_schemes() },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "tags": [operation.id.split('.').next().unwrap_or_default()],
        "summary": operation.summary,
        "description": operation.doc,
        "parameters": parameters(operation),
        "security": security(operation.auth),
        "responses": responses(operation),
    });
    if operation.request != Media::None {
        out["requestBody"] = request_body(operation);
    }
    out["x-run402"] =
        json!({ "cli": operation.cli, "mcp": operation.mcp, "paid": operation.paid, "ci": operation.ci });
    out
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let outside = operation.params.iter().filter(|param| param.place != Place::Body);
    outside
        .map(|param| {
            json!({
                "name": param.name, "in": param.place, "required": param.required,
                "description": param.doc, "schema": schema(param.kind),
            })
        })
        .collect()
}

fn request_body(operation: &Operation) -> Value {
    let fields: Vec<&Param> = operation.params_in(Place::Body).collect();
    let needed: Vec<&str> = fields.iter().filter(|param| param.required).map(|param| param.name).collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|param| {
            let mut value = schema(param.kind);
            value["description"] = param.doc.into();
            (param.name.to_owned(), value)
        })
        .collect();
    let mut object = json!({ "type": "object", "properties": properties });
    if !needed.is_empty() {
        object["required"] = json!(needed);
    }
    let content: Map<String, Value> = operation
        .request_media()
        .iter()
        .map(|media| {
            let schema = if *media == "text/plain" { json!({ "type": "string" }) } else { object.clone() };
            ((*media).to_owned(), json!({ "schema": schema }))
        })
        .collect();
    json!({ "required": !needed.is_empty(), "content": content })
}

fn responses(operation: &Operation) -> Value {
    let mut success = json!({ "description": "Done." });
    if let Some(media) = operation.response.types().first() {
        let schema = match operation.response {
            Media::Bytes => json!({ "type": "string", "format": "binary" }),
            _ => answer(operation.answer),
        };
        success["content"] = json!({ *media: { "schema": schema } });
    }
    let refusal = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let mut out = json!({
        operation.success.to_string(): success,
        "default": { "description": "Refused or failed; the body says why.", "content": refusal.clone() },
    });
    if operation.paid {
        out[operation.success.to_string()]["headers"] = json!({ "PAYMENT-RESPONSE": {
            "description": "The x402 receipt, when the request was paid: base64 of JSON.",
            "schema": { "type": "string" },
        }});
        out["402"] = json!({
            "description": "Pay one of the offers and send the same request with PAYMENT-SIGNATURE.",
            "headers": { "PAYMENT-REQUIRED": {
                "description": "The x402 version 2 challenge: base64 of JSON.",
                "schema": { "type": "string" },
            }},
            "content": refusal,
        });
    }
    out
}

fn answer(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let value = schema(field.kind);
            let value = if field.nullable { json!({ "anyOf": [value, { "type": "null" }] }) } else { value };
            (field.name.to_owned(), value)
        })
        .collect();
    let always: Vec<&str> = fields.iter().filter(|field| !field.nullable).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": always })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Segments => json!({ "type": "string" }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Object => json!({ "type": "object" }),
        Kind::List => json!({ "type": "array", "items": {} }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
    }
}

fn security(auth: Auth) -> Value {
    match auth {
        Auth::None => json!([]),
        Auth::Wallet => json!([{ "wallet": [] }]),
        Auth::ServiceKey => json!([{ "serviceKey": [] }]),
        Auth::AnonKey => json!([{ "anonKey": [] }, { "serviceKey": [] }]),
        Auth::User => json!([{ "userToken": [] }]),
        Auth::AnonOrUser => json!([{ "anonKey": [] }, { "userToken": [] }]),
        Auth::AnonOrWallet => json!([{ "anonKey": [] }, { "serviceKey": [] }, { "wallet": [] }]),
        Auth::Admin => json!([{ "wallet": [], "adminMode": [] }]),
    }
}

fn security_schemes() -> Value {
    json!({
        "wallet": {
            "type": "apiKey", "in": "header", "name": "SIGN-IN-WITH-X",
            "description": "Base64 of a JSON object signed by a wallet (EIP-4361 text, EIP-191 signature), \
                            good for five minutes.",
        },
        "serviceKey": { "type": "http", "scheme": "bearer", "description": "The project's service key." },
        "anonKey": {
            "type": "apiKey", "in": "header", "name": "apikey",
            "description": "The project's anon key, which may be public.",
        },
        "userToken": { "type": "http", "scheme": "bearer", "description": "A token of one of the project's users." },
        "adminMode": { "type": "apiKey", "in": "header", "name": "X-Admin-Mode", "description": "Always 1." },
    })
}

/// The body of every failure.
///
/// # Source
/// Wire contract 04 section 1.5.
fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["error", "message", "code", "category", "retryable", "safe_to_retry", "mutation_state"],
        "properties": {
            "error": text,
            "message": { "type": "string", "description": "What happened, for people." },
            "code": { "type": "string", "description": "What happened, for programs: UPPER_SNAKE." },
            "category": text,
            "retryable": { "type": "boolean", "description": "The same request may succeed later." },
            "safe_to_retry": { "type": "boolean", "description": "Repeating it cannot do it twice." },
            "mutation_state": {
                "type": "string",
                "enum": ["none", "not_started", "committed", "rolled_back", "partial", "unknown"],
                "description": "What became of the change.",
            },
            "trace_id": text,
            "hint": text,
            "retry_after": { "type": "number", "description": "Seconds to wait before the next try." },
            "details": { "type": "object" },
            "next_actions": {
                "type": "array",
                "items": { "type": "object", "properties": { "action": text, "type": text } },
            },
            "x402": { "type": "object", "description": "The PAYMENT-REQUIRED header, decoded." },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_in_the_document_under_its_id() {
        let document = openapi("1.2.3");
        assert_eq!(document["info"]["version"], "1.2.3");
        for operation in OPERATIONS {
            let found = &document["paths"][operation.path][operation.method.as_str().to_lowercase()];
            assert_eq!(found["operationId"], operation.id);
            assert!(found["responses"][operation.success.to_string()].is_object(), "{}", operation.id);
            let asks_for_money = operation.paid || operation.success == 402;
            assert_eq!(found["responses"]["402"].is_object(), asks_for_money, "{}", operation.id);
            assert_eq!(
                found["requestBody"].is_object(),
                operation.request != Media::None,
                "{}",
                operation.id
            );
        }
    }

    #[test]
    fn every_reference_and_scheme_resolves() {
        let document = openapi("0");
        let schemes = document["components"]["securitySchemes"].as_object().unwrap();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                for need in operation["security"].as_array().unwrap() {
                    assert!(need.as_object().unwrap().keys().all(|name| schemes.contains_key(name)));
                }
            }
        }
        let text = document.to_string();
        assert!(
            text.contains("#/components/schemas/Problem") && text.matches("$ref").count() > OPERATIONS.len()
        );
        assert!(document["components"]["schemas"]["Problem"]["properties"]["next_actions"].is_object());
    }

    #[test]
    fn sql_may_be_plain_text_or_json() {
        let document = openapi("0");
        let content = &document["paths"]["/projects/v1/admin/{id}/sql"]["post"]["requestBody"]["content"];
        assert_eq!(content["text/plain"]["schema"]["type"], "string");
        assert_eq!(content["application/json"]["schema"]["required"][0], "sql");
    }
}
