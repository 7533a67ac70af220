//! Nobody else can declare that a shape of theirs may cross (RES-1).

use domicile_proto::border::{CrossesBorder, EgressClass};

struct Mine(String);

impl CrossesBorder for Mine {
    const CLASS: EgressClass = EgressClass::Count;
}

fn main() {}
