//! The filter of a list of jobs: what a URL says, as a selection and as chips.

use crate::http::wire::problem::Problem;
use crate::operations::jobs::selection::{Moment, parse_args_match, parse_state};
use crate::operations::jobs::{JobSelection, JobState};
use crate::pages::visit::Pairs;
use crate::pages::words;

/// The page of the list.
pub(in crate::pages) const PATH: &str = "/ui/jobs";

/// A parameter of the filter. The names are those of the command line's flags.
struct Parameter {
    name: &'static str,
    /// The name for people.
    title: &'static str,
    /// True if another value takes the place of the one before.
    is_single: bool,
}

const fn parameter(name: &'static str, title: &'static str, is_single: bool) -> Parameter {
    Parameter { name, title, is_single }
}

const PARAMETERS: [Parameter; 12] = [
    parameter("error", "Error contains", true),
    parameter("kind", "Kind", false),
    parameter("queue", "Queue", false),
    parameter("key", "Key", false),
    parameter("tag", "Tag", false),
    parameter("where", "Argument FIELD=VALUE", false),
    parameter("transaction", "Transaction", true),
    parameter("fingerprint", "Failure", true),
    parameter("attempt_gte", "Attempts at least", true),
    parameter("since", "Enqueued since", true),
    parameter("until", "Enqueued until", true),
    parameter("state", "State", false),
];

/// The choice that leads to one job by its number.
pub(in crate::pages) const BY_NUMBER: &str = "id";

/// All parameters of the page, those of a form that adds one included.
pub(in crate::pages) const KNOWN: [&str; 15] = [
    "error",
    "kind",
    "queue",
    "key",
    "tag",
    "where",
    "transaction",
    "fingerprint",
    "attempt_gte",
    "since",
    "until",
    "state",
    "before",
    "by",
    "value",
];

/// A part of the filter that is shown, and can be taken away.
pub(in crate::pages) struct Chip {
    /// The name of the part.
    pub(in crate::pages) title: &'static str,
    /// The value.
    pub(in crate::pages) value: String,
    /// The list without it.
    pub(in crate::pages) without: String,
}

/// A state to look at alone.
pub(in crate::pages) struct StateLink {
    /// The name.
    pub(in crate::pages) title: String,
    /// The list of jobs in this state.
    pub(in crate::pages) url: String,
    /// True if this is the list.
    pub(in crate::pages) is_current: bool,
}

/// The choices of the field that says what a new part of the filter is about.
pub(in crate::pages) fn choices() -> impl Iterator<Item = (&'static str, &'static str)> {
    let parameters = PARAMETERS.iter().map(|parameter| (parameter.name, parameter.title));
    parameters.chain([(BY_NUMBER, "Job number")])
}

/// The jobs that the query selects.
///
/// # Errors
///
/// [`Code::InvalidParameter`](crate::http::wire::problem::Code::InvalidParameter).
pub(in crate::pages) fn selection(query: &Pairs) -> Result<JobSelection, Problem> {
    let texts = |name: &str| query.all(name).map(str::to_owned).collect::<Vec<_>>();
    let wrong = |name: &str, error: &dyn ToString| Problem::parameter(name, &error.to_string());
    let moment = |name: &str| {
        let parse = |text: &str| text.parse::<Moment>().map_err(|error| wrong(name, &error));
        query.one(name).map(parse).transpose()
    };
    let states = query.all("state").map(parse_state).collect::<Result<Vec<_>, _>>();
    let args = query.all("where").map(parse_args_match).collect::<Result<Vec<_>, _>>();
    let min_attempt = query.parsed("attempt_gte", "must be a number from 1 on")?;
    Ok(JobSelection {
        states: states.map_err(|error| wrong("state", &error))?,
        kinds: texts("kind"),
        queues: texts("queue"),
        tags: texts("tag"),
        keys: texts("key"),
        error: query.one("error").map(str::to_owned),
        min_attempt,
        since: moment("since")?,
        until: moment("until")?,
        args: args.map_err(|error| wrong("where", &error))?,
        fingerprint: query.parsed("fingerprint", "must be that of a failure")?,
        transaction: query.one("transaction").map(str::to_owned),
        ..JobSelection::default()
    })
}

/// Where a form leads that adds a part to the filter; none if it adds nothing.
pub(in crate::pages) fn added(query: &Pairs) -> Option<String> {
    let (by, value) = (query.one("by")?, query.one("value"));
    let rest =
        ["by", "value", "before"].iter().fold(query.clone(), |it, name| it.without_all(name));
    let Some(value) = value else { return Some(rest.url(PATH)) };
    if by == BY_NUMBER {
        let number = value.trim_start_matches('#').replace(',', "");
        return Some(format!("{PATH}/{}", crate::pages::visit::segment(&number)));
    }
    let parameter = PARAMETERS.iter().find(|parameter| parameter.name == by)?;
    let rest = match parameter.is_single {
        true => rest.without_all(by),
        false => rest.without(by, value),
    };
    Some(rest.with(by, value).url(PATH))
}

/// The parts of the filter, without the states, which have links of their own while there is one.
pub(in crate::pages) fn chips(query: &Pairs) -> Vec<Chip> {
    let has_one_state = query.all("state").count() == 1;
    let parts = query.without_all("before");
    let chip = |(name, value): (&str, &str)| {
        let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name)?;
        let without = parts.without(name, value).url(PATH);
        let is_shown = name != "state" || !has_one_state;
        is_shown.then(|| Chip { title: parameter.title, value: value.to_owned(), without })
    };
    parts.iter().filter_map(chip).collect()
}

/// A link for each state, and one for all.
pub(in crate::pages) fn state_links(query: &Pairs) -> Vec<StateLink> {
    let rest = query.without_all("before").without_all("state");
    let current: Vec<&str> = query.all("state").collect();
    let all =
        StateLink { title: "All".into(), url: rest.url(PATH), is_current: current.is_empty() };
    let link = |state: JobState| StateLink {
        title: words::capital(state.name()),
        url: rest.with("state", state.name()).url(PATH),
        is_current: current == [state.name()],
    };
    std::iter::once(all).chain(JobState::ALL.map(link)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Pairs {
        Pairs::parse(text).expect("the tests know queries")
    }

    #[test]
    fn all_parameters_are_known_and_selected_by() {
        let names: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, KNOWN[..12]);
        let query = "error=refused&kind=a&queue=b&key=c&tag=d&where=e%3D1&transaction=f\
                     &fingerprint=0123456789abcdef&attempt_gte=2&since=2h&until=1h&state=discarded";
        let selected = selection(&pairs(query)).expect("all are well-formed");
        assert!(!selected.is_everything());
        assert_eq!((selected.min_attempt, selected.states), (Some(2), vec![JobState::Discarded]));
        for wrong in ["state=x", "attempt_gte=x", "since=x", "where=x"] {
            assert!(selection(&pairs(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_form_adds_to_the_filter_and_starts_the_list_again() {
        let added = |query: &str| added(&pairs(query));
        let expected = "/ui/jobs?state=discarded&error=refused";
        assert_eq!(
            added("state=discarded&before=7&error=x&by=error&value=refused").as_deref(),
            Some(expected)
        );
        assert_eq!(added("kind=a&by=kind&value=b").as_deref(), Some("/ui/jobs?kind=a&kind=b"));
        assert_eq!(added("by=id&value=%2321,164").as_deref(), Some("/ui/jobs/21164"));
        assert_eq!(added("kind=a&by=kind").as_deref(), Some("/ui/jobs?kind=a"));
        assert_eq!(added("kind=a"), None);
    }

    #[test]
    fn a_chip_takes_itself_away() {
        let chips = chips(&pairs("state=discarded&kind=a&kind=b&before=9"));
        let shown: Vec<_> =
            chips.iter().map(|it| (it.value.as_str(), it.without.as_str())).collect();
        assert_eq!(
            shown,
            [("a", "/ui/jobs?state=discarded&kind=b"), ("b", "/ui/jobs?state=discarded&kind=a")]
        );
    }
}
