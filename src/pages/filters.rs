//! Filters of lists, each part with one value: what a URL says, as chips, as tabs and as a form
//! that adds a part.

use time::OffsetDateTime;

use super::visit::{Answer, Pairs};
use crate::http::wire::problem::Problem;
use crate::operations::jobs::selection::{Moment, before};

/// The fields of the form, and the cursor of a page.
const OF_THE_FORM: [&str; 3] = ["by", "value", "before"];

/// The filter of a list.
pub(in crate::pages) struct Filters {
    /// The page of the list.
    pub(in crate::pages) path: &'static str,
    /// The names of the parts, each with its name for people.
    pub(in crate::pages) parts: &'static [(&'static str, &'static str)],
    /// Parts that are chosen by tabs, and never typed.
    pub(in crate::pages) tabs: &'static [&'static str],
    /// The name for people of the choice that leads to one thing, by the end of its path.
    pub(in crate::pages) one: Option<&'static str>,
}

/// The filter as templates see it.
pub(in crate::pages) struct FilterBar {
    /// The page of the list.
    pub(in crate::pages) path: &'static str,
    /// The parts that are set.
    pub(in crate::pages) chips: Vec<Chip>,
    /// The pairs that the form takes along.
    pub(in crate::pages) kept: Vec<(String, String)>,
    /// The parts that there are.
    pub(in crate::pages) choices: Vec<(&'static str, &'static str)>,
    /// True if anything is set.
    pub(in crate::pages) is_set: bool,
    /// The address of all that matches, as a file.
    pub(in crate::pages) csv: String,
}

/// A part that is set, and can be taken away.
pub(in crate::pages) struct Chip {
    /// Its name.
    pub(in crate::pages) title: &'static str,
    /// Its value.
    pub(in crate::pages) value: String,
    /// The list without it.
    pub(in crate::pages) without: String,
}

/// A value to look at alone.
pub(in crate::pages) struct Tab {
    /// Its name.
    pub(in crate::pages) title: &'static str,
    /// The list with it.
    pub(in crate::pages) url: String,
    /// True if this is the list.
    pub(in crate::pages) is_current: bool,
}

/// The ways to the other pages of a list; each is an address or none.
pub(in crate::pages) struct Pager {
    /// To the first page.
    pub(in crate::pages) newest: Option<String>,
    /// To the next one.
    pub(in crate::pages) older: Option<String>,
}

impl Filters {
    /// Passes queries that this list knows. Where the form adds a part, gives the way to the list
    /// that has it.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidParameter`](crate::http::wire::problem::Code::InvalidParameter).
    pub(in crate::pages) fn check(&self, query: &Pairs) -> Result<Option<Answer>, Problem> {
        let names = self.parts.iter().map(|(name, _)| *name);
        let known: Vec<&str> = names.chain(self.tabs.iter().copied()).chain(OF_THE_FORM).collect();
        query.only(&known)?;
        Ok(self.added(query).map(Answer::redirect))
    }

    fn added(&self, query: &Pairs) -> Option<String> {
        let (by, value) = (query.one("by")?, query.one("value"));
        let rest = without_form(query);
        let Some(value) = value else { return Some(rest.url(self.path)) };
        if by == "id" && self.one.is_some() {
            return Some(format!("{}/{}", self.path, super::visit::segment(value)));
        }
        let part = self.parts.iter().find(|(name, _)| *name == by)?;
        Some(rest.without_all(part.0).with(part.0, value).url(self.path))
    }

    /// The filter as templates see it.
    pub(in crate::pages) fn bar(&self, query: &Pairs) -> FilterBar {
        let set = without_form(query);
        let chip = |(name, value): (&str, &str)| {
            let (_, title) = self.parts.iter().find(|(known, _)| *known == name)?;
            let without = set.without(name, value).url(self.path);
            Some(Chip { title, value: value.to_owned(), without })
        };
        FilterBar {
            path: self.path,
            chips: set.iter().filter_map(chip).collect(),
            kept: set.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            choices: self
                .one
                .map(|title| ("id", title))
                .into_iter()
                .chain(self.parts.iter().copied())
                .collect(),
            is_set: set.iter().next().is_some(),
            csv: set.url(&format!("{}.csv", self.path)),
        }
    }

    /// A tab for each value of a part; an empty value is all of them.
    pub(in crate::pages) fn tabs(
        &self,
        query: &Pairs,
        name: &str,
        values: &[(&str, &'static str)],
    ) -> Vec<Tab> {
        let rest = without_form(query).without_all(name);
        let current = query.one(name).unwrap_or_default();
        let tab = |(value, title): &(&str, &'static str)| Tab {
            title,
            url: match value.is_empty() {
                true => rest.url(self.path),
                false => rest.with(name, value).url(self.path),
            },
            is_current: *value == current,
        };
        values.iter().map(tab).collect()
    }

    /// The ways to the other pages of the list.
    pub(in crate::pages) fn pager(&self, query: &Pairs, next: Option<impl ToString>) -> Pager {
        let rest = without_form(query);
        Pager {
            newest: query.one("before").map(|_| rest.url(self.path)),
            older: next.map(|next| rest.with("before", &next.to_string()).url(self.path)),
        }
    }
}

fn without_form(query: &Pairs) -> Pairs {
    OF_THE_FORM.iter().fold(query.clone(), |rest, name| rest.without_all(name))
}

/// A moment of a query, as people write it: in RFC 3339, or a time before `now`.
///
/// # Errors
///
/// [`Code::InvalidParameter`](crate::http::wire::problem::Code::InvalidParameter).
pub(in crate::pages) fn moment(
    query: &Pairs,
    name: &str,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, Problem> {
    let wrong = |error: &dyn ToString| Problem::parameter(name, &error.to_string());
    let parse = |text: &str| text.parse::<Moment>().map_err(|error| wrong(&error));
    Ok(query.one(name).map(parse).transpose()?.map(|moment| before(moment, now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: Filters = Filters {
        path: "/ui/x",
        parts: &[("account", "Account"), ("since", "Since")],
        tabs: &["status"],
        one: Some("Number"),
    };

    fn pairs(text: &str) -> Pairs {
        Pairs::parse(text).expect("the tests know queries")
    }

    #[test]
    fn a_form_adds_one_part_and_starts_the_list_again() {
        let added = |query: &str| FILTERS.added(&pairs(query));
        assert_eq!(
            added("status=FAILED&account=a&before=9&by=account&value=b").as_deref(),
            Some("/ui/x?status=FAILED&account=b")
        );
        assert_eq!(added("by=id&value=a/b").as_deref(), Some("/ui/x/a%2Fb"));
        assert_eq!(added("account=a&by=since").as_deref(), Some("/ui/x?account=a"));
        assert_eq!(added("account=a"), None);
        assert!(FILTERS.check(&pairs("acount=a")).is_err());
    }

    #[test]
    fn chips_tabs_and_pages_keep_the_rest_of_the_filter() {
        let query = pairs("account=a&status=FAILED&before=9");
        let bar = FILTERS.bar(&query);
        assert_eq!(bar.chips.len(), 1);
        assert_eq!(bar.csv, "/ui/x.csv?account=a&status=FAILED");
        assert_eq!(bar.chips[0].without, "/ui/x?status=FAILED");
        let tabs = FILTERS.tabs(&query, "status", &[("", "All"), ("FAILED", "Failed")]);
        assert_eq!((tabs[0].url.as_str(), tabs[1].is_current), ("/ui/x?account=a", true));
        let pager = FILTERS.pager(&query, Some(3));
        assert_eq!(pager.newest.as_deref(), Some("/ui/x?account=a&status=FAILED"));
        assert_eq!(pager.older.as_deref(), Some("/ui/x?account=a&status=FAILED&before=3"));
    }
}
