//! A browser without a script: it keeps cookies, and sends the forms that it is shown.

use std::collections::BTreeMap;

use crate::support::{Answer, TestApi, send};

/// Somebody at the pages.
pub(crate) struct Visitor<'a> {
    api: &'a TestApi,
    cookies: BTreeMap<String, String>,
}

impl<'a> Visitor<'a> {
    /// Somebody who has been nowhere yet.
    pub(crate) fn new(api: &'a TestApi) -> Self {
        Self { api, cookies: BTreeMap::new() }
    }

    /// Somebody who has signed in with this API key.
    pub(crate) async fn with_key(api: &'a TestApi, key: &str) -> Self {
        let mut this = Self::new(api);
        let answer = this.sign_in(&[("key", key)]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/ui"), "{answer:?}");
        this
    }

    /// Fills the form of the sign-in.
    pub(crate) async fn sign_in(&mut self, fields: &[(&str, &str)]) -> Answer {
        let page = self.get("/ui/sign-in").await;
        let token = token(&page.text);
        self.send_form("/ui/sign-in", &token, fields).await
    }

    /// A page.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path);
        self.sent(request).await
    }

    /// An action, by a form of this page with these fields.
    pub(crate) async fn act(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let shown = self.get(page).await;
        let token = token(&shown.text);
        self.send_form(path, &token, fields).await
    }

    /// A form with this token, as a browser sends it.
    pub(crate) async fn send_form(
        &mut self,
        path: &str,
        token: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let request = self.form(path, token, fields);
        self.sent(request).await
    }

    /// The same, not sent yet.
    pub(crate) fn form(
        &self,
        path: &str,
        token: &str,
        fields: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let fields: Vec<_> = fields.iter().copied().chain([("token", token)]).collect();
        let body = url_encoded(&fields);
        self.request("POST", path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(body)
    }

    /// A request with the cookies.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.api.request_as_it_is(method, path);
        match cookies.is_empty() {
            true => request,
            false => request.header("cookie", cookies.join("; ")),
        }
    }

    async fn sent(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let answer = send(request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            match cookie.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }
}

/// The token in the first form of a page.
pub(crate) fn token(html: &str) -> String {
    let (_, rest) = html.split_once(r#"name="token" value=""#).expect("the page has a form");
    rest.split('"').next().unwrap().to_owned()
}

fn url_encoded(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}
