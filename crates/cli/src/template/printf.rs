//! Go's `fmt`, as far as templates use it, and its `%g`.

use super::value::{Number, Value};

/// Longest padding that is honoured; more is a slip of the hand.
const WIDEST: usize = 10_000;

/// Go's `Sprint`: a blank between operands when neither is a string.
pub(super) fn print(args: &[Value]) -> String {
    let mut out = String::new();
    let mut last_was_text = true;
    for (at, arg) in args.iter().enumerate() {
        let is_text = matches!(arg, Value::Text(_));
        if at > 0 && !is_text && !last_was_text {
            out.push(' ');
        }
        out.push_str(&arg.show());
        last_was_text = is_text;
    }
    out
}

/// Go's `Sprintf`.
pub(super) fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            flags.push(flag);
        }
        let mut digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = String::new();
            if chars.next_if_eq(&'*').is_some() {
                return args.next().and_then(Value::as_int).and_then(|n| usize::try_from(n).ok());
            }
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
            number.parse::<usize>().ok()
        };
        let width = digits(&mut chars).unwrap_or(0).min(WIDEST);
        let precision = chars.next_if_eq(&'.').map(|_| digits(&mut chars).unwrap_or(0).min(WIDEST));
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let shown = one(verb, precision, arg);
        let missing = width.saturating_sub(shown.chars().count());
        if flags.contains('-') {
            out.push_str(&shown);
            out.push_str(&" ".repeat(missing));
        } else if flags.contains('0') && matches!(arg, Value::Number(_)) {
            let (sign, bare) =
                shown.strip_prefix('-').map_or(("", shown.as_str()), |bare| ("-", bare));
            out.push_str(sign);
            out.push_str(&"0".repeat(missing));
            out.push_str(bare);
        } else {
            out.push_str(&" ".repeat(missing));
            out.push_str(&shown);
        }
    }
    out
}

fn one(verb: char, precision: Option<usize>, arg: &Value) -> String {
    match (verb, arg) {
        ('s' | 'v', Value::Text(text)) => match precision {
            Some(limit) => text.chars().take(limit).collect(),
            None => text.clone(),
        },
        ('q', Value::Text(text)) => quote(text),
        ('x', Value::Text(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('v' | 's', _) => arg.show(),
        ('t', Value::Bool(truth)) => truth.to_string(),
        ('d', Value::Number(Number::Int(n))) => n.to_string(),
        ('d', Value::Number(Number::Uint(n))) => n.to_string(),
        ('x', Value::Number(Number::Int(n))) => format!("{n:x}"),
        ('X', Value::Number(Number::Int(n))) => format!("{n:X}"),
        ('o', Value::Number(Number::Int(n))) => format!("{n:o}"),
        ('b', Value::Number(Number::Int(n))) => format!("{n:b}"),
        ('c', Value::Number(Number::Int(n))) => {
            u32::try_from(*n).ok().and_then(char::from_u32).map(String::from).unwrap_or_default()
        }
        ('f' | 'F', Value::Number(Number::Float(n))) => {
            format!("{n:.*}", precision.unwrap_or(6))
        }
        ('g', Value::Number(Number::Float(n))) => match precision {
            Some(digits) => general(*n, digits),
            None => shortest(*n),
        },
        _ => format!("%!{verb}({})", arg.show()),
    }
}

/// Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Go's `%v` of a float: as short as is exact, with an exponent from 21 digits on.
pub(super) fn shortest(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        return exponent(&format!("{number:e}"));
    }
    number.to_string()
}

/// Go's `%.<digits>g`: so many significant digits, no trailing zeros, an exponent where it is
/// shorter.
pub(crate) fn general(number: f64, digits: usize) -> String {
    let digits = digits.max(1);
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific.as_str(), "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let limit = i32::try_from(digits).unwrap_or(i32::MAX);
    if power < -4 || power >= limit {
        return exponent(&format!("{}e{power}", trimmed(mantissa)));
    }
    let decimals = usize::try_from(limit - 1 - power).unwrap_or(0);
    trimmed(&format!("{number:.decimals$}"))
}

/// `1e5` as Go writes it: `1e+05`.
fn exponent(text: &str) -> String {
    let Some((mantissa, power)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match power.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}
