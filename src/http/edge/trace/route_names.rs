//! The route that a path belongs to, by the templates of the OpenAPI document.
//!
//! poem tells a matched route only with the response that a handler made, and an error that is
//! turned into another response on its way out has lost it; a request given up by its client never
//! has one. So spans and logs match again, which also names the span from its start.

use std::sync::Arc;

/// The templates, in the form `/v1/transactions/{transaction_id}`.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteNames(Arc<[Arc<str>]>);

impl RouteNames {
    /// Templates with fewer parameters win over those with more.
    pub(super) fn new(templates: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        let mut templates: Vec<Arc<str>> = templates.into_iter().map(Into::into).collect();
        templates.sort_by_key(|template| template.matches('{').count());
        Self(templates.into())
    }

    /// The template that `path` belongs to; `None` when there is no such route.
    pub(super) fn find(&self, path: &str) -> Option<Arc<str>> {
        self.0.iter().find(|template| matches(template, path)).cloned()
    }
}

fn matches(template: &str, path: &str) -> bool {
    let mut path_segments = path.split('/');
    for wanted in template.split('/') {
        match path_segments.next() {
            Some(given) if wanted == given || (wanted.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
    path_segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_most_literal_template() {
        let routes = RouteNames::new(["/", "/v1/things/{id}", "/v1/things/new", "/v1/things"]);
        let table = [
            ("/", Some("/")),
            ("/v1/things", Some("/v1/things")),
            ("/v1/things/new", Some("/v1/things/new")),
            ("/v1/things/7", Some("/v1/things/{id}")),
            ("/v1/things/7/", None),
            ("/v1/things/", None),
            ("/v1/things/7/more", None),
            ("/nothing", None),
            ("", None),
        ];
        for (path, route) in table {
            assert_eq!(routes.find(path).as_deref(), route, "{path}");
        }
    }
}
