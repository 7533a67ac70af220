//! The map of what flows where: regions as boxes, routes as arrows with a number that the table beside it explains.
//!
//! Says where everything stands, in points; the pages and the PDF draw it.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// The map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Map {
    /// Read aloud instead of the picture.
    pub(super) words: String,
    pub(super) places: Vec<Place>,
    pub(super) routes: Vec<Route>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) name: String,
    /// Up to two lines below the name.
    pub(super) about: Vec<String>,
}

/// A way from one region to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    /// Places in `places`.
    pub(super) from: usize,
    pub(super) to: usize,
    /// Stands on the arrow and in the table.
    pub(super) number: usize,
    /// Whether anything may go this way.
    pub(super) is_open: bool,
}

/// Width of the drawing.
pub(super) const WIDTH: f64 = 480.0;
/// Height of the drawing.
pub(super) const HEIGHT: f64 = 330.0;
/// A box.
pub(super) const BOX: (f64, f64) = (150.0, 62.0);
/// Radius of a number on an arrow.
pub(super) const BADGE: f64 = 10.0;
/// How far the two arrows between two regions stand apart, halved.
const APART: f64 = 13.0;

/// An arrow from one point to another, with the middle of its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arrow {
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
    pub(super) badge: (f64, f64),
}

impl Map {
    /// The middle of a region's box, from the upper left corner of the drawing.
    pub(super) fn middle(&self, place: usize) -> (f64, f64) {
        if self.places.len() < 2 {
            return (WIDTH / 2.0, HEIGHT / 2.0);
        }
        // The first one stands at the top.
        #[allow(clippy::cast_precision_loss, reason = "there are few regions")]
        let turn = TAU * place as f64 / self.places.len() as f64;
        let (wide, high) = ((WIDTH - BOX.0) / 2.0 - 4.0, (HEIGHT - BOX.1) / 2.0 - 4.0);
        (WIDTH / 2.0 + wide * turn.sin(), HEIGHT / 2.0 - high * turn.cos())
    }

    /// Where a route's arrow stands: beside the straight line between the two boxes, ending at their edges.
    pub(super) fn arrow(&self, route: &Route) -> Arrow {
        let (from, to) = (self.middle(route.from), self.middle(route.to));
        let (x, y) = (to.0 - from.0, to.1 - from.1);
        let length = x.hypot(y).max(1.0);
        let (x, y) = (x / length, y / length);
        let aside = (-y * APART, x * APART);
        // From beside the middle of a box to its edge along the line, and a little further.
        let out = |x: f64, y: f64| {
            let way = |half: f64, aside: f64, along: f64| (half - aside * along.signum()) / along.abs().max(1e-9);
            way(BOX.0 / 2.0, aside.0, x).min(way(BOX.1 / 2.0, aside.1, y)) + 4.0
        };
        let (begin, end) = (out(x, y), out(-x, -y));
        let from = (from.0 + aside.0 + x * begin, from.1 + aside.1 + y * begin);
        let to = (to.0 + aside.0 - x * end, to.1 + aside.1 - y * end);
        let badge = (from.0 + (to.0 - from.0) * 0.38, from.1 + (to.1 - from.1) * 0.38);
        Arrow { from, to, badge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(count: usize) -> Map {
        let place = |number| Place { name: format!("r{number}"), about: Vec::new() };
        let routes = (0..count).flat_map(|from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)));
        let routes = routes.zip(1..).map(|((from, to), number)| Route { from, to, number, is_open: true });
        Map { words: String::new(), places: (0..count).map(place).collect(), routes: routes.collect() }
    }

    #[test]
    fn arrows_begin_and_end_just_outside_of_their_boxes() {
        for count in 2..=6 {
            let map = map(count);
            for route in &map.routes {
                let arrow = map.arrow(route);
                for ((x, y), place) in [(arrow.from, route.from), (arrow.to, route.to)] {
                    let middle = map.middle(place);
                    let (beside, above) = ((x - middle.0).abs() - BOX.0 / 2.0, (y - middle.1).abs() - BOX.1 / 2.0);
                    let outside = beside.max(above);
                    assert!((0.1..=4.1).contains(&outside), "{count} regions, route {}: {outside}", route.number);
                }
            }
        }
    }

    #[test]
    fn boxes_and_numbers_stay_inside_and_do_not_cover_each_other() {
        for count in 1..=6 {
            let map = map(count);
            let badges: Vec<_> = map.routes.iter().map(|route| map.arrow(route).badge).collect();
            for place in 0..count {
                let (x, y) = map.middle(place);
                let inside = x - BOX.0 / 2.0 >= 0.0 && x + BOX.0 / 2.0 <= WIDTH && y - BOX.1 / 2.0 >= 0.0;
                assert!(inside && y + BOX.1 / 2.0 <= HEIGHT, "{count} regions: box {place}");
                if count <= 3 {
                    let covered = |(bx, by): &(f64, f64)| (bx - x).abs() < BOX.0 / 2.0 && (by - y).abs() < BOX.1 / 2.0;
                    assert!(!badges.iter().any(covered), "{count} regions: a number stands on box {place}");
                }
            }
            if count <= 3 {
                for (at, one) in badges.iter().enumerate() {
                    let near = |other: &(f64, f64)| (one.0 - other.0).hypot(one.1 - other.1) < 2.0 * BADGE;
                    assert!(!badges[at + 1..].iter().any(near), "{count} regions: number {at}");
                }
            }
        }
    }
}
