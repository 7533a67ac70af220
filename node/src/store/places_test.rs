//! What goes into a tenant's own bucket, and what of it is found, whatever the list of buckets said before.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::{Regions, StoreSection};
use crate::errors::Coded;

/// Shards 1 and 2 are of `acme`, the second one its stream `payments`; 3 is of `other`. Nobody knows another one.
fn placer() -> Placer {
    Box::new(|shard| {
        let (tenant, stream) = match shard.0 {
            1 => ("acme", "web"),
            2 => ("acme", "payments"),
            3 => ("other", "payments"),
            _ => return None,
        };
        Some((tenant.parse().ok()?, stream.parse().ok()?))
    })
}

async fn connected(dir: &Path, list: &str) -> Result<Store, StoreError> {
    let region: domicile_proto::ids::Region = "tokyo".parse().unwrap();
    let list = list.replace("DIR", &dir.display().to_string());
    let config: StoreSection = toml::from_str(&list).unwrap();
    let regions = Regions::built_in().unwrap();
    let clouds = regions.facts(&region).unwrap().clouds();
    let store = Store::connect(&config, &dir.join("region"), &region, clouds).await?;
    store.placed_by(placer());
    Ok(store)
}

const ACME: &str = "[[buckets]]\ntenant = \"acme\"\npath = \"DIR/acme\"\n";
const PAYMENTS: &str = "[[buckets]]\ntenant = \"acme\"\nstream = \"payments\"\npath = \"DIR/payments\"\n";

/// What a person is told, with everything behind it.
fn told(error: &StoreError) -> String {
    let behind = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {behind}")
}

fn object(above: &str, shard: u64, name: &str) -> String {
    format!("{above}/{shard:016x}/{name}/footer")
}

fn lies(dir: &Path, bucket: &str, object: &str) -> bool {
    dir.join(bucket).join(object).try_exists().unwrap()
}

async fn put(store: &Store, object: &str) {
    store.create(object, Bytes::from(object.to_owned())).await.unwrap();
}

#[tokio::test]
async fn the_most_specific_bucket_takes_what_is_named_by_its_shard_and_the_regions_takes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = connected(dir.path(), &format!("{ACME}{PAYMENTS}")).await.unwrap();
    for above in [COPIES, ARCHIVE, RESTORED] {
        for (shard, bucket) in [(1, "acme"), (2, "payments"), (3, "region")] {
            let object = object(above, shard, "a");
            put(&store, &object).await;
            for other in ["acme", "payments", "region"] {
                assert_eq!(lies(dir.path(), other, &object), other == bucket, "{object} in {other}");
            }
            assert_eq!(store.read(&object).await.unwrap(), object);
            assert_eq!(store.read_range(&object, 0..4).await.unwrap(), object[..4]);
            assert_eq!(store.list(&format!("{above}/{shard:016x}")).await.unwrap().len(), 1);
        }
        assert_eq!(store.list(above).await.unwrap().len(), 3, "those of every bucket");
    }
    for of_region in ["shards/0000000000000001/manifest-0000000001", "released/0000000000000001/1-entry", "wal/1/1"] {
        put(&store, of_region).await;
        assert!(lies(dir.path(), "region", of_region), "what two nodes could both create lies in one place");
    }
}

#[tokio::test]
async fn what_lay_in_the_regions_bucket_is_read_and_deleted_when_a_bucket_was_named_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c"].map(|name| object(COPIES, 1, name));
    let lists = [String::new(), ACME.to_owned(), format!("{ACME}closed = true")];
    for (list, name) in lists.iter().zip(&names) {
        put(&connected(dir.path(), list).await.unwrap(), name).await;
    }
    assert!(lies(dir.path(), "region", &names[0]) && lies(dir.path(), "region", &names[2]));
    assert!(lies(dir.path(), "acme", &names[1]));
    for list in &lists[1..] {
        let store = connected(dir.path(), list).await.unwrap();
        for name in &names {
            assert_eq!(store.read(name).await.unwrap(), name);
            let again = store.create(name, Bytes::new()).await.err().unwrap();
            assert_eq!(again.code(), "DMC-STORE-02", "an object is created once, in whichever bucket");
        }
        let lying = store.lying(&format!("{COPIES}/{:016x}", 1)).await.unwrap();
        let own: Vec<_> = lying.iter().filter(|(_, at)| *at == Some(0)).map(|(name, _)| name).collect();
        assert!(lying.len() == 3 && own == [&names[1]], "{lying:?}");
    }
    let store = connected(dir.path(), ACME).await.unwrap();
    // As somebody puts it back who restores a bucket.
    std::fs::create_dir_all(dir.path().join("acme").join(&names[0]).parent().unwrap()).unwrap();
    std::fs::copy(dir.path().join("region").join(&names[0]), dir.path().join("acme").join(&names[0])).unwrap();
    assert_eq!(store.list(COPIES).await.unwrap().len(), 3, "what lies in two is listed once");
    for name in &names {
        store.delete(name).await.unwrap();
        assert!(["acme", "region"].iter().all(|bucket| !lies(dir.path(), bucket, name)), "{name} is gone in both");
        assert_eq!(store.read(name).await.err().unwrap().code(), "DMC-STORE-03");
    }
}

#[tokio::test]
async fn before_the_metadata_is_there_everything_is_found_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let (acme, unknown) = (object(COPIES, 1, "a"), object(COPIES, 9, "a"));
    put(&connected(dir.path(), ACME).await.unwrap(), &acme).await;
    let region: domicile_proto::ids::Region = "tokyo".parse().unwrap();
    let config: StoreSection = toml::from_str(&ACME.replace("DIR", &dir.path().display().to_string())).unwrap();
    let regions = Regions::built_in().unwrap();
    let clouds = regions.facts(&region).unwrap().clouds();
    let store = Store::connect(&config, &dir.path().join("region"), &region, clouds).await.unwrap();
    assert_eq!(store.read(&acme).await.unwrap(), acme, "a shard that nobody knows is looked for everywhere");
    for object in [&object(COPIES, 1, "b"), &unknown] {
        let refused = store.create(object, Bytes::new()).await.err().unwrap();
        assert_eq!(refused.code(), "DMC-STORE-17", "it would be in somebody's bucket by chance");
    }
    store.delete(&acme).await.unwrap();
    assert!(!lies(dir.path(), "acme", &acme));
    store.placed_by(placer());
    put(&store, &acme).await;
    assert!(lies(dir.path(), "acme", &acme));
    assert_eq!(store.create(&unknown, Bytes::new()).await.err().unwrap().code(), "DMC-STORE-17");
}

#[tokio::test]
async fn a_bucket_that_was_used_must_stay_in_the_list() {
    let dir = tempfile::tempdir().unwrap();
    // A node of the region that was started before the bucket was named.
    let old = connected(dir.path(), "").await.unwrap();
    let name = object(COPIES, 2, "a");
    put(&connected(dir.path(), PAYMENTS).await.unwrap(), &name).await;
    for list in ["", ACME] {
        let refused = connected(dir.path(), list).await.err().unwrap();
        let said = refused.to_string();
        assert_eq!(refused.code(), "DMC-STORE-16");
        assert!(said.contains("`payments`") && said.contains("`acme`") && said.contains("/payments`"), "{said}");
    }
    let missing = old.read(&name).await.err().unwrap();
    assert_eq!(missing.code(), "DMC-STORE-16", "it is not taken for lost");
    for result in [old.list(COPIES).await.err(), old.list(&format!("{COPIES}/{:016x}", 2)).await.err()] {
        assert_eq!(result.unwrap().code(), "DMC-STORE-16", "nor for gone");
    }
    let refused = old.create(&object(COPIES, 2, "b"), Bytes::new()).await.err().unwrap();
    assert_eq!(refused.code(), "DMC-STORE-16");
    for (shard, other) in [(1, "another stream"), (3, "another tenant")] {
        put(&old, &object(COPIES, shard, "a")).await;
        assert_eq!(old.list(&format!("{COPIES}/{shard:016x}")).await.unwrap().len(), 1, "{other} goes on");
    }
    // Another bucket in its place is not the one that was used.
    std::fs::rename(dir.path().join("payments"), dir.path().join("aside")).unwrap();
    assert_eq!(connected(dir.path(), PAYMENTS).await.err().unwrap().code(), "DMC-STORE-16");
    let moved = PAYMENTS.replace("DIR/payments", "DIR/aside");
    let store = connected(dir.path(), &moved).await.unwrap();
    assert_eq!(store.read(&name).await.unwrap(), name, "a bucket is known by its marker, wherever it is reached");
    // Emptied, and taken out as the page says.
    store.delete(&name).await.unwrap();
    std::fs::remove_dir_all(dir.path().join("region").join(NAMED)).unwrap();
    connected(dir.path(), "").await.unwrap();
}

#[tokio::test]
async fn a_bucket_of_somebody_else_is_refused_and_nothing_is_written_into_it() {
    let dir = tempfile::tempdir().unwrap();
    connected(dir.path(), &format!("{ACME}{PAYMENTS}")).await.unwrap();
    let tenant = |tenant: &str, path: &str| format!("[[buckets]]\ntenant = \"{tenant}\"\npath = \"DIR/{path}\"\n");
    for (list, said) in [
        (tenant("other", "acme"), "tenant=acme"),
        (tenant("acme", "payments"), "stream=payments"),
        (tenant("acme", "region"), "the region as a whole"),
        (format!("{}stream = \"web\"\n", tenant("acme", "payments")), "stream=payments"),
    ] {
        let list = format!("path = \"DIR/elsewhere\"\n{list}");
        let refused = connected(dir.path(), &list).await.err().unwrap();
        assert_eq!(refused.code(), "DMC-STORE-15", "{refused}");
        assert!(told(&refused).contains(said) && told(&refused).contains("number 1"), "{refused}");
    }
    let refused = connected(dir.path(), "path = \"DIR/acme\"").await.err().unwrap();
    assert_eq!(refused.code(), "DMC-STORE-15", "nor is it taken for the region's: {refused}");
    let abroad: domicile_proto::ids::Region = "frankfurt".parse().unwrap();
    let config: StoreSection = toml::from_str(&ACME.replace("DIR", &dir.path().display().to_string())).unwrap();
    let regions = Regions::built_in().unwrap();
    let clouds = regions.facts(&abroad).unwrap().clouds();
    let refused = Store::connect(&config, &dir.path().join("abroad"), &abroad, clouds).await.err().unwrap();
    assert_eq!(refused.code(), "DMC-STORE-01");
    assert!(told(&refused).contains("tenant `acme`"), "{refused}");
    std::fs::create_dir(dir.path().join("photos")).unwrap();
    std::fs::write(dir.path().join("photos/1.jpg"), b"x").unwrap();
    let refused = connected(dir.path(), &format!("{ACME}{PAYMENTS}{}", tenant("other", "photos"))).await.err().unwrap();
    assert_eq!(refused.code(), "DMC-STORE-06");
    assert!(refused.to_string().contains("number 3 of `store.buckets`"), "{refused}");
}

#[derive(Clone, Debug)]
enum Step {
    /// The node starts again with another list.
    List(usize),
    Create(u64, u8),
    Delete(u64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let named = || (1..4_u64, 0..3_u8);
    prop_oneof![
        1 => (0..4_usize).prop_map(Step::List),
        4 => named().prop_map(|(shard, name)| Step::Create(shard, name)),
        2 => named().prop_map(|(shard, name)| Step::Delete(shard, name)),
    ]
}

/// Every object below a directory.
fn objects(dir: &Path) -> BTreeSet<String> {
    let below = |above: &str| {
        let shards = std::fs::read_dir(dir.join(above)).into_iter().flatten().flatten();
        let segments = shards.flat_map(|shard| std::fs::read_dir(shard.path()).into_iter().flatten().flatten());
        let files = segments.flat_map(|segment| std::fs::read_dir(segment.path()).into_iter().flatten().flatten());
        let named = files.map(|file| file.path().strip_prefix(dir).unwrap().display().to_string());
        named.collect::<Vec<_>>()
    };
    below(COPIES).into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the list says from start to start: what is there is read and listed, what was deleted is nowhere, what is created
    /// lies in one bucket, and no bucket ever holds what is not its owner's.
    #[test]
    fn nothing_is_lost_nor_left_nor_laid_into_another_ones_bucket(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            // Once used, a bucket stays in the list; it may be closed, and opened again.
            let lists = [
                format!("{ACME}{PAYMENTS}"),
                format!("{ACME}closed = true\n{PAYMENTS}"),
                format!("{ACME}{PAYMENTS}closed = true\n"),
                format!("{ACME}closed = true\n{PAYMENTS}closed = true\n"),
            ];
            let mut store = connected(dir.path(), "").await.unwrap();
            let mut there = BTreeSet::new();
            for step in steps {
                match step {
                    Step::List(number) => store = connected(dir.path(), &lists[number]).await.unwrap(),
                    Step::Create(shard, name) => {
                        let name = object(COPIES, shard, &name.to_string());
                        let created = store.create(&name, Bytes::from(name.clone())).await;
                        prop_assert_eq!(created.is_ok(), there.insert(name));
                    }
                    Step::Delete(shard, name) => {
                        let name = object(COPIES, shard, &name.to_string());
                        store.delete(&name).await.unwrap();
                        there.remove(&name);
                    }
                }
                let found = ["region", "acme", "payments"].map(|bucket| objects(&dir.path().join(bucket)));
                let count: usize = found.iter().map(BTreeSet::len).sum();
                prop_assert_eq!(count, there.len(), "each in one bucket");
                prop_assert_eq!(&found.iter().flatten().cloned().collect::<BTreeSet<_>>(), &there);
                let is_of = |name: &String, shards: &[u64]| {
                    shards.iter().any(|shard| name.starts_with(&format!("{COPIES}/{shard:016x}/")))
                };
                prop_assert!(found[1].iter().all(|name| is_of(name, &[1, 2])));
                prop_assert!(found[2].iter().all(|name| is_of(name, &[2])));
                for name in &there {
                    prop_assert_eq!(&store.read(name).await.unwrap(), name);
                }
                let listed = store.list(COPIES).await.unwrap().into_iter().map(|(name, _)| name);
                prop_assert_eq!(&listed.collect::<BTreeSet<_>>(), &there);
            }
            Ok(())
        })?;
    }
}
