//! How judged cells are poured into the shapes that cross. Decides nothing.

use super::sealed::{Poured, Sealed};
use super::{Nothing, NumbersShape, TermsShape};
use crate::aggregate::Aggregate;
use crate::aggregate::cell::Cell;
use crate::aggregate::count::Count;
use crate::aggregate::date_grid::{DateGrid, Grid};
use crate::aggregate::histogram::FixedHistogram;
use crate::aggregate::scalars::{DistinctEstimate, Quantile};
use crate::aggregate::sum::Sum;
use crate::aggregate::term_grid::TermGrid;
use crate::aggregate::terms::Terms;

macro_rules! opened {
    ($($shape:ident),*) => {$(
        impl Sealed for $shape {
            fn into_aggregate(self) -> Aggregate {
                Aggregate::$shape(self)
            }
        }
    )*};
}

opened!(Count, DateGrid, Terms, TermGrid, FixedHistogram, Sum, Quantile, DistinctEstimate);

impl Sealed for Nothing {
    fn into_aggregate(self) -> Aggregate {
        match self {}
    }
}

impl Poured for Count {
    type Shape = ();

    fn len((): &Self::Shape) -> usize {
        1
    }

    fn assemble((): Self::Shape, cells: Vec<Cell>) -> Self {
        Self { cell: cells.first().copied().unwrap_or(Cell::WITHHELD) }
    }
}

impl Poured for DateGrid {
    type Shape = Grid;

    fn len(grid: &Self::Shape) -> usize {
        grid.len as usize
    }

    fn assemble(grid: Self::Shape, cells: Vec<Cell>) -> Self {
        Self { grid, cells }
    }
}

impl Poured for Terms {
    type Shape = TermsShape;

    fn len(shape: &Self::Shape) -> usize {
        shape.values.len() + 1
    }

    fn assemble(shape: Self::Shape, mut cells: Vec<Cell>) -> Self {
        let other = cells.pop().unwrap_or(Cell::WITHHELD);
        Self { field: shape.field, cells: shape.values.into_iter().zip(cells).collect(), other }
    }
}

impl Poured for TermGrid {
    type Shape = (TermsShape, Grid);

    fn len((terms, grid): &Self::Shape) -> usize {
        (terms.values.len() + 1).saturating_mul(grid.len as usize)
    }

    fn assemble((terms, grid): Self::Shape, cells: Vec<Cell>) -> Self {
        let mut rows = cells.into_iter();
        let len = grid.len as usize;
        let values = terms.values.into_iter().map(|id| (id, rows.by_ref().take(len).collect())).collect();
        Self { field: terms.field, grid, rows: values, other: rows.collect() }
    }
}

impl Poured for FixedHistogram {
    type Shape = NumbersShape;

    fn len(shape: &Self::Shape) -> usize {
        shape.bounds.len() + 1
    }

    fn assemble(shape: Self::Shape, cells: Vec<Cell>) -> Self {
        Self { field: shape.field, bounds: shape.bounds, cells }
    }
}
