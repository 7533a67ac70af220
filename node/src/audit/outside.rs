//! A witness that an operator named, outside the deployment: asked over HTTP as C2SP tlog-witness says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domicile_proto::link::crypto;
use reqwest::{Client, StatusCode, redirect};

use super::merkle::Hash;
use super::note::Cosigner;
use super::prove::lines;
use crate::limits::{CHECKPOINT_BYTES, WITNESS_DEADLINE};

/// A witness outside, and the one key it is believed with.
pub(crate) struct Outside {
    client: Client,
    url: String,
    cosigner: Cosigner,
}

/// What it said.
pub(super) enum Said {
    /// The line of its cosignature, checked.
    Cosigned(String),
    /// It knows a head of another size.
    Stale(u64),
    /// The proof does not lead from the head it knows to this one.
    Forked,
    /// Its signature is not of the key it is believed with.
    OtherKey,
    /// It does not take heads of this log.
    Refused,
    /// There was no whole answer in time.
    OutOfReach,
}

impl Outside {
    /// Under the submission prefix `url`, with the key `name+id+key`; `None` where either is none.
    pub(crate) fn new(url: &str, key: &str) -> Option<Self> {
        crypto::install_default_provider();
        let builder = Client::builder().timeout(WITNESS_DEADLINE).no_proxy().redirect(redirect::Policy::none());
        let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
        Some(Self { client: builder.build().ok()?, url, cosigner: Cosigner::read(key)? })
    }

    pub(super) const fn cosigner(&self) -> &Cosigner {
        &self.cosigner
    }

    /// Offers a checkpoint, with a proof from the one it knows.
    pub(super) async fn ask(&self, known: u64, proof: &[Hash], note: &str) -> Said {
        let body = format!("old {known}\n{}\n{note}", lines(proof));
        let Ok(response) = self.client.post(&self.url).body(body).send().await else { return Said::OutOfReach };
        let status = response.status();
        let Some(text) = bounded(response).await else { return Said::OutOfReach };
        match status {
            StatusCode::OK => self.line(&text, note).map_or(Said::OtherKey, Said::Cosigned),
            StatusCode::CONFLICT => text.trim_end().parse().map_or(Said::Refused, Said::Stale),
            StatusCode::UNPROCESSABLE_ENTITY => Said::Forked,
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Said::OutOfReach,
            _ => Said::Refused,
        }
    }

    /// The one line of this witness among those it gave.
    fn line(&self, given: &str, note: &str) -> Option<String> {
        let mut ours = given.split_inclusive('\n').filter(|line| {
            let is_whole =
                line.ends_with('\n') && STANDARD.decode(line.trim_end().rsplit(' ').next().unwrap_or("")).is_ok();
            is_whole && self.cosigner.cosigned(&format!("{note}{line}")).is_some()
        });
        ours.next().map(str::to_owned)
    }
}

/// A body that is not longer than a checkpoint may be.
async fn bounded(mut response: reqwest::Response) -> Option<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > CHECKPOINT_BYTES {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}
