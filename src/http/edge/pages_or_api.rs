//! The fork between the operator's pages and the API, by path.

use poem::{Endpoint, IntoResponse, Request, Response};

/// The paths of the pages: these, and all below the first.
const PAGES: [&str; 2] = ["/ui", "/admin"];

/// Hands each request to the one or to the other. Both must make answers of all errors.
pub struct PagesOrApi<P, A> {
    pages: P,
    api: A,
}

impl<P, A> PagesOrApi<P, A> {
    /// Puts the two side by side.
    pub fn new(pages: P, api: A) -> Self {
        Self { pages, api }
    }
}

impl<P: Endpoint, A: Endpoint> Endpoint for PagesOrApi<P, A> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        match is_of_pages(request.uri().path()) {
            true => self.pages.call(request).await.map(IntoResponse::into_response),
            false => self.api.call(request).await.map(IntoResponse::into_response),
        }
    }
}

fn is_of_pages(path: &str) -> bool {
    PAGES.contains(&path) || path.strip_prefix(PAGES[0]).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_the_paths_of_their_own_and_no_others() {
        for path in ["/ui", "/ui/", "/ui/jobs/1", "/admin"] {
            assert!(is_of_pages(path), "{path}");
        }
        for path in ["/", "/uix", "/v1/ui", "/administer", "/UI"] {
            assert!(!is_of_pages(path), "{path}");
        }
    }
}
