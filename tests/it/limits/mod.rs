//! How often one caller may ask, what answers tell of it, and what else is told at the edge:
//! browsers by CORS and security headers, Prometheus by `/metrics`.

mod browsers;
mod headers;
mod metrics;
mod outages;
mod quotas;

use std::collections::HashMap;

use poem::{Endpoint, Request, Response, endpoint};
use sqlx::PgPool;
use surety::http::api::openapi;
use surety::http::edge::rate_limits::{Limit, LimitArgs, LimitClass, RateLimitHeaders, RateLimits};
use surety::http::wire::problem::{Code, Problem, Problems};
use surety::metrics::instruments::RATE_LIMIT_LEASES;
use surety::metrics::{Metrics, Value};
use surety::serve::ApiArgs;

use crate::support::{Answer, TestApi, event};

/// A limiter of this test's own, beside any API.
struct Limited {
    limits: RateLimits,
    metrics: Metrics,
}

impl Limited {
    fn start(pool: &PgPool, change: impl FnOnce(&mut LimitArgs)) -> Self {
        let mut args = ApiArgs::default().limits;
        change(&mut args);
        let metrics = Metrics::new();
        Self { limits: RateLimits::start(&pool.connect_options(), &args, &metrics), metrics }
    }

    /// Whether a request may pass, and else why not.
    async fn admit(&self, class: LimitClass, subject: &str) -> Result<(), Code> {
        self.limits.admit(class, subject).await.map_err(|problem| problem.code())
    }

    /// How many of so many requests pass, one after the other.
    async fn passes(&self, class: LimitClass, subject: &str, requests: u32) -> u32 {
        let mut passed = 0;
        for _ in 0..requests {
            passed += u32::from(self.admit(class, subject).await.is_ok());
        }
        passed
    }

    /// How many leases were taken.
    fn leases(&self) -> f64 {
        let gathered = self.metrics.gather();
        let leases = gathered.iter().filter(|it| it.instrument.name == RATE_LIMIT_LEASES.name);
        let counts = leases.flat_map(|it| &it.points).map(|point| match point.value {
            Value::Number(number) => number,
            Value::Distribution { .. } => unreachable!("it is a counter"),
        });
        counts.sum()
    }

    /// An endpoint that is limited as those of the API are. The caller is who it says that it is,
    /// and who says nothing is not limited; a sign-in has two limits; at `/v1/users/…` there is
    /// nobody.
    fn endpoint(&self) -> impl Endpoint<Output = Response> {
        let inner = endpoint::make(|request: Request| async move {
            let limits = request.data::<RateLimits>().unwrap();
            let path = request.uri().path();
            let classes = match path {
                "/v1/auth/login" => vec![LimitClass::LoginByAddress, LimitClass::LoginByAccount],
                _ => vec![LimitClass::of(request.method(), path)],
            };
            for class in classes {
                if let Some(caller) = request.header("x-caller") {
                    limits.admit(class, caller).await?;
                }
            }
            match path.starts_with("/v1/users/") {
                true => Err(poem::Error::from(Problem::new(Code::NotFound))),
                false => Ok("here"),
            }
        });
        let known = (HashMap::new(), openapi::choices as fn() -> _);
        let without_errors = Problems::new(inner, known, Box::new(|_, _| {}));
        RateLimitHeaders::new(without_errors, self.limits.clone())
    }
}

fn limit(text: &str) -> Limit {
    text.parse().unwrap()
}

/// An API that lets through so many inbound webhooks of one address.
async fn api_with(webhooks: &str) -> TestApi {
    TestApi::start_for_everybody(|settings| {
        settings.limits.limit_inbound_webhooks = limit(webhooks);
    })
    .await
}

/// A webhook that is accepted when it is let through.
async fn post(api: &TestApi) -> Answer {
    api.post(event("txn_1")).await
}

/// The sum of all figures of this name.
fn sum_of(scrape: &str, name: &str) -> f64 {
    let lines = scrape
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
