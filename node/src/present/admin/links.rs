//! Links to exports of a subject: what a person is sent who has no access key. Whoever has the link reads the export, in its
//! region, until it expires.
//!
//! The link is looked at by nobody but `erase`, stands in no log, and whether it was wrong, expired or taken back is not told.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde_json::{Value, json};

use super::subjects::{Subjects, failed};
use crate::erase::{Before, EraseError, is_link};
use crate::limits::EXPORT_READS_PER_SECOND;
use crate::present::errors::PresentError;
use crate::present::native::told;
use crate::receive::Failure;
use domicile_proto::ids::TenantId;

/// How fast links may be tried.
pub(super) struct Tries(DefaultDirectRateLimiter);

impl Default for Tries {
    fn default() -> Self {
        Self(RateLimiter::direct(Quota::per_second(EXPORT_READS_PER_SECOND)))
    }
}

impl Tries {
    fn one(&self) -> Result<(), PresentError> {
        self.0.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs();
            PresentError::LinksTried { retry_after: u32::try_from(wait).unwrap_or(u32::MAX).max(1) }
        })
    }
}

/// `GET /api/v1/exports/{link}`: needs no key, for the link is one.
pub(super) async fn open(State(at): State<Arc<Subjects>>, Path(link): Path<String>) -> Response {
    let opened = async {
        // What is no link reads nothing, and costs nobody a try.
        if !is_link(&link) {
            return Err(failed(&EraseError::NoExport));
        }
        at.tries.one()?;
        let (tenant, lines) = at.erasure.open_export(&link).await.map_err(|error| failed(&error))?;
        at.desk.is_aware(tenant)?;
        Ok::<_, Failure>(lines)
    };
    match opened.await {
        Ok(lines) => {
            let headers = [
                (header::CONTENT_TYPE, "application/x-ndjson"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"export.ndjson\""),
                (header::CACHE_CONTROL, "no-store"),
                (header::REFERRER_POLICY, "no-referrer"),
            ];
            (StatusCode::OK, headers, lines.to_vec()).into_response()
        }
        Err(failure) => told(Err(failure)),
    }
}

impl Subjects {
    /// Hours that the caller wants a link for; none where the export itself is wanted.
    pub(super) fn link_hours(body: &Value) -> Result<Option<u64>, Failure> {
        match body.get("link_hours").filter(|hours| !hours.is_null()) {
            None => Ok(None),
            Some(hours) => hours.as_u64().map(Some).ok_or_else(|| failed(&EraseError::LinkHours)),
        }
    }

    /// Keeps an export in the region and says where.
    pub(super) async fn linked(
        &self,
        tenant: TenantId,
        (lines, records): (&[u8], u64),
        hours: u64,
        before: Before,
    ) -> Result<Value, Failure> {
        let kept = self.erasure.keep_export(tenant, lines, hours, before).await.map_err(|error| failed(&error))?;
        let path = format!("/api/v1/exports/{}", *kept.text);
        Ok(json!({"path": path, "export": kept.name, "until": kept.until, "records": records}))
    }
}
