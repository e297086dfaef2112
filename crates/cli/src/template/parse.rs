//! Pieces into a tree.

use super::Error;
use super::lex::{Piece, Token};
use super::value::{Number, Value};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// A value to show.
    Show(Pipeline),
    /// `if`: the branch whose condition is true.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`: the same with the dot set.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`: the first once for each item, the second when there is none.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// `$a, $b := first | second`.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// Which variables take the result.
    pub(super) variables: Vec<String>,
    /// New ones (`:=`) or existing ones (`=`).
    pub(super) declare: bool,
    /// Each takes the result of the one before as its last argument.
    pub(super) commands: Vec<Vec<Term>>,
}

/// An operand.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// A constant.
    Constant(Value),
    /// A function's name.
    Function(String),
    /// `.A.B`; nothing is the dot itself.
    Fields(Vec<String>),
    /// `$a.B`.
    Variable(String, Vec<String>),
    /// `(…).B`.
    Group(Pipeline, Vec<String>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

/// Deeper nesting is a mistake, or an attempt to exhaust the stack.
const DEEPEST: usize = 100;

/// What ended a list of nodes.
enum Stop {
    Text,
    End,
    Else(Vec<Token>, usize),
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Error> {
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0 };
    match parser.nodes()? {
        (nodes, Stop::Text) => Ok(nodes),
        (_, Stop::End) => Err(syntax(1, "unexpected {{end}}")),
        (_, Stop::Else(_, line)) => Err(syntax(line, "unexpected {{else}}")),
    }
}

fn syntax(line: usize, reason: impl Into<String>) -> Error {
    Error::Syntax { line, reason: reason.into() }
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(syntax(1, "nested too deeply"));
        }
        let mut nodes = Vec::new();
        let end = loop {
            match self.pieces.next() {
                None => break Stop::Text,
                Some(Piece::Text(text)) => nodes.push(Node::Text(text)),
                Some(Piece::Action(tokens, line)) => {
                    let keyword = match tokens.first() {
                        Some(Token::Word(word)) => word.as_str(),
                        _ => "",
                    };
                    match keyword {
                        "end" if tokens.len() == 1 => break Stop::End,
                        "else" => break Stop::Else(tokens[1..].to_vec(), line),
                        "break" if tokens.len() == 1 => nodes.push(Node::Break),
                        "continue" if tokens.len() == 1 => nodes.push(Node::Continue),
                        "if" | "with" | "range" => nodes.push(self.branch(&tokens, line)?),
                        "define" | "template" | "block" => {
                            return Err(syntax(
                                line,
                                format!("{{{{{keyword}}}}} is not supported"),
                            ));
                        }
                        _ => nodes.push(Node::Show(pipeline(&tokens, line)?)),
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn branch(&mut self, tokens: &[Token], line: usize) -> Result<Node, Error> {
        let Some(Token::Word(keyword)) = tokens.first() else {
            return Err(syntax(line, "missing keyword"));
        };
        let condition = pipeline(&tokens[1..], line)?;
        let (then, end) = self.nodes()?;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Text => return Err(syntax(line, "unexpected EOF")),
            // `else if …` is `else` holding another `if` that shares its `end`.
            Stop::Else(rest, line) if !rest.is_empty() => vec![self.branch(&rest, line)?],
            Stop::Else(..) => match self.nodes()? {
                (nodes, Stop::End) => nodes,
                _ => return Err(syntax(line, "expected end")),
            },
        };
        Ok(match keyword.as_str() {
            "if" => Node::If(condition, then, otherwise),
            "with" => Node::With(condition, then, otherwise),
            "range" => Node::Range(condition, then, otherwise),
            other => return Err(syntax(line, format!("unexpected <{other}>"))),
        })
    }
}

fn pipeline(tokens: &[Token], line: usize) -> Result<Pipeline, Error> {
    let mut at = 0;
    let pipeline = pipeline_at(tokens, &mut at, line, 0)?;
    if at < tokens.len() {
        return Err(syntax(line, "unexpected right paren"));
    }
    Ok(pipeline)
}

fn pipeline_at(
    tokens: &[Token],
    at: &mut usize,
    line: usize,
    depth: usize,
) -> Result<Pipeline, Error> {
    if depth > DEEPEST {
        return Err(syntax(line, "nested too deeply"));
    }
    let (variables, declare) = assignment(&tokens[*at..]);
    if !variables.is_empty() {
        *at += variables.len() * 2;
    }
    let mut commands = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        let current = commands.last_mut().ok_or_else(|| syntax(line, "missing value"))?;
        match token {
            Token::Close => break,
            Token::Pipe => {
                if current.is_empty() {
                    return Err(syntax(line, "missing value for command"));
                }
                *at += 1;
                commands.push(Vec::new());
                continue;
            }
            Token::Open => {
                *at += 1;
                let inner = pipeline_at(tokens, at, line, depth + 1)?;
                if tokens.get(*at) != Some(&Token::Close) {
                    return Err(syntax(line, "unclosed left paren"));
                }
                *at += 1;
                let fields = chain(tokens, at);
                current.push(Term::Group(inner, fields));
                continue;
            }
            Token::Field(name, _) => {
                *at += 1;
                let mut fields = chain(tokens, at);
                if !name.is_empty() {
                    fields.insert(0, name.clone());
                }
                current.push(Term::Fields(fields));
                continue;
            }
            Token::Variable(name) => {
                *at += 1;
                let fields = chain(tokens, at);
                current.push(Term::Variable(name.clone(), fields));
                continue;
            }
            Token::Word(word) => current.push(match word.as_str() {
                "true" => Term::Constant(Value::Bool(true)),
                "false" => Term::Constant(Value::Bool(false)),
                "nil" => Term::Constant(Value::Null),
                _ if super::functions::exists(word) => Term::Function(word.clone()),
                _ => return Err(syntax(line, format!("function {word:?} not defined"))),
            }),
            Token::Text(text) => current.push(Term::Constant(Value::Text(text.clone()))),
            Token::Int(n) => current.push(Term::Constant(Value::from(*n))),
            Token::Float(n) => {
                current.push(Term::Constant(Value::Number(Number::Float(*n))));
            }
            Token::Comma | Token::Declare | Token::Assign => {
                return Err(syntax(line, "unexpected token in operand"));
            }
        }
        *at += 1;
    }
    if commands.last().is_none_or(Vec::is_empty) {
        return Err(syntax(line, "missing value for command"));
    }
    Ok(Pipeline { variables, declare, commands })
}

/// `$a :=`, `$a, $b :=` or `$a =` at the beginning.
fn assignment(tokens: &[Token]) -> (Vec<String>, bool) {
    match tokens {
        [Token::Variable(a), Token::Declare, ..] => (vec![a.clone()], true),
        [Token::Variable(a), Token::Assign, ..] => (vec![a.clone()], false),
        [Token::Variable(a), Token::Comma, Token::Variable(b), Token::Declare, ..] => {
            (vec![a.clone(), b.clone()], true)
        }
        _ => (Vec::new(), false),
    }
}

/// `.A.B` right behind an operand, without white space.
fn chain(tokens: &[Token], at: &mut usize) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some(Token::Field(name, false)) = tokens.get(*at) {
        fields.push(name.clone());
        *at += 1;
    }
    fields
}

/// Whether any pipeline asks for the field.
pub(super) fn mentions(nodes: &[Node], field: &str) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Show(pipeline) => in_pipeline(pipeline, field),
        Node::If(p, a, b) | Node::With(p, a, b) | Node::Range(p, a, b) => {
            in_pipeline(p, field) || mentions(a, field) || mentions(b, field)
        }
    })
}

fn in_pipeline(pipeline: &Pipeline, field: &str) -> bool {
    pipeline.commands.iter().flatten().any(|term| match term {
        Term::Constant(_) | Term::Function(_) => false,
        Term::Fields(fields) | Term::Variable(_, fields) => fields.iter().any(|f| f == field),
        Term::Group(inner, fields) => {
            in_pipeline(inner, field) || fields.iter().any(|f| f == field)
        }
    })
}
