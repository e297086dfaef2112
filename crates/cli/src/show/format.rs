//! Lists through `--format`: a table by default, rows by a template otherwise.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::template::{self, Mode, Value};

use super::table::Table;

/// How a list of one noun can be shown.
pub(crate) struct Layout {
    /// Every field and its heading, in order of their names.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// The table that is shown by default.
    pub(crate) table: &'static str,
    /// What `--quiet` shows.
    pub(crate) quiet: &'static str,
}

/// One line of a list.
pub(crate) struct Line {
    /// All fields.
    pub(crate) fields: Value,
    /// What `.Label "name"` looks into.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Makes a value of fields.
pub(crate) fn fields(pairs: Vec<(&str, String)>) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

/// A format as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    template: String,
    is_table: bool,
}

impl Format {
    /// Works out what is meant by `--format`, the configuration's format and `--quiet`.
    pub(crate) fn choose(layout: &Layout, given: &str, configured: &str, quiet: bool) -> Self {
        let text = match given {
            "" if !quiet => configured,
            given => given,
        };
        if quiet && (text.is_empty() || text == "table") {
            return Self { template: layout.quiet.to_owned(), is_table: false };
        }
        match text {
            "" | "table" => Self { template: layout.table.to_owned(), is_table: true },
            "json" => Self { template: "{{json .}}".to_owned(), is_table: false },
            _ => {
                let unescaped = text.replace("\\t", "\t").replace("\\n", "\n");
                match unescaped.strip_prefix("table") {
                    Some(rest) => Self { template: rest.trim().to_owned(), is_table: true },
                    None => Self { template: unescaped, is_table: false },
                }
            }
        }
    }

    /// Reads the template.
    pub(crate) fn parse(&self) -> anyhow::Result<template::Template> {
        template::parse(&self.template).map_err(|error| Failure::with(64, error.to_string()))
    }

    /// Whether headings belong above.
    pub(crate) fn is_table(&self) -> bool {
        self.is_table
    }

    /// The whole list as text.
    pub(crate) fn render(&self, layout: &Layout, lines: &[Line]) -> anyhow::Result<String> {
        let template = self.parse()?;
        let mut rows = Vec::new();
        if self.is_table {
            let headings = Value::Map(
                layout
                    .fields
                    .iter()
                    .map(|(name, heading)| ((*name).to_owned(), Value::from(*heading)))
                    .collect(),
            );
            let label = |name: &str, args: &[Value]| match (name, args) {
                ("Label", [Value::Text(label)]) => Some(Value::Text(label_heading(label))),
                _ => None,
            };
            rows.push(template.execute(&headings, Some(&label), Mode::Header)?);
        }
        for line in lines {
            let label = |name: &str, args: &[Value]| match (name, args) {
                ("Label", [Value::Text(label)]) => {
                    Some(line.labels.get(label).cloned().unwrap_or_default().into())
                }
                _ => None,
            };
            rows.push(template.execute(&line.fields, Some(&label), Mode::Rows)?);
        }
        if !self.is_table {
            return Ok(rows.into_iter().map(|row| row + "\n").collect());
        }
        let mut table = Table::default();
        for row in &rows {
            table.row(row);
        }
        Ok(table.render())
    }
}

/// `com.example.some-thing` is headed `some thing`.
fn label_heading(label: &str) -> String {
    label.rsplit('.').next().unwrap_or(label).replace(['-', '_'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        fields: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
        table: "{{.ID}}\t{{.Names}}",
        quiet: "{{.ID}}",
    };

    fn shown(format: &str, quiet: bool) -> String {
        let line = Line {
            fields: fields(vec![("ID", "abc".into()), ("Names", "web".into())]),
            labels: BTreeMap::from([("a.b-c".to_owned(), "v".to_owned())]),
        };
        Format::choose(&LAYOUT, format, "", quiet).render(&LAYOUT, &[line]).expect("renders")
    }

    #[test]
    fn formats_are_tables_templates_or_json() {
        assert_eq!(shown("", false), "CONTAINER ID   NAMES\nabc            web\n");
        assert_eq!(
            shown("table {{.Names}}\\t{{.ID}}", false),
            "NAMES     CONTAINER ID\nweb       abc\n"
        );
        assert_eq!(shown("json", false), "{\"ID\":\"abc\",\"Names\":\"web\"}\n");
        assert_eq!(shown("{{.ID}}:{{.Names}}", false), "abc:web\n");
        assert_eq!(shown("", true), "abc\n");
        assert_eq!(shown("table {{.Label \"a.b-c\"}}", false), "b c\nv\n");
    }
}
