//! The tree against what others published, and against the definition.

use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Vec<u8> {
    if text == "-" || text == "empty" { Vec::new() } else { hex::decode(text).expect("hexadecimal") }
}

/// `None` where it is not as long as a hash is, which no proof may hold.
fn hash(text: &str) -> Option<Hash> {
    bytes(text).try_into().ok()
}

#[test]
fn the_tree_of_the_reference_entries_has_the_published_roots() {
    // Entries and roots of the tests of Google's certificate-transparency and of transparency-dev/merkle.
    let entries: [&[u8]; 8] = [b"", b"\0", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::default();
    assert_eq!(hex::encode(tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (entry, root) in entries.iter().zip(roots) {
        tree.push(leaf(entry));
        assert_eq!(hex::encode(tree.root()), root);
    }
}

#[test]
fn every_published_proof_is_judged_as_published() {
    let (mut right, mut wrong, mut short) = (0, 0, 0);
    for line in include_str!("merkle_vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        let [kind, one, two, first, second, proof, verdict] =
            line.split(' ').collect::<Vec<_>>().try_into().expect("seven words");
        let (one, two): (u64, u64) = (one.parse().expect("a number"), two.parse().expect("a number"));
        let proof: Option<Vec<Hash>> =
            if proof == "-" { Some(Vec::new()) } else { proof.split(',').map(hash).collect() };
        let is_right = || match kind {
            "inclusion" => Some(includes(&Head { size: two, root: hash(first)? }, one, &hash(second)?, &proof?)),
            _ => Some(goes_on(
                &Head { size: one, root: hash(first)? },
                &Head { size: two, root: hash(second)? },
                &proof?,
            )),
        };
        // The library takes roots of any length where there is nothing to prove; here a root has 32 bytes.
        let Some(is_right) = is_right() else {
            short += 1;
            continue;
        };
        assert_eq!(is_right, verdict == "ok", "{line}");
        *if is_right { &mut right } else { &mut wrong } += 1;
    }
    assert_eq!((right, wrong + short), (11, 183), "{short} with hashes of other lengths");
}

/// The definition of RFC 6962, section 2.1, and nothing else.
fn defined(leaves: &[Hash]) -> Hash {
    if leaves.len() <= 1 {
        return leaves.first().copied().unwrap_or_else(|| sha256(&[]));
    }
    let mut half = 1;
    while half * 2 < leaves.len() {
        half *= 2;
    }
    sha256(&[&[1], &defined(&leaves[..half]), &defined(&leaves[half..])])
}

fn leaves(count: usize, salt: u8) -> Vec<Hash> {
    (0..count).map(|number| leaf(&[&[salt], &number.to_be_bytes()[..]].concat())).collect()
}

#[test]
fn tiles_come_whole_in_their_order_and_the_edge_restores_the_tree() {
    let all = leaves(66_000, 1);
    let (mut tree, mut zero, mut one) = (Tree::default(), Vec::new(), Vec::new());
    for hash in &all {
        for whole in tree.push(*hash) {
            let seen = if whole.level == 0 { &mut zero } else { &mut one };
            assert_eq!(whole.index, seen.len() as u64);
            assert_eq!(whole.hashes.len() as u64, WIDTH);
            seen.push(root_of(&whole.hashes));
        }
    }
    assert_eq!((zero.len(), one.len()), (257, 1));
    assert_eq!(tree.root(), defined(&all));
    let mut again = Tree::of(tree.size(), tree.edge().to_vec()).expect("sound");
    again.push(all[0]);
    tree.push(all[0]);
    assert_eq!(again, tree);
    assert!(Tree::of(tree.size() + 1, tree.edge().to_vec()).is_none());
}

proptest! {
    #[test]
    fn the_growing_tree_has_the_root_of_the_definition(count in 0_usize..1_500, salt: u8) {
        let all = leaves(count, salt);
        let mut tree = Tree::default();
        all.iter().for_each(|hash| drop(tree.push(*hash)));
        prop_assert_eq!(tree.root(), defined(&all));
    }

    #[test]
    fn an_inclusion_proof_holds_and_no_other_does(count in 1_usize..600, at: prop::sample::Index, bit in 0_usize..256, place: prop::sample::Index) {
        let all = leaves(count, 0);
        let index = at.index(count);
        let (head, mut proof) = (Head { size: count as u64, root: defined(&all) }, inclusion(&all, index));
        prop_assert!(includes(&head, index as u64, &all[index], &proof));
        prop_assert!(!includes(&head, count as u64, &all[index], &proof));
        if count > 1 {
            let other = (index + 1) % count;
            prop_assert!(!includes(&head, other as u64, &all[index], &proof));
            let hurt = place.index(proof.len());
            proof[hurt][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!includes(&head, index as u64, &all[index], &proof));
            proof.pop();
            prop_assert!(!includes(&head, index as u64, &all[index], &proof));
        }
    }

    #[test]
    fn a_consistency_proof_holds_and_no_other_does(count in 1_usize..600, before: prop::sample::Index, bit in 0_usize..256, place: prop::sample::Index) {
        let all = leaves(count, 0);
        let old = before.index(count) + 1;
        let (new, mut proof) = (Head { size: count as u64, root: defined(&all) }, consistency(&all, old));
        let first = Head { size: old as u64, root: defined(&all[..old]) };
        prop_assert!(goes_on(&first, &new, &proof));
        let mut rewritten = all[..old].to_vec();
        if let Some(last) = rewritten.last_mut() {
            last[bit / 8] ^= 1 << (bit % 8);
            let forked = Head { size: old as u64, root: defined(&rewritten) };
            prop_assert!(!goes_on(&forked, &new, &proof));
        }
        if !proof.is_empty() {
            let hurt = place.index(proof.len());
            proof[hurt][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!goes_on(&first, &new, &proof));
        }
    }
}
