//! The pages that the side navigation lists, each with the key that leads there.

/// A page of the navigation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Where it is.
    pub(super) path: &'static str,
    /// Its name.
    pub(super) title: &'static str,
    /// The letter that leads there after `g`.
    pub(super) key: &'static str,
}

const fn link(path: &'static str, title: &'static str, key: &'static str) -> Link {
    Link { path, title, key }
}

/// A part of the navigation, under a heading; the first has none.
pub(super) type Group = (&'static str, &'static [Link]);

/// The whole navigation, in its order.
pub(super) const NAVIGATION: [Group; 5] = [
    ("", &[link("/ui", "Overview", "o")]),
    (
        "Work",
        &[
            link("/ui/jobs", "Jobs", "j"),
            link("/ui/queues", "Queues", "q"),
            link("/ui/failures", "Failures", "f"),
            link("/ui/schedules", "Schedules", "s"),
            link("/ui/workers", "Workers", "w"),
        ],
    ),
    (
        "Money",
        &[
            link("/ui/transactions", "Transactions", "t"),
            link("/ui/orders", "Orders", "r"),
            link("/ui/ledger", "Ledger", "l"),
            link("/ui/conflicts", "Conflicts", "c"),
        ],
    ),
    ("Told", &[link("/ui/endpoints", "Endpoints", "e"), link("/ui/deliveries", "Deliveries", "d")]),
    (
        "System",
        &[
            link("/ui/operations", "Operations", "b"),
            link("/ui/audit", "Audit", "a"),
            link("/ui/health", "Health", "h"),
            link("/ui/traces", "Traces", "x"),
        ],
    ),
];

/// The link that a page belongs to: the one whose path it has, or has at its beginning.
pub(super) fn place_of(path: &str) -> &'static str {
    let links = NAVIGATION.iter().flat_map(|(_, links)| links.iter());
    let belongs = |link: &&Link| {
        let rest = path.strip_prefix(link.path);
        rest.is_some_and(|rest| rest.is_empty() || (link.path != "/ui" && rest.starts_with('/')))
    };
    links.filter(belongs).map(|link| link.path).max_by_key(|path| path.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_page_belongs_to_the_link_that_its_path_begins_with() {
        assert_eq!(place_of("/ui"), "/ui");
        assert_eq!(place_of("/ui/jobs"), "/ui/jobs");
        assert_eq!(place_of("/ui/jobs/12"), "/ui/jobs");
        assert_eq!(place_of("/ui/jobsworth"), "");
    }

    #[test]
    fn no_two_pages_have_the_same_key() {
        let links = || NAVIGATION.iter().flat_map(|(_, links)| links.iter());
        let keys: HashSet<&str> = links().map(|link| link.key).collect();
        assert_eq!(keys.len(), links().count());
    }
}
