#!/usr/bin/env python3
"""Verifies the ledgers of an audit pack with other people's code: pymerkle for the tree and its proofs, PyNaCl for signatures.

    python3 check_pack.py PACK [LOG NUMBER PROOF]

PROOF is a C2SP tlog-proof that entry NUMBER is in the log in the directory LOG. Ends with 1 where anything does not hold.
"""
import base64, hashlib, json, sys
from pathlib import Path

from nacl.signing import VerifyKey
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion

def tile(index):
    parts = [f"{index % 1000:03}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts)

def signed(note, key):
    """The text of a note, where the key signed it."""
    text, _, signatures = note.rpartition("\n\n")
    name, identity, public = key.strip().split("+", 2)
    raw = base64.b64decode(public)
    if raw[0] != 1 or hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != identity:
        raise ValueError("no Ed25519 key of this name")
    for line in signatures.splitlines():
        mark, signer, value = line.split(" ")
        value = base64.b64decode(value)
        if mark == "\u2014" and signer == name and value[:4].hex() == identity:
            VerifyKey(raw[1:]).verify((text + "\n").encode(), value[4:])
            return text
    raise ValueError("this key did not sign")

def checkpoint(path, key):
    origin, size, root = signed(path.read_text(), key).split("\n")
    return origin, int(size), base64.b64decode(root)

def grow(log, size):
    """The tree out of the bundles, and every body that is here against its commitment."""
    tree, bodies = InmemoryTree(algorithm="sha256"), 0
    for index in range(-(-size // 256)):
        width = min(256, size - index * 256)
        bundle = (log / "tile/entries" / (tile(index) + (f".p/{width}" if width < 256 else ""))).read_bytes()
        body = (log / "bodies" / tile(index)).read_bytes()
        if len(bundle) != 34 * width:
            raise ValueError(f"bundle {index} has another length")
        for at in range(0, len(bundle), 34):
            commitment = bundle[at + 2 : at + 34]
            if bundle[at : at + 2] != b"\0\x20":
                raise ValueError(f"an entry of bundle {index} has another length")
            tree.append_entry(commitment)
            if body[0] == 1:
                length = int.from_bytes(body[1:5], "big")
                if hashlib.sha256(body[5 : 37 + length]).digest() != commitment:
                    raise ValueError(f"the body of entry {tree.get_size()} is another")
                json.loads(body[37 : 37 + length])
                body, bodies = body[37 + length :], bodies + 1
            elif body[0] in (0xD6, 0xD7):
                body = body[1:]
            else:
                raise ValueError(f"the body of entry {tree.get_size()} is none")
        if body and width == 256:
            raise ValueError(f"bundle {index} has more bodies than entries")
    return tree, bodies

def check(log):
    key = (log / "log.vkey").read_text()
    origin, size, root = checkpoint(log / "checkpoint", key)
    tree, bodies = grow(log, size)
    if tree.get_root() != root:
        raise ValueError("the entries give another root")
    kept = sorted((log / "checkpoints").glob("*")) if (log / "checkpoints").is_dir() else []
    for path in kept:
        name, old, before = checkpoint(path, key)
        if name != origin or old > size:
            raise ValueError(f"{path.name} is of another log")
        if old:
            verify_consistency(before, root, tree.prove_consistency(old, size), prior_size=old, later_size=size)
    for number in range(1, size + 1, max(1, size // 64)):
        verify_inclusion(tree.get_leaf(number), root, tree.prove_inclusion(number), index=number, size=size)
    print(f"{origin}: {size} entries, {bodies} bodies, {len(kept)} kept checkpoints, root {root.hex()}")
    return tree, key

def proved(log, number, proof):
    """A proof that was made by others: its hashes are those of pymerkle, and its checkpoint is signed."""
    tree, key = check(log)
    head, index, *lines = proof.split("\n")
    path, note = lines[: lines.index("")], "\n".join(lines[lines.index("") + 1 :])
    if head != "c2sp.org/tlog-proof@v1" or index != f"index {number - 1}":
        raise ValueError("a proof of something else")
    size = int(signed(note, key).split("\n")[1])
    ours = [base64.b64encode(each).decode() for each in tree.prove_inclusion(number, size).path]
    if sorted([*path, base64.b64encode(tree.get_leaf(number)).decode()]) != sorted(ours):
        raise ValueError("pymerkle proves it otherwise")

pack = Path(sys.argv[1])
for home in sorted((pack / "regions").iterdir()):
    _, key = check(home / "log")
    digest = signed((home / "statement.note").read_text(), key).split("\n")
    if hashlib.sha256((home / "statement.json").read_bytes()).hexdigest() not in digest:
        raise ValueError(f"{home.name} signed another statement")
if len(sys.argv) > 2:
    proved(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]).read_text())
