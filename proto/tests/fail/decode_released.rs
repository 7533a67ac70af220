//! What arrives is never a released answer, so it cannot be sent on (RES-1).

use domicile_proto::aggregate::count::Count;
use domicile_proto::border::Released;
use domicile_proto::codec;

fn revive(frame: &[u8]) -> Option<Released<Count>> {
    codec::decode(frame).ok()
}

fn main() {}
