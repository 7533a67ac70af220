use domicile_proto::aggregate::count::Count;
use domicile_proto::border::Released;
use domicile_proto::codec;

fn revive(frame: &[u8]) -> Option<Released<Count>> {
    codec::decode(frame).ok()
}

fn main() {}
