//! How long an answer takes, hit or miss: a measurement to be run by hand on a machine that does nothing else. That the
//! padding is there on every path is proven with a turned clock beside the gate; this shows what is left of a difference.
//!
//! `cargo test -p domicile-tests --test attacks -- --ignored --nocapture timing`

use std::time::Instant;

use domicile::attack::day::{DENSE, SPARSE, account};
use domicile_tests::cluster::region::Region;
use serde_json::json;

use crate::ask::within;
use crate::world::{GUARDED, World};

/// Questions of each kind: with two for each, a tenant's new questions of one day.
const SAMPLES: u64 = 400;

#[test]
#[ignore = "a measurement: it says what it found and depends on a quiet machine"]
fn timing_of_hits_and_misses() {
    let world = World::start();
    let (asker, home) = (world.asker(), world.cluster.region("frankfurt"));
    for (what, region, index) in [
        ("abroad, padded", &asker, format!("frankfurt:{GUARDED}")),
        ("at home, as it comes", &home, GUARDED.to_owned()),
    ] {
        let (mut hits, mut misses) = (Vec::new(), Vec::new());
        for user in 1..=SAMPLES {
            hits.push(took(region, &index, &account(user)));
            misses.push(took(region, &index, &account(90_000 + user)));
        }
        let (hit, miss) = (mean(&hits), mean(&misses));
        let t = welch(&hits, &misses);
        eprintln!(
            "{what}: {SAMPLES} hits {hit:.3} ms, {SAMPLES} misses {miss:.3} ms, Welch's t {t:.2} (below 4.5 is none)"
        );
    }
}

fn took(region: &Region, index: &str, word: &str) -> f64 {
    let filter = [within(DENSE.start, SPARSE.end), json!({"match": {"message": word}})];
    let body = json!({"size": 0, "query": {"bool": {"filter": filter}}});
    let began = Instant::now();
    let answer = region.es("search", "POST", &format!("/{index}/_search"), &body).unwrap();
    let took = began.elapsed().as_secs_f64() * 1_000.0;
    assert_eq!(answer.status, 200, "{}", answer.text());
    took
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

/// Welch's t of two samples, without its sign.
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let spread = |samples: &[f64]| {
        let mean = mean(samples);
        let sum: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
        sum / (samples.len() as f64 - 1.0) / samples.len() as f64
    };
    (mean(a) - mean(b)).abs() / (spread(a) + spread(b)).sqrt()
}

#[test]
fn equal_samples_have_no_t_and_shifted_ones_a_large_one() {
    let samples: Vec<f64> = (0..100).map(|index| f64::from(index % 10)).collect();
    let shifted: Vec<f64> = samples.iter().map(|sample| sample + 3.0).collect();
    assert!(welch(&samples, &samples) < 0.001);
    assert!(welch(&samples, &shifted) > 4.5);
}
