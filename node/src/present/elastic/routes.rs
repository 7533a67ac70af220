//! The endpoints of the Elasticsearch port besides ingest, each a few lines that name who may ask and what is answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use serde_json::{Value, json};

use super::request::Asked;
use super::respond::{reply, table};
use super::{about, catalogue};
use crate::present::desk::Desk;
use crate::present::errors::PresentError;
use crate::receive::{Failure, elastic_failure};

type Here = State<Arc<Desk>>;
type Routes = Router<Arc<Desk>>;

/// All of them. What nobody serves is answered in the same shape as every other error.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let routes = Router::new().route("/", get(root));
    let routes = compatible(indices(searches(node(routes))));
    routes.fallback(no_route).method_not_allowed_fallback(no_route).with_state(desk)
}

fn node(routes: Routes) -> Routes {
    routes
        .route("/_license", get(|desk: Here, asked: Asked| known(desk, asked, |_, _| about::license())))
        .route("/_xpack", get(|desk: Here, asked: Asked| known(desk, asked, |_, _| about::xpack())))
        .route("/_nodes", get(nodes))
        .route("/_nodes/http", get(nodes))
        .route("/_nodes/_all/http", get(nodes))
        .route("/_cluster/health", get(health))
        .route("/_cluster/health/{index}", get(health))
        .route("/_cluster/settings", get(|desk: Here, asked: Asked| known(desk, asked, |_, _| no_settings())))
        .route("/_cat/health", get(cat_health))
        .route("/_cat/indices", get(cat_indices))
        .route("/_cat/indices/{index}", get(cat_indices))
        .route("/_resolve/cluster", get(resolve_cluster))
        .route("/_resolve/cluster/{index}", get(resolve_cluster))
        .route("/_resolve/index/{index}", get(resolve_index))
}

fn searches(routes: Routes) -> Routes {
    let both = |all: MethodRouter<Arc<Desk>>| all;
    routes
        .route("/_search", both(get(search).post(search)))
        .route("/{index}/_search", both(get(search).post(search)))
        .route("/_msearch", both(get(msearch).post(msearch)))
        .route("/{index}/_msearch", both(get(msearch).post(msearch)))
        .route("/_count", both(get(count).post(count)))
        .route("/{index}/_count", both(get(count).post(count)))
        .route("/_search/scroll", any(scroll))
        .route("/_search/scroll/{id}", any(scroll))
        .route("/_pit", any(scroll))
        .route("/{index}/_pit", any(scroll))
}

fn indices(routes: Routes) -> Routes {
    let mapping = || get(mappings).put(acknowledged).post(acknowledged);
    routes
        .route("/{index}", get(index).put(create).delete(delete))
        .route("/_mapping", get(mappings))
        .route("/_mappings", get(mappings))
        .route("/{index}/_mapping", mapping())
        .route("/{index}/_mappings", mapping())
        .route("/_settings", get(settings))
        .route("/{index}/_settings", get(settings).put(acknowledged))
        .route("/_field_caps", get(field_caps).post(field_caps))
        .route("/{index}/_field_caps", get(field_caps).post(field_caps))
        .route("/_refresh", get(refresh).post(refresh))
        .route("/{index}/_refresh", get(refresh).post(refresh))
        .route("/{index}/_delete_by_query", post(delete))
}

/// Templates, lifecycle policies and pipelines have no meaning here; shippers that set them up are let past, and whoever
/// asks for one hears that there is none.
fn compatible(routes: Routes) -> Routes {
    [
        "/_index_template",
        "/_template",
        "/_component_template",
        "/_ilm/policy",
        "/_ingest/pipeline",
        "/_data_stream",
        "/_alias",
    ]
    .into_iter()
    .fold(routes, |routes, path| {
        let named = get(nothing).put(acknowledged).post(acknowledged).delete(nothing);
        routes.route(path, get(nothing)).route(&format!("{path}/{{name}}"), named)
    })
}

/// What is asked of every index where the path names none.
fn expression(index: Option<Path<String>>) -> String {
    index.map_or_else(|| "*".to_owned(), |Path(index)| index)
}

/// An answer that whoever has a key may read.
async fn known(State(desk): Here, asked: Asked, answer: impl FnOnce(&Desk, &Asked) -> Value) -> Response {
    let found = desk.anybody(&asked.headers).map(|_| answer(&desk, &asked));
    reply(found, &asked.parameters)
}

fn no_settings() -> Value {
    json!({"persistent": {}, "transient": {}})
}

async fn root(desk: Here, asked: Asked) -> Response {
    known(desk, asked, |desk, _| about::root(&desk.parts.region, desk.parts.node)).await
}

async fn nodes(desk: Here, asked: Asked) -> Response {
    known(desk, asked, |desk, asked| about::nodes(&desk.parts.region, desk.parts.node, asked.host())).await
}

async fn health(desk: Here, asked: Asked) -> Response {
    let answer = |desk: &Desk, _: &Asked| {
        let has_leader = (desk.parts.around.facts)().leader.is_some();
        about::health(&desk.parts.region, desk.parts.catalog.shards().len(), has_leader)
    };
    known(desk, asked, answer).await
}

async fn cat_health(State(desk): Here, asked: Asked) -> Response {
    match desk.anybody(&asked.headers) {
        Ok(_) => table(&desk.cat_health(), &asked.parameters),
        Err(failure) => elastic_failure(&failure),
    }
}

async fn cat_indices(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let rows = async {
        // Numbers of records are for whoever may search them.
        let who = desk.searcher(&asked.headers)?;
        let streams = desk.indices(&who, &expression(index), &asked.parameters)?;
        desk.cat_indices(&who, &streams).await
    };
    match rows.await {
        Ok(rows) => table(&rows, &asked.parameters),
        Err(failure) => elastic_failure(&failure),
    }
}

async fn resolve_cluster(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let index = index.map(|Path(index)| index);
    let found = desk.anybody(&asked.headers).and_then(|who| desk.resolve_clusters(&who, index.as_deref()));
    reply(found, &asked.parameters)
}

async fn resolve_index(desk: Here, index: Option<Path<String>>, asked: Asked) -> Response {
    listed(desk, index, asked, |desk, streams, _| desk.resolve_indices(streams)).await
}

type Streams = std::collections::BTreeMap<domicile_proto::ids::Name, Arc<crate::policy::StreamView>>;

async fn listed(
    State(desk): Here,
    index: Option<Path<String>>,
    asked: Asked,
    answer: impl FnOnce(&Desk, &Streams, &Asked) -> Value,
) -> Response {
    let found = desk.anybody(&asked.headers).and_then(|who| {
        let streams = desk.indices(&who, &expression(index), &asked.parameters)?;
        Ok(answer(&desk, &streams, &asked))
    });
    reply(found, &asked.parameters)
}

async fn index(desk: Here, index: Option<Path<String>>, asked: Asked) -> Response {
    listed(desk, index, asked, |_, streams, _| catalogue::index(streams)).await
}

async fn mappings(desk: Here, index: Option<Path<String>>, asked: Asked) -> Response {
    listed(desk, index, asked, |_, streams, _| catalogue::mappings(streams)).await
}

async fn settings(desk: Here, index: Option<Path<String>>, asked: Asked) -> Response {
    listed(desk, index, asked, |_, streams, _| catalogue::settings(streams)).await
}

async fn field_caps(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let found = desk.anybody(&asked.headers).and_then(|who| {
        let streams = desk.indices(&who, &expression(index), &asked.parameters)?;
        Ok(catalogue::capabilities(&streams, asked.parameters.get("fields").unwrap_or("*"))?)
    });
    reply(found, &asked.parameters)
}

async fn create(State(desk): Here, Path(index): Path<String>, asked: Asked) -> Response {
    let parameters = asked.parameters.clone();
    let created = async {
        let who = desk.holder(&asked.headers, "create", |roles| roles.create || roles.admin)?;
        desk.create_index(&who, &index).await
    };
    reply(created.await, &parameters)
}

async fn refresh(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let refreshed = async {
        let who = desk.holder(&asked.headers, "ingest", |roles| roles.ingest || roles.search || roles.admin)?;
        desk.refresh_indices(&who, &expression(index), &asked.parameters).await
    };
    reply(refreshed.await, &asked.parameters)
}

async fn search(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let parameters = asked.parameters.clone();
    let found = async {
        let who = desk.searcher(&asked.headers)?;
        let scrolls = parameters.get("scroll").is_some();
        let body = asked.json().await?;
        if scrolls || body.get("pit").is_some() {
            return Err(no_cursor().into());
        }
        desk.elastic_search(&who, &expression(index), &body, &parameters, &Desk::budget(None)).await
    };
    reply(found.await, &parameters)
}

async fn msearch(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let parameters = asked.parameters.clone();
    let found = async {
        let who = desk.searcher(&asked.headers)?;
        let body = asked.bytes().await?;
        desk.elastic_searches(&who, &expression(index), &body, &parameters).await
    };
    reply(found.await, &parameters)
}

async fn count(State(desk): Here, index: Option<Path<String>>, asked: Asked) -> Response {
    let parameters = asked.parameters.clone();
    let counted = async {
        let who = desk.searcher(&asked.headers)?;
        let body = asked.json().await?;
        desk.elastic_count(&who, &expression(index), &body, &parameters).await
    };
    reply(counted.await, &parameters)
}

const fn no_cursor() -> PresentError {
    PresentError::Unsupported {
        what: "a cursor that the server keeps (scroll, pit)",
        instead: "page on with `search_after`",
    }
}

async fn scroll(State(desk): Here, asked: Asked) -> Response {
    let refused = desk.searcher(&asked.headers).and_then(|_| Err(Failure::from(no_cursor())));
    reply(refused, &asked.parameters)
}

async fn delete(State(desk): Here, asked: Asked) -> Response {
    let refused = desk.anybody(&asked.headers).and_then(|_| {
        let what = "deleting records or streams over this API";
        Err(PresentError::Unsupported { what, instead: "records end with their retention, or by an erasure order" }
            .into())
    });
    reply(refused, &asked.parameters)
}

async fn acknowledged(desk: Here, asked: Asked) -> Response {
    known(desk, asked, |_, _| json!({"acknowledged": true})).await
}

async fn nothing(State(desk): Here, asked: Asked) -> Response {
    if let Err(failure) = desk.anybody(&asked.headers) {
        return elastic_failure(&failure);
    }
    let no_route = PresentError::NoRoute { method: asked.method.to_string(), path: path_of(&asked) };
    elastic_failure(&no_route.into())
}

async fn no_route(asked: Asked) -> Response {
    if asked.method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let no_route = PresentError::NoRoute { method: asked.method.to_string(), path: path_of(&asked) };
    elastic_failure(&no_route.into())
}

fn path_of(asked: &Asked) -> String {
    asked.uri.path().chars().take(80).collect()
}
