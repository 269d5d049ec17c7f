//! A table of the file, read key by key: what nobody has asked for at the end is not known.

use std::fmt;

use toml::{Table, Value};

/// The place that is wrong, and what is wrong there. Repeats no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrong {
    at: String,
    problem: String,
}

impl Wrong {
    /// Something wrong at a place, such as `sources.stripe.limit`; empty for the file itself.
    pub(super) fn at(at: &str, problem: &str) -> Self {
        Self { at: at.to_owned(), problem: problem.to_owned() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => f.write_str(&self.problem),
            at => write!(f, "{at}: {}", self.problem),
        }
    }
}

/// One table.
pub(super) struct Section {
    at: String,
    table: Table,
}

impl Section {
    /// The table at a place.
    pub(super) fn new(at: &str, table: Table) -> Self {
        Self { at: at.to_owned(), table }
    }

    /// The names of its keys.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.table.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// True if there is such a key that nobody has asked for.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Something wrong with all of it.
    pub(super) fn wrong(&self, problem: &str) -> Wrong {
        Wrong::at(&self.at, problem)
    }

    /// Something wrong with a key.
    pub(super) fn wrong_key(&self, key: &str, problem: &str) -> Wrong {
        Wrong::at(&self.place(key), problem)
    }

    /// The place of a key.
    pub(super) fn place(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// A key, whatever it is.
    pub(super) fn value(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    /// A key that must be there, whatever it is.
    pub(super) fn required(&mut self, key: &str) -> Result<Value, Wrong> {
        self.value(key).ok_or_else(|| self.wrong_key(key, "is missing"))
    }

    /// A text, if it is there.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Wrong> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_key(key, "expected a text in quotes")),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, key: &str) -> Result<String, Wrong> {
        self.text(key)?.ok_or_else(|| self.wrong_key(key, "is missing"))
    }

    /// A text, or several; none where the key is not there.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, Wrong> {
        let values = match self.value(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        let texts = values.into_iter().map(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        });
        let texts: Option<Vec<String>> = texts.collect();
        let texts = texts.filter(|texts| !texts.is_empty());
        texts.ok_or_else(|| self.wrong_key(key, "expected a text in quotes, or a list of them"))
    }

    /// A text that is read further, if it is there.
    pub(super) fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Wrong> {
        let text = self.text(key)?;
        let parsed = text.map(|text| parse(&text)).transpose();
        parsed.map_err(|error| self.wrong_key(key, &error.to_string()))
    }

    /// A text that is one of these, if it is there.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Wrong> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let chosen = choices.iter().find(|(name, _)| *name == text);
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = || self.wrong_key(key, &format!("expected one of {}", names.join(", ")));
        chosen.map(|(_, choice)| Some(*choice)).ok_or_else(expected)
    }

    /// A table, if it is there.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Section>, Wrong> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self::new(&self.place(key), table))),
            Some(_) => Err(self.wrong_key(key, "expected a table")),
        }
    }

    /// A table that must be there.
    pub(super) fn required_section(&mut self, key: &str) -> Result<Section, Wrong> {
        self.section(key)?.ok_or_else(|| self.wrong_key(key, "is missing"))
    }

    /// Refuses what nobody has asked for.
    pub(super) fn end(self) -> Result<(), Wrong> {
        match self.names().first() {
            None => Ok(()),
            Some(name) => Err(self.wrong_key(name, "is not known, or not for this scheme")),
        }
    }
}
