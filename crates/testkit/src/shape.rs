//! Whether an answer has the types that the Engine API's definition gives it.
//!
//! `data/engine-api-shapes.json` holds what `scripts/shapes` kept of the definition. Docker itself
//! is loose about absence: a field may be missing, and `null` stands for an empty list or map.

use serde_json::Value;
use std::sync::OnceLock;

static SHAPES: OnceLock<Value> = OnceLock::new();

fn shapes() -> &'static Value {
    SHAPES.get_or_init(|| {
        serde_json::from_str(include_str!("../data/engine-api-shapes.json"))
            .expect("engine-api-shapes.json is JSON")
    })
}

/// The operations of the definition (`GET /containers/json`): `parameters` by place, the names of
/// `filters`, the `statuses` of answers.
#[must_use]
pub fn operations() -> &'static serde_json::Map<String, Value> {
    shapes()["operations"].as_object().expect("the definition has operations")
}

/// Compares `value` with the answer of an operation such as `GET /containers/json`. Returns every
/// difference: `path: what is wrong`. Fields that the definition does not know are reported too.
#[must_use]
pub fn differences(operation: &str, value: &Value) -> Vec<String> {
    let shape = &shapes()["answers"][operation];
    assert!(!shape.is_null(), "the Engine API has no answer for {operation}");
    let mut found = Vec::new();
    compare(shape, value, "", &mut found);
    found
}

/// Insists that an answer has the right types. `extra` lists the paths of fields which the
/// definition has dropped since and that may still be there.
#[track_caller]
pub fn check(operation: &str, value: &Value, extra: &[&str]) {
    let found: Vec<String> = differences(operation, value)
        .into_iter()
        .filter(|difference| !extra.iter().any(|path| difference.starts_with(&format!("{path}:"))))
        .collect();
    assert!(found.is_empty(), "{operation}:\n  {}\nin {value:#}", found.join("\n  "));
}

fn compare(shape: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let shape = resolved(shape);
    if value.is_null() {
        let kind = kind_of(&shape);
        // Go's nil pointers, slices and maps.
        let empty = matches!(kind, "array" | "object" | "");
        if !empty && shape["x-nullable"] != true {
            found.push(format!("{path}: null instead of {kind}"));
        }
        return;
    }
    match kind_of(&shape) {
        "object" => object(&shape, value, path, found),
        "array" => match value.as_array() {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    compare(&shape["items"], item, &format!("{path}[{index}]"), found);
                }
            }
            None => found.push(format!("{path}: {value} instead of array")),
        },
        "string" => {
            let Some(text) = value.as_str() else {
                found.push(format!("{path}: {value} instead of string"));
                return;
            };
            if let Some(allowed) = shape["enum"].as_array()
                && !text.is_empty()
                && !allowed.iter().any(|one| one == text)
            {
                found.push(format!("{path}: {text:?} is none of {allowed:?}"));
            }
        }
        "integer" if !value.is_i64() && !value.is_u64() => {
            found.push(format!("{path}: {value} instead of integer"));
        }
        "number" if !value.is_number() => found.push(format!("{path}: {value} instead of number")),
        "boolean" if !value.is_boolean() => {
            found.push(format!("{path}: {value} instead of boolean"));
        }
        _ => {}
    }
}

fn object(shape: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        found.push(format!("{path}: {value} instead of object"));
        return;
    };
    let known = shape["properties"].as_object();
    for (name, field) in fields {
        let below = format!("{path}.{name}");
        let exact = known.and_then(|known| known.get(name));
        if let Some(inner) = exact {
            compare(inner, field, &below, found);
        } else if !shape["additionalProperties"].is_null() {
            compare(&shape["additionalProperties"], field, &below, found);
        } else if known.is_some() {
            found.push(format!("{below}: not in the definition"));
        }
    }
}

fn kind_of(shape: &Value) -> &str {
    match shape["type"].as_str() {
        Some(kind) => kind,
        None if shape["properties"].is_object() => "object",
        None => "",
    }
}

/// Follows references and joins `allOf`.
fn resolved(shape: &Value) -> Value {
    let mut shape = shape.clone();
    while let Some(name) = shape["$ref"].as_str().map(str::to_owned) {
        let nullable = shape["x-nullable"].clone();
        shape = shapes()["definitions"][&name].clone();
        assert!(!shape.is_null(), "the Engine API has no {name}");
        if nullable == true {
            shape["x-nullable"] = nullable;
        }
    }
    if let Some(parts) = shape["allOf"].as_array().cloned() {
        for part in &parts {
            let part = resolved(part);
            if let Some(fields) = part["properties"].as_object() {
                for (name, field) in fields {
                    shape["properties"][name] = field.clone();
                }
            }
            for key in ["type", "additionalProperties", "items", "enum"] {
                if !part[key].is_null() && shape[key].is_null() {
                    shape[key] = part[key].clone();
                }
            }
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_right_answer_passes() {
        assert!(
            differences("POST /containers/create", &json!({"Id": "x", "Warnings": []})).is_empty()
        );
    }

    #[test]
    fn wrong_types_and_unknown_fields_are_found() {
        let value = json!({"Id": 5, "Warnings": [1], "Surprise": true});
        let found = differences("POST /containers/create", &value);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
