//! Text into pieces: literal text and the tokens between `{{` and `}}`.

use super::Error;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text as it is.
    Text(String),
    /// An action, and the line it stands on.
    Action(Vec<Token>, usize),
}

/// A token of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.Name`, or the lone dot as an empty name. `true` when white space stands before it.
    Field(String, bool),
    /// `$name`.
    Variable(String),
    /// A word: a function, a keyword, `true`, `nil`.
    Word(String),
    /// A string or a rune's number.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

fn syntax(line: usize, reason: impl Into<String>) -> Error {
    Error::Syntax { line, reason: reason.into() }
}

/// Cuts a template into pieces; `{{-` and `-}}` have taken the white space they take.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trim_left = false;
    loop {
        let (before, after) = match rest.find("{{") {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        line += before.matches('\n').count();
        let mut literal = if trim_left { before.trim_start() } else { before };
        let Some(mut inside) = after else {
            if !literal.is_empty() {
                pieces.push(Piece::Text(literal.to_owned()));
            }
            return Ok(pieces);
        };
        if let Some(trimmed) = inside.strip_prefix('-')
            && trimmed.starts_with([' ', '\t', '\n', '\r'])
        {
            literal = literal.trim_end();
            inside = trimmed;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.to_owned()));
        }
        let comment = inside.trim_start();
        let (tokens, used) = if comment.starts_with("/*") {
            let end = comment.find("*/").ok_or_else(|| syntax(line, "unclosed comment"))?;
            (None, inside.len() - comment.len() + end + 2)
        } else {
            let (tokens, used) = action(inside, line)?;
            (Some(tokens), used)
        };
        let mut tail = &inside[used..];
        trim_left = false;
        let spaced = tail.trim_start();
        if spaced.starts_with("-}}") && spaced.len() < tail.len() {
            trim_left = true;
            tail = &spaced[1..];
        } else {
            tail = spaced;
        }
        let Some(next) = tail.strip_prefix("}}") else {
            return Err(syntax(line, "unclosed action"));
        };
        line += inside[..inside.len() - next.len()].matches('\n').count();
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(tokens, line));
        }
        rest = next;
    }
}

/// Reads tokens up to (not including) `}}` or ` -}}`; returns how many bytes they took.
fn action(text: &str, line: usize) -> Result<(Vec<Token>, usize), Error> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            return Err(syntax(line, "unclosed action"));
        };
        let spaced = at == 0 || text[..at].ends_with(|c: char| c.is_whitespace());
        if rest.starts_with("}}") || (spaced && rest.starts_with("-}}")) {
            return Ok((tokens, at));
        }
        let word =
            |s: &str| s.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(s.len());
        match first {
            c if c.is_whitespace() => at += c.len_utf8(),
            '|' | '(' | ')' | ',' | '=' => {
                tokens.push(match first {
                    '|' => Token::Pipe,
                    '(' => Token::Open,
                    ')' => Token::Close,
                    ',' => Token::Comma,
                    _ => Token::Assign,
                });
                at += 1;
            }
            ':' if rest.starts_with(":=") => {
                tokens.push(Token::Declare);
                at += 2;
            }
            '"' | '`' | '\'' => {
                let (token, used) = quoted(rest, line)?;
                tokens.push(token);
                at += used;
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let length = word(&rest[1..]);
                tokens.push(Token::Field(rest[1..=length].to_owned(), spaced));
                at += 1 + length;
            }
            '$' => {
                let length = word(&rest[1..]);
                tokens.push(Token::Variable(rest[1..=length].to_owned()));
                at += 1 + length;
            }
            c if c.is_ascii_digit() || ((c == '-' || c == '+' || c == '.') && rest.len() > 1) => {
                let (token, used) = number(rest, line)?;
                tokens.push(token);
                at += used;
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = word(rest);
                tokens.push(Token::Word(rest[..length].to_owned()));
                at += length;
            }
            other => {
                return Err(syntax(line, format!("unexpected {other:?} in command")));
            }
        }
    }
}

fn number(text: &str, line: usize) -> Result<(Token, usize), Error> {
    let length = text
        .char_indices()
        .find(|(at, c)| {
            !(c.is_ascii_alphanumeric()
                || *c == '.'
                || *c == '_'
                || (*at == 0 && "+-".contains(*c)))
        })
        .map_or(text.len(), |(at, _)| at);
    let word = &text[..length];
    let bad = || syntax(line, format!("bad number syntax: {word:?}"));
    let digits = word.replace('_', "");
    let (sign, bare) = match digits.strip_prefix('-') {
        Some(bare) => (-1, bare),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let token = if let Some(hex) = bare.strip_prefix("0x") {
        Token::Int(sign * i64::from_str_radix(hex, 16).map_err(|_| bad())?)
    } else if let Ok(whole) = digits.trim_start_matches('+').parse() {
        Token::Int(whole)
    } else {
        Token::Float(digits.parse().map_err(|_| bad())?)
    };
    Ok((token, length))
}

fn quoted(text: &str, line: usize) -> Result<(Token, usize), Error> {
    let quote = text.chars().next().unwrap_or('"');
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let token = if quote == '\'' {
                let mut runes = out.chars();
                match (runes.next(), runes.next()) {
                    (Some(rune), None) => Token::Int(i64::from(u32::from(rune))),
                    _ => return Err(syntax(line, "malformed character constant")),
                }
            } else {
                Token::Text(out)
            };
            return Ok((token, at + c.len_utf8()));
        }
        if c != '\\' || quote == '`' {
            out.push(c);
            continue;
        }
        let Some((_, escaped)) = chars.next() else { break };
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
            let rune = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
            out.push(rune.ok_or_else(|| syntax(line, "invalid escape in string"))?);
            continue;
        }
        out.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '0' => '\0',
            '\\' | '"' | '\'' => escaped,
            _ => return Err(syntax(line, "invalid escape in string")),
        });
    }
    Err(syntax(line, "unterminated quoted string"))
}
