//! Go's built-in functions and Docker's.

use std::cmp::Ordering;

use super::value::{Number, Value};
use super::{Error, Mode, printf};

const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt",
    "le", "gt", "ge", "html", "js", "urlquery", "json", "split", "join", "title", "lower", "upper",
    "pad", "truncate", "println", "table",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

fn wrong(name: &str, want: &str) -> Error {
    Error::Call(format!("error calling {name}: {want}"))
}

fn text<'a>(name: &str, args: &'a [Value], at: usize) -> Result<&'a str, Error> {
    args.get(at).and_then(Value::as_str).ok_or_else(|| wrong(name, "expected string"))
}

fn whole(name: &str, args: &[Value], at: usize) -> Result<i64, Error> {
    args.get(at).and_then(Value::as_int).ok_or_else(|| wrong(name, "expected integer"))
}

/// Calls a function.
pub(super) fn call(name: &str, args: &[Value], mode: Mode) -> Result<Value, Error> {
    if mode == Mode::Header {
        // A heading goes through the functions that only change how a value looks.
        let heading = match name {
            "json" | "title" | "lower" | "upper" => args.first(),
            "split" | "truncate" | "join" => args.iter().find(|arg| arg.as_str().is_some()),
            _ => None,
        };
        if let Some(heading) = heading {
            return Ok(heading.clone());
        }
    }
    Ok(match name {
        "not" => Value::Bool(!args.first().is_some_and(Value::truth)),
        "len" => length(args)?,
        "index" => index(args)?,
        "slice" => slice(args)?,
        "print" => Value::Text(printf::print(args)),
        "println" => {
            let words: Vec<String> = args.iter().map(Value::show).collect();
            Value::Text(words.join(" ") + "\n")
        }
        "printf" => {
            let format = text(name, args, 0)?;
            Value::Text(printf::printf(format, args.get(1..).unwrap_or_default()))
        }
        "eq" => {
            let (first, rest) = args.split_first().ok_or_else(|| wrong(name, "no arguments"))?;
            if rest.is_empty() {
                return Err(wrong(name, "missing argument for comparison"));
            }
            let mut equal = false;
            for other in rest {
                equal |= compare(first, other)? == Ordering::Equal;
            }
            Value::Bool(equal)
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [a, b] = args else {
                return Err(wrong(name, "wrong number of arguments: want 2"));
            };
            let order = compare(a, b)?;
            Value::Bool(match name {
                "ne" => order.is_ne(),
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        "html" => Value::Text(html(&printf::print(args))),
        "js" | "urlquery" => Value::Text(printf::print(args)),
        "json" => {
            let value = args.first().cloned().unwrap_or_default();
            let text = serde_json::to_string(&value).unwrap_or_default();
            Value::Text(if mode == Mode::Rows { for_pages(&text) } else { text })
        }
        "split" => {
            let (all, by) = (text(name, args, 0)?, text(name, args, 1)?);
            Value::List(all.split(by).map(Value::from).collect())
        }
        "join" => join(args)?,
        "title" => Value::Text(title(text(name, args, 0)?)),
        "lower" => Value::Text(text(name, args, 0)?.to_lowercase()),
        "upper" => Value::Text(text(name, args, 0)?.to_uppercase()),
        "pad" => {
            let blank = |n: i64| " ".repeat(usize::try_from(n.clamp(0, 10_000)).unwrap_or(0));
            let middle = text(name, args, 0)?;
            if middle.is_empty() {
                Value::from("")
            } else {
                let (before, after) = (whole(name, args, 1)?, whole(name, args, 2)?);
                Value::Text(format!("{}{middle}{}", blank(before), blank(after)))
            }
        }
        "truncate" => {
            let limit = usize::try_from(whole(name, args, 1)?).unwrap_or(0);
            Value::Text(text(name, args, 0)?.chars().take(limit).collect())
        }
        other => return Err(wrong(other, "no such function")),
    })
}

/// What Go's `json.Marshal` does for the sake of web pages.
fn for_pages(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn length(args: &[Value]) -> Result<Value, Error> {
    let count = match args {
        [Value::Text(text)] => text.len(),
        [Value::List(items)] => items.len(),
        [Value::Map(entries)] => entries.len(),
        [Value::Null] => 0,
        _ => return Err(wrong("len", "needs one string, list or map")),
    };
    Ok(Value::from(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn index(args: &[Value]) -> Result<Value, Error> {
    let (first, keys) = args.split_first().ok_or_else(|| wrong("index", "no arguments"))?;
    let mut value = first;
    for key in keys {
        value = match (value, key) {
            (Value::List(items), _) => {
                let at = key.as_int().ok_or_else(|| wrong("index", "expected integer"))?;
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items.get(at))
                    .ok_or_else(|| wrong("index", &format!("index out of range: {at}")))?
            }
            (Value::Map(_), Value::Text(name)) => match value.get(name) {
                Some(inner) => inner,
                None => return Ok(Value::from("")),
            },
            (Value::Text(text), _) => {
                let byte = key
                    .as_int()
                    .and_then(|at| usize::try_from(at).ok())
                    .and_then(|at| text.as_bytes().get(at))
                    .ok_or_else(|| wrong("index", "index out of range"))?;
                return Ok(Value::from(i64::from(*byte)));
            }
            (Value::Null, _) => return Err(wrong("index", "index of untyped nil")),
            _ => return Err(wrong("index", "can't index this value")),
        };
    }
    Ok(value.clone())
}

fn slice(args: &[Value]) -> Result<Value, Error> {
    let bound = |at: usize, default: usize| -> Result<usize, Error> {
        match args.get(at) {
            None => Ok(default),
            Some(_) => usize::try_from(whole("slice", args, at)?)
                .map_err(|_| wrong("slice", "index out of range")),
        }
    };
    let range = || wrong("slice", "index out of range");
    match args.first() {
        Some(Value::Text(text)) => {
            let (from, to) = (bound(1, 0)?, bound(2, text.len())?);
            text.get(from..to).map(Value::from).ok_or_else(range)
        }
        Some(Value::List(items)) => {
            let (from, to) = (bound(1, 0)?, bound(2, items.len())?);
            items.get(from..to).map(|part| Value::List(part.to_vec())).ok_or_else(range)
        }
        _ => Err(wrong("slice", "needs a string or a list")),
    }
}

fn join(args: &[Value]) -> Result<Value, Error> {
    let by = text("join", args, 1)?;
    match args.first() {
        Some(Value::List(items)) => {
            let words: Vec<String> = items.iter().map(Value::show).collect();
            Ok(Value::Text(words.join(by)))
        }
        Some(Value::Null) => Ok(Value::from("")),
        _ => Err(wrong("join", "expected a list of strings")),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start;
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, Error> {
    let unlike = || Error::Call("incompatible types for comparison".to_owned());
    #[allow(clippy::cast_precision_loss, reason = "as Go compares a float with an integer")]
    let float = |n: Number| match n {
        Number::Int(n) => n as f64,
        Number::Uint(n) => n as f64,
        Number::Float(n) => n,
    };
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Number(Number::Int(a)), Value::Number(Number::Int(b))) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => {
            float(*a).partial_cmp(&float(*b)).ok_or_else(unlike)
        }
        (Value::Null, Value::Null) => Ok(Ordering::Equal),
        (Value::Null, _) | (_, Value::Null) => Ok(Ordering::Less),
        _ => Err(unlike()),
    }
}
