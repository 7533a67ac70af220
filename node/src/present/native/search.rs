//! `POST /api/v1/search`: rows of this region, and released numbers of this region and others.
//!
//! Rows come from this region alone. Numbers that were asked for with `ask` or `aggregations`, or of named regions, are
//! what each region released, this one included; without either, the exact number of this region's own matches is told to
//! its own client.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domicile_proto::ids::TimeRange;
use serde_json::{Map, Value, json};

use super::asked::Asked;
use super::shown::{coverage, millis, result, total, unsearched};
use super::{Body, told};
use crate::admit::Principal;
use crate::federate::{Answer, OnMissing, Regions};
use crate::present::ask::{Wanted, Whither, chosen};
use crate::present::desk::Desk;
use crate::present::elastic::clusters::worst;
use crate::present::errors::PresentError;
use crate::present::searching;
use crate::query::{SearchRequest, TrackTotal};
use crate::receive::Failure;

/// Rows of a page unless the caller wants another number.
const PAGE: usize = 50;

pub(super) async fn search(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let answered = async {
        let who = desk.searcher(&headers)?;
        let asked = Asked::read(body.0?, &desk.dates())?;
        desk.native_search(&who, asked).await
    };
    told(answered.await)
}

impl Desk {
    async fn native_search(&self, who: &Principal, asked: Asked) -> Result<Value, Failure> {
        let began = Instant::now();
        let own = Regions::Only(BTreeSet::from([self.parts.region.clone()]));
        let is_home_only = asked.regions.as_ref().is_none_or(|regions| *regions == own);
        let wants_numbers = asked.ask.is_some() || !asked.aggregations.is_empty();
        let has_home = match &asked.regions {
            None | Some(Regions::All) => true,
            Some(Regions::Only(regions)) => regions.contains(&self.parts.region),
        };
        // Who names other regions wants numbers, and rows only where they ask for some.
        let is_exact = is_home_only && !wants_numbers && asked.size != Some(0);
        let size = asked.size.unwrap_or(if is_home_only && !wants_numbers { PAGE } else { 0 });
        let mut answer = Map::new();
        let numbers =
            async { if is_exact { Ok(None) } else { self.numbers(who, &asked, own.clone()).await.map(Some) } };
        let rows = async {
            if size == 0 || !has_home { Ok(None) } else { self.rows(who, &asked, size, is_exact).await.map(Some) }
        };
        let (numbers, rows) = futures::future::try_join(numbers, rows).await?;
        answer.extend(numbers.into_iter().flatten());
        answer.extend(rows.into_iter().flatten());
        answer.insert("took_ms".to_owned(), json!(millis(began.elapsed())));
        Ok(Value::Object(answer))
    }

    /// What the regions released.
    async fn numbers(&self, who: &Principal, asked: &Asked, own: Regions) -> Result<Map<String, Value>, Failure> {
        let _permit = self.permit(who.tenant())?;
        let whither = Whither {
            asker: who.asker(),
            stream: asked.stream.clone(),
            regions: asked.regions.clone().unwrap_or(own),
            on_missing: asked.on_missing,
            deadline: asked.deadline,
        };
        let mut wanted: Vec<(Option<&str>, &Wanted)> = asked.ask.iter().map(|ask| (None, ask)).collect();
        wanted.extend(asked.aggregations.iter().map(|(name, wanted)| (Some(name.as_str()), wanted)));
        if wanted.is_empty() {
            wanted.push((None, &Wanted::Count));
        }
        let questions = wanted.iter().map(|(_, wanted)| (whither.clone(), Wanted::clone(wanted))).collect();
        let answers: Vec<Answer> = self.ask(questions, &asked.filter).await?;
        let mut shown = Map::new();
        let mut named = Map::new();
        for ((name, _), answer) in wanted.iter().zip(&answers) {
            let mut result = result(answer);
            if let (Some(result), Some(range)) = (result.as_object_mut(), chosen(&asked.filter, &answer.aggregate)) {
                result.insert("range".to_owned(), range);
            }
            match name {
                None => drop(shown.insert("result".to_owned(), result)),
                Some(name) => drop(named.insert((*name).to_owned(), result)),
            }
        }
        if let Some(first) = answers.iter().find(|answer| answer.has_total()) {
            let sum = first.total();
            shown.insert("total".to_owned(), total(sum.value, sum.is_exact));
        }
        let questions: Vec<String> = answers.iter().map(|answer| answer.question.to_string()).collect();
        let regions = worst(answers.into_iter().flat_map(|answer| answer.coverage.0));
        let missing: Vec<&str> =
            regions.values().filter(|said| said.standing.is_missing()).map(|said| said.region.as_str()).collect();
        shown.insert("missing".to_owned(), json!(missing));
        shown.insert("coverage".to_owned(), coverage(&regions));
        shown.insert("questions".to_owned(), json!(questions));
        if !named.is_empty() {
            shown.insert("aggregations".to_owned(), Value::Object(named));
        }
        debug_assert!(asked.on_missing == OnMissing::Partial || missing.is_empty());
        Ok(shown)
    }

    /// This region's own rows, as far as the key may see any.
    async fn rows(
        &self,
        who: &Principal,
        asked: &Asked,
        size: usize,
        is_exact: bool,
    ) -> Result<Map<String, Value>, Failure> {
        let policy = self.parts.policy.now();
        let stream = policy.stream(who.tenant(), &asked.stream).cloned();
        let stream = stream.ok_or_else(|| PresentError::NoIndex { index: asked.stream.to_string() })?;
        let request = SearchRequest {
            filter: asked.filter.clone(),
            range: TimeRange::ALL,
            sort: asked.sort,
            size,
            after: None,
            total: if is_exact { TrackTotal::Exact } else { TrackTotal::No },
            budget: Self::budget(None),
        };
        let wanted = searching::Wanted { request, aggregations: None, on_missing: asked.on_missing };
        let found = self.search(who, &[stream], wanted).await?;
        let hits = found.rows.iter().map(|row| {
            let source: Value = serde_json::from_slice(&row.source).unwrap_or_default();
            json!({"id": row.id, "source": source, "sort": [row.time.as_millis()]})
        });
        let mut shown = Map::new();
        shown.insert("hits".to_owned(), hits.collect());
        if let Some(sum) = found.total {
            shown.insert("total".to_owned(), total(sum.value, sum.is_exact));
        }
        if !found.unsearched.is_empty() {
            shown.insert("not_searched".to_owned(), found.unsearched.iter().map(unsearched).collect());
        }
        Ok(shown)
    }
}
