//! The table of all pages and actions, with the right that each needs.

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::{Endpoint, IntoResponse as _, Request, Response, Route, endpoint, get, post};

use super::access::Right::{Decide, Operate, Read};
use super::access::sign_in;
use super::money::{
    account, conflict, conflicts, ledger, order, orders, transaction, transactions,
};
use super::refusals::{self, Refusal};
use super::site::{Site, SiteParts};
use super::system::{audit, entry, health};
use super::told::{self, deliveries, delivery, endpoints, replays, secret};
use super::traces::{list as trace_list, trace};
use super::visit::receiving::{action, page};
use super::work::{
    bulk, failures, job, job_args, jobs, operations, overview, queues, schedules, workers,
};
use super::{assets, live, theme};
use crate::http::api::openapi;
use crate::http::edge::audience::ForAudience;
use crate::http::edge::well_formed::WellFormed;
use crate::http::wire::problem::Problem;
use crate::http::wire::request_body::BufferedBody;

/// All pages as one endpoint, which answers every request and never fails.
pub fn endpoint(parts: SiteParts) -> impl Endpoint<Output = Response> + 'static + use<> {
    let (bodies, audience) = (parts.bodies, parts.audience);
    let site = Arc::new(Site::new(parts));
    let inner = BufferedBody::new(routes(&site), bodies);
    Pages { inner: WellFormed::new(ForAudience::new(inner, audience)) }
}

fn routes(site: &Arc<Site>) -> Route {
    let route = Route::new()
        .at("/admin", endpoint::make_sync(|_| to("/ui")))
        .at("/ui/", endpoint::make_sync(|_| to("/ui")))
        .at("/ui", get(page(site, Read, overview::show)));
    let route = with_work(with_services(route, site), site);
    with_system(with_told(with_money(route, site), site), site)
}

/// The parts that are no pages about anything.
fn with_services(route: Route, site: &Arc<Site>) -> Route {
    let [asking, signing_in, signing_out, following] = std::array::from_fn(|_| Arc::clone(site));
    let ask = endpoint::make(move |request: Request| {
        let site = Arc::clone(&asking);
        answered(request, async move |request| sign_in::ask(&site, request))
    });
    let sign_in = endpoint::make(move |request: Request| {
        let site = Arc::clone(&signing_in);
        answered(request, async move |request| sign_in::sign_in(&site, request).await)
    });
    let sign_out = endpoint::make(move |request: Request| {
        let site = Arc::clone(&signing_out);
        answered(request, async move |request| sign_in::sign_out(&site, request).await)
    });
    let follow = endpoint::make(move |request| {
        let site = Arc::clone(&following);
        async move { Ok::<_, poem::Error>(live::follow(site, request).await) }
    });
    route
        .at("/ui/assets/:name", get(endpoint::make_sync(asset)))
        .at("/ui/theme", post(endpoint::make(|request| answered(request, theme::choose))))
        .at(sign_in::PATH, get(ask).post(sign_in))
        .at("/ui/sign-out", post(sign_out))
        .at("/ui/events", get(follow))
}

fn with_work(route: Route, site: &Arc<Site>) -> Route {
    route
        .at("/ui/jobs", get(page(site, Read, jobs::list)))
        .at("/ui/jobs.csv", get(page(site, Read, jobs::csv)))
        .at(
            "/ui/jobs/bulk",
            get(page(site, Read, bulk::preview)).post(action(site, Operate, bulk::start)),
        )
        .at("/ui/jobs/:id", get(page(site, Read, job::show)))
        .at("/ui/jobs/:id/args", post(action(site, Operate, job_args::change)))
        .at("/ui/jobs/:id/run", post(action(site, Operate, job::run)))
        .at("/ui/jobs/:id/reveal", post(action(site, Decide, job::reveal)))
        .at("/ui/jobs/:id/redrive", post(action(site, Decide, job::redrive)))
        .at("/ui/jobs/:id/write-off", post(action(site, Decide, job::write_off)))
        .at("/ui/jobs/:id/cancel", post(action(site, Operate, job::cancel)))
        .at("/ui/jobs/:id/discard", post(action(site, Operate, job::discard)))
        .at("/ui/queues", get(page(site, Read, queues::list)))
        .at("/ui/queues/:name", get(page(site, Read, queues::show)))
        .at("/ui/queues/:name/pause", post(action(site, Operate, queues::pause)))
        .at("/ui/queues/:name/resume", post(action(site, Operate, queues::resume)))
        .at("/ui/queues/:name/limits", post(action(site, Operate, queues::limit)))
        .at("/ui/queues/:name/unblock", post(action(site, Decide, queues::unblock)))
        .at("/ui/failures", get(page(site, Read, failures::list)))
        .at("/ui/failures/:id", get(page(site, Read, failures::show)))
        .at("/ui/operations", get(page(site, Read, operations::list)))
        .at("/ui/operations/:id", get(page(site, Read, operations::show)))
        .at("/ui/operations/:id/cancel", post(action(site, Operate, operations::cancel)))
        .at("/ui/schedules", get(page(site, Read, schedules::list)))
        .at("/ui/schedules/:name", get(page(site, Read, schedules::show)))
        .at("/ui/schedules/:name/run", post(action(site, Operate, schedules::run)))
        .at("/ui/schedules/:name/pause", post(action(site, Operate, schedules::pause)))
        .at("/ui/schedules/:name/resume", post(action(site, Operate, schedules::resume)))
        .at("/ui/workers", get(page(site, Read, workers::list)))
        .at("/ui/traces", get(page(site, Read, trace_list::list)))
        .at("/ui/traces/:id", get(page(site, Read, trace::show)))
        .at("/ui/workers/:id/drain", post(action(site, Operate, workers::drain)))
}

fn with_money(route: Route, site: &Arc<Site>) -> Route {
    route
        .at("/ui/transactions", get(page(site, Read, transactions::list)))
        .at("/ui/transactions.csv", get(page(site, Read, transactions::csv)))
        .at("/ui/transactions/:id", get(page(site, Read, transaction::show)))
        .at("/ui/transactions/:id/proof", get(page(site, Read, transaction::prove)))
        .at("/ui/orders", get(page(site, Read, orders::list)))
        .at("/ui/orders.csv", get(page(site, Read, orders::csv)))
        .at("/ui/orders/:id", get(page(site, Read, order::show)))
        .at("/ui/ledger", get(page(site, Read, ledger::list)))
        .at("/ui/ledger.csv", get(page(site, Read, ledger::csv)))
        .at("/ui/ledger/verify", post(action(site, Operate, ledger::verify_now)))
        .at("/ui/ledger/:id", get(page(site, Read, account::show)))
        .at("/ui/conflicts", get(page(site, Read, conflicts::list)))
        .at("/ui/conflicts/:id", get(page(site, Read, conflict::show)))
        .at("/ui/conflicts/:id/keep", post(action(site, Decide, conflict::keep)))
        .at("/ui/conflicts/:id/correct", post(action(site, Decide, conflict::correct)))
}

fn with_told(route: Route, site: &Arc<Site>) -> Route {
    route
        .at("/ui/endpoints", get(page(site, Read, endpoints::list)))
        .at("/ui/endpoints/:id", get(page(site, Read, told::endpoint::show)))
        .at("/ui/endpoints/:id/enable", post(action(site, Operate, told::endpoint::enable)))
        .at("/ui/endpoints/:id/disable", post(action(site, Operate, told::endpoint::disable)))
        .at("/ui/endpoints/:id/test", post(action(site, Operate, told::endpoint::test)))
        .at("/ui/endpoints/:id/rotate-secret", post(action(site, Decide, secret::rotate)))
        .at("/ui/endpoints/:id/replay", post(action(site, Operate, replays::begin)))
        .at("/ui/deliveries", get(page(site, Read, deliveries::list)))
        .at("/ui/deliveries.csv", get(page(site, Read, deliveries::csv)))
        .at("/ui/deliveries/:id/:name", get(page(site, Read, delivery::show)))
        .at("/ui/deliveries/:id/:name/retry", post(action(site, Operate, delivery::retry)))
}

fn with_system(route: Route, site: &Arc<Site>) -> Route {
    route
        .at("/ui/audit", get(page(site, Read, audit::list)))
        .at("/ui/audit.csv", get(page(site, Read, audit::csv)))
        .at("/ui/audit/:id", get(page(site, Read, entry::show)))
        .at("/ui/health", get(page(site, Read, health::show)))
}

fn asset(request: Request) -> Response {
    assets::answer(request.uri().path(), request.headers())
}

fn to(path: &'static str) -> Response {
    StatusCode::SEE_OTHER.with_header(header::LOCATION, path).into_response()
}

/// Answers for handlers that do without the steps around pages: they are for strangers, too.
async fn answered(
    request: Request,
    handler: impl AsyncFnOnce(Request) -> Result<Response, Refusal>,
) -> poem::Result<Response> {
    let headers = request.headers().clone();
    let answer = handler(request).await;
    Ok(answer.unwrap_or_else(|refusal| refusals::bare(refusal, &headers)))
}

/// Makes pages of what the layers around the handlers refuse.
struct Pages<E> {
    inner: E,
}

impl<E: Endpoint<Output = Response>> Endpoint for Pages<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let headers = request.headers().clone();
        let answer = self.inner.call(request).await;
        Ok(answer.unwrap_or_else(|error| {
            refusals::bare(Problem::of(&error, openapi::choices).into(), &headers)
        }))
    }
}
