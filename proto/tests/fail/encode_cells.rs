//! Unreleased cells have no serialisation (RES-1).

use domicile_proto::aggregate::count::Count;
use domicile_proto::border::Cells;
use domicile_proto::codec;

fn encode(cells: &Cells<Count>) -> Option<Vec<u8>> {
    codec::encode(cells).ok()
}

fn main() {}
