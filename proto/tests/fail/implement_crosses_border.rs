use domicile_proto::border::{CrossesBorder, EgressClass};

struct Mine(String);

impl CrossesBorder for Mine {
    const CLASS: EgressClass = EgressClass::Count;
}

fn main() {}
