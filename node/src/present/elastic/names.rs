//! Index expressions: `app`, `app-2026.11.20`, `app-logs-*`, `a,b`, `tokyo:app,frankfurt:app`, `*:app`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domicile_proto::ids::{Name, Region};

use crate::limits::{MAX_PATTERN_BYTES, MAX_PATTERNS};
use crate::parse::stream_name;
use crate::policy::StreamView;
use crate::present::errors::PresentError;
use crate::receive::glob::fits;

/// What an index expression means.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    /// Streams of this region whose rows are wanted.
    pub(super) here: BTreeMap<Name, Arc<StreamView>>,
    /// Regions that were named, with their streams; this one too where it was named.
    pub(super) named: BTreeMap<Name, BTreeSet<Region>>,
    /// Whether some index was given without a region.
    pub(super) has_bare: bool,
}

impl Targets {
    /// Whether other regions are meant.
    pub(super) fn is_federated(&self, home: &Region) -> bool {
        self.named.values().flatten().any(|region| region != home)
    }
}

/// How missing streams are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leniency {
    /// A concrete name that is not there is passed over.
    pub(super) ignore_unavailable: bool,
}

/// Resolves an expression against the streams and regions there are.
///
/// # Errors
/// [`PresentError::NoIndex`], [`PresentError::NoCluster`]; [`PresentError::Malformed`] beyond the bounds of [`parts`].
pub(super) fn resolve(
    expression: &str,
    streams: &BTreeMap<Name, Arc<StreamView>>,
    regions: &[Region],
    home: &Region,
    leniency: Leniency,
) -> Result<Targets, PresentError> {
    let mut targets = Targets::default();
    for part in parts(expression)? {
        let (cluster, index) = match part.split_once(':') {
            Some((cluster, index)) => (Some(cluster), index),
            None => (None, part),
        };
        let found = matching(index, streams);
        if found.is_empty() && !index.contains('*') && index != "_all" && !leniency.ignore_unavailable {
            return Err(PresentError::NoIndex { index: shortened(part) });
        }
        let Some(cluster) = cluster else {
            targets.has_bare = true;
            targets.here.extend(found);
            continue;
        };
        let meant: Vec<&Region> = regions.iter().filter(|region| fits(cluster, region.as_str())).collect();
        if meant.is_empty() {
            return Err(PresentError::NoCluster { cluster: shortened(cluster) });
        }
        for (name, view) in found {
            targets.named.entry(name.clone()).or_default().extend(meant.iter().map(|region| (*region).clone()));
            if meant.contains(&home) {
                targets.here.insert(name, view);
            }
        }
    }
    if targets.is_federated(home) {
        // Bare names beside named ones are this region's part of the same question.
        for name in targets.here.keys() {
            targets.named.entry(name.clone()).or_default().insert(home.clone());
        }
    }
    Ok(targets)
}

/// The names and patterns of a list: every one is looked for among all streams, so they are few and short.
///
/// # Errors
/// [`PresentError::Malformed`].
pub(super) fn parts(expression: &str) -> Result<Vec<&str>, PresentError> {
    let parts: Vec<&str> = expression.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.len() > MAX_PATTERNS || parts.iter().any(|part| part.len() > MAX_PATTERN_BYTES) {
        return Err(PresentError::Malformed {
            place: "index or field",
            wanted: "at most 256 names or patterns of at most 256 bytes each; use `*` for many",
        });
    }
    Ok(parts)
}

fn matching(index: &str, streams: &BTreeMap<Name, Arc<StreamView>>) -> BTreeMap<Name, Arc<StreamView>> {
    if !index.contains('*') && index != "_all" {
        let name = stream_name(index).ok();
        return name
            .and_then(|name| streams.get_key_value(&name))
            .map(|(n, v)| (n.clone(), Arc::clone(v)))
            .into_iter()
            .collect();
    }
    let index = if index == "_all" { "*" } else { index };
    // `app-*` is how tools name all days of `app`.
    let of_days = ["-*", ".*", "_*"].iter().find_map(|end| index.strip_suffix(end));
    streams
        .iter()
        .filter(|(name, _)| fits(index, name.as_str()) || of_days.is_some_and(|stem| fits(stem, name.as_str())))
        .map(|(name, view)| (name.clone(), Arc::clone(view)))
        .collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use domicile_proto::ids::{StreamId, TenantId};
    use domicile_proto::metadata::StreamPolicy;

    use super::*;

    fn region(text: &str) -> Region {
        text.parse().expect("a name")
    }

    fn streams() -> BTreeMap<Name, Arc<StreamView>> {
        let view = |text: &str| {
            let name: Name = text.parse().expect("a name");
            let view = StreamView {
                id: StreamId(1),
                tenant: TenantId(1),
                name: name.clone(),
                fields: Vec::new(),
                policy: StreamPolicy::default(),
                shard: None,
            };
            (name, Arc::new(view))
        };
        ["app", "app-logs", "shop"].into_iter().map(view).collect()
    }

    fn check(expression: &str) -> Option<(Vec<String>, Vec<String>)> {
        let regions = ["frankfurt", "singapore", "tokyo"].map(region);
        let leniency = Leniency { ignore_unavailable: false };
        let targets = resolve(expression, &streams(), &regions, &region("tokyo"), leniency).ok()?;
        let here = targets.here.keys().map(ToString::to_string).collect();
        let named = targets
            .named
            .iter()
            .flat_map(|(name, regions)| regions.iter().map(move |region| format!("{region}:{name}")))
            .collect();
        Some((here, named))
    }

    #[test]
    fn expressions_mean_streams_and_regions() {
        for (expression, here, named) in [
            ("app", vec!["app"], vec![]),
            ("app-2026.11.20", vec!["app"], vec![]),
            ("app-logs-*", vec!["app-logs"], vec![]),
            ("app-*", vec!["app", "app-logs"], vec![]),
            ("_all", vec!["app", "app-logs", "shop"], vec![]),
            ("nothing-*", vec![], vec![]),
            ("tokyo:app,frankfurt:app", vec!["app"], vec!["frankfurt:app", "tokyo:app"]),
            ("frankfurt:shop", vec![], vec!["frankfurt:shop"]),
            ("*:shop", vec!["shop"], vec!["frankfurt:shop", "singapore:shop", "tokyo:shop"]),
            ("shop,sing*:shop", vec!["shop"], vec!["singapore:shop", "tokyo:shop"]),
        ] {
            let expected = (
                here.into_iter().map(str::to_owned).collect::<Vec<_>>(),
                named.into_iter().map(str::to_owned).collect::<Vec<_>>(),
            );
            assert_eq!(check(expression), Some(expected), "{expression}");
        }
        assert_eq!(check(&vec!["app"; 256].join(",")), Some((vec!["app".to_owned()], vec![])));
        assert_eq!(check(&vec!["app"; 257].join(",")), None);
        assert_eq!(check(&"*".repeat(257)), None);
        assert_eq!(check("missing"), None);
        assert_eq!(check("mars:app"), None);
    }
}
