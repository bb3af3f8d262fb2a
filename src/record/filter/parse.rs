//! Owns: from a filter's text to a tree of the operators that are supported.
//! Must not know: rows, column types.
//! Invariant: no text makes it panic or overflow the stack; what is not supported does not get into the tree.

use super::{FilterError, MAX_DEPTH, MAX_WORDS};
use sqlparser::ast::{BinaryOperator, Expr, InTarget, Spanned, UnaryOperator, Value};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, Tokenizer};

/// A term and its text, which error messages show.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub text: String,
    pub term: Term,
}

/// One step of an expression.
#[derive(Clone, Debug)]
pub(super) enum Term {
    Null,
    Number(f64),
    Text(String),
    Truth(bool),
    Column { name: String, quoted: bool },
    Not(Box<Node>),
    Minus(Box<Node>),
    IsNull(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(Comparison, Box<[Node; 2]>),
    Compute(Arithmetic, Box<[Node; 2]>),
    Between(Box<[Node; 3]>),
    In(Box<Node>, Vec<Node>),
    Like(Box<[Node; 2]>, Option<char>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[cfg(test)]
impl Node {
    /// Calls `see` for every term, in the order of the text.
    pub fn visit(&self, see: &mut impl FnMut(&Term)) {
        see(&self.term);
        match &self.term {
            Term::Null | Term::Number(_) | Term::Text(_) | Term::Truth(_) | Term::Column { .. } => {}
            Term::Not(of) | Term::Minus(of) | Term::IsNull(of) => of.visit(see),
            Term::And(of) | Term::Or(of) => of.iter().for_each(|node| node.visit(see)),
            Term::Compare(_, of) | Term::Compute(_, of) | Term::Like(of, _) => {
                of.iter().for_each(|node| node.visit(see));
            }
            Term::Between(of) => of.iter().for_each(|node| node.visit(see)),
            Term::In(of, list) => std::iter::once(&**of).chain(list).for_each(|node| node.visit(see)),
        }
    }
}

/// Plain SQL without any database's extras: the fewer forms the parser knows, the clearer its errors.
#[derive(Debug)]
struct Plain;

impl Dialect for Plain {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }
}

/// Reads one expression, which must be all of `text`.
pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    let tokens =
        Tokenizer::new(&Plain, text).tokenize_with_location().map_err(|error| syntax(error.into()))?;
    let words = tokens.iter().filter(|found| !matches!(found.token, Token::Whitespace(_))).count();
    if words > MAX_WORDS {
        return Err(FilterError::TooLong { words });
    }
    if words == 0 {
        return Err(FilterError::Syntax { message: "it is empty".into(), place: String::new() });
    }
    let mut parser = Parser::new(&Plain).with_tokens_with_locations(tokens);
    let expression = parser.parse_expr().map_err(syntax)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!("expected an operator or the end, found {}", rest.token);
        return Err(FilterError::Syntax { message, place: place(rest.span.start) });
    }
    Builder(MAX_DEPTH).node(&expression)
}

/// Where something stands, for an error message; empty where that is not known.
fn place(at: Location) -> String {
    match (at.line, at.column) {
        (0, _) => String::new(),
        (1, column) => format!(" at column {column}"),
        (line, column) => format!(" at line {line}, column {column}"),
    }
}

/// The parser's error in our words. It tells places only inside its message.
fn syntax(error: ParserError) -> FilterError {
    let told = match error {
        ParserError::TokenizerError(told) | ParserError::ParserError(told) => told,
        ParserError::RecursionLimitExceeded => "it nests too deep".into(),
    };
    let (message, at) = match told.rsplit_once(" at Line: ") {
        Some((message, at)) => (message, at.split_once(", Column: ")),
        None => (told.as_str(), None),
    };
    let at = at.and_then(|(line, column)| Some(Location::new(line.parse().ok()?, column.parse().ok()?)));
    let message = message
        .replacen("Expected: ", "expected ", 1)
        .replacen("found: EOF", "found the end", 1)
        .replacen("found: ", "found ", 1);
    FilterError::Syntax { message, place: at.map(place).unwrap_or_default() }
}

fn unsupported(expression: &Expr) -> FilterError {
    FilterError::Unsupported { text: expression.to_string(), place: place(expression.span().start) }
}

/// Builds terms; the number is how many more levels it may go down.
struct Builder(usize);

impl Builder {
    fn node(&self, expression: &Expr) -> Result<Node, FilterError> {
        let Some(levels) = self.0.checked_sub(1) else {
            return Err(syntax(ParserError::RecursionLimitExceeded));
        };
        Ok(Node { text: expression.to_string(), term: Builder(levels).term(expression)? })
    }

    fn one(&self, expression: &Expr) -> Result<Box<Node>, FilterError> {
        self.node(expression).map(Box::new)
    }

    fn two(&self, left: &Expr, right: &Expr) -> Result<Box<[Node; 2]>, FilterError> {
        Ok(Box::new([self.node(left)?, self.node(right)?]))
    }

    fn all<'a>(&self, list: impl IntoIterator<Item = &'a Expr>) -> Result<Vec<Node>, FilterError> {
        list.into_iter().map(|expression| self.node(expression)).collect()
    }

    fn term(&self, expression: &Expr) -> Result<Term, FilterError> {
        Ok(match expression {
            Expr::Nested(inner) => self.node(inner)?.term,
            Expr::Identifier(ident) => {
                Term::Column { name: ident.value.clone(), quoted: ident.quote_style.is_some() }
            }
            Expr::Value(value) => literal(&value.value).ok_or_else(|| unsupported(expression))?,
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Term::Not(self.one(expr)?),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Term::Minus(self.one(expr)?),
            Expr::IsNull(of) => Term::IsNull(self.one(of)?),
            Expr::IsNotNull(of) => negate(true, Term::IsNull(self.one(of)?), expression),
            Expr::Between { expr, negated, low, high } => {
                let of = Box::new([self.node(expr)?, self.node(low)?, self.node(high)?]);
                negate(*negated, Term::Between(of), expression)
            }
            Expr::In { expr, target: InTarget::List(list), negated, global: false } => {
                negate(*negated, Term::In(self.one(expr)?, self.all(list)?), expression)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = escape(escape_char.as_deref(), expression)?;
                negate(*negated, Term::Like(self.two(expr, pattern)?, escape), expression)
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, expression)?,
            _ => return Err(unsupported(expression)),
        })
    }

    fn binary(
        &self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        whole: &Expr,
    ) -> Result<Term, FilterError> {
        use BinaryOperator as Op;
        let compare = |how| self.two(left, right).map(|of| Term::Compare(how, of));
        let compute = |how| self.two(left, right).map(|of| Term::Compute(how, of));
        match op {
            Op::And => self.all(chain(whole, op)).map(Term::And),
            Op::Or => self.all(chain(whole, op)).map(Term::Or),
            Op::Eq => compare(Comparison::Equal),
            Op::NotEq => compare(Comparison::NotEqual),
            Op::Lt => compare(Comparison::Less),
            Op::LtEq => compare(Comparison::LessOrEqual),
            Op::Gt => compare(Comparison::Greater),
            Op::GtEq => compare(Comparison::GreaterOrEqual),
            Op::Plus => compute(Arithmetic::Add),
            Op::Minus => compute(Arithmetic::Subtract),
            Op::Multiply => compute(Arithmetic::Multiply),
            Op::Divide => compute(Arithmetic::Divide),
            Op::Modulo => compute(Arithmetic::Remainder),
            _ => Err(unsupported(whole)),
        }
    }
}

/// `a`, `b` and `c` of `a AND b AND c`, which the parser nests to the left: a long chain is not a deep one.
fn chain<'a>(mut whole: &'a Expr, wanted: &BinaryOperator) -> Vec<&'a Expr> {
    let mut links = Vec::new();
    while let Expr::BinaryOp { left, op, right } = whole
        && op == wanted
    {
        links.push(&**right);
        whole = left;
    }
    links.push(whole);
    links.reverse();
    links
}

fn negate(negated: bool, term: Term, whole: &Expr) -> Term {
    match negated {
        true => Term::Not(Box::new(Node { text: whole.to_string(), term })),
        false => term,
    }
}

/// None where such a literal, or such a large number, is not supported.
fn literal(value: &Value) -> Option<Term> {
    match value {
        Value::Null => Some(Term::Null),
        Value::Boolean(value) => Some(Term::Truth(*value)),
        Value::SingleQuotedString(text) => Some(Term::Text(text.clone())),
        Value::Number(digits, false) => {
            digits.parse().ok().filter(|number: &f64| number.is_finite()).map(Term::Number)
        }
        _ => None,
    }
}

/// LIKE's escape character: `\` unless told; ESCAPE '' switches it off.
fn escape(told: Option<&Expr>, whole: &Expr) -> Result<Option<char>, FilterError> {
    let Some(told) = told else { return Ok(Some('\\')) };
    let value = if let Expr::Value(value) = told { literal(&value.value) } else { None };
    match value {
        Some(Term::Text(text)) if text.chars().count() <= 1 => Ok(text.chars().next()),
        _ => Err(unsupported(whole)),
    }
}
