//! A released answer cannot be made without the gate (RES-1, PRI-2).

use domicile_proto::aggregate::count::Count;
use domicile_proto::border::Released;
use domicile_proto::message::answer::Answer;
use std::marker::PhantomData;

fn forge(answer: Answer) -> Released<Count> {
    Released { answer, shape: PhantomData }
}

fn main() {}
