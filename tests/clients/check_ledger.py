#!/usr/bin/env python3
"""Checks the log of a ledger with nothing of Domicile: RFC 6962 hashing, C2SP tlog-tiles, a signed note.

    python3 check_ledger.py DIR            DIR holds `checkpoint`, `log.vkey`, `tile/`, `bodies/`

Needs Python 3.9 alone; the signature is checked where the package `cryptography` is there, and said to be unchecked elsewhere.
"""
import base64, hashlib, sys
from pathlib import Path

def path(index):
    parts = [f"{index % 1000:03}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts)

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def root(hashes):
    """RFC 6962, section 2.1."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha(b"\1", root(hashes[:half]), root(hashes[half:]))

def signed(note, key):
    text, _, signatures = note.rpartition("\n\n")
    name, identity, public = key.strip().split("+", 2)
    raw = base64.b64decode(public)
    assert sha(name.encode(), b"\n", raw)[:4].hex() == identity and raw[0] == 1, "no Ed25519 key of this name"
    ours = [line for line in signatures.splitlines() if line.startswith(f"\u2014 {name} ")]
    signature = base64.b64decode(ours[0].rsplit(" ", 1)[1])
    assert signature[:4].hex() == identity, "signed by another key"
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return text, "signature not checked"
    Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature[4:], (text + "\n").encode())
    return text, "signature right"

def main(log):
    text, how = signed((log / "checkpoint").read_text(), (log / "log.vkey").read_text())
    origin, size, wanted = text.split("\n")
    leaves, bodies = [], 0
    for index in range(-(-int(size) // 256)):
        width = min(256, int(size) - index * 256)
        bundle = (log / "tile/entries" / (path(index) + (f".p/{width}" if width < 256 else ""))).read_bytes()
        body = (log / "bodies" / path(index)).read_bytes()
        assert len(bundle) == 34 * width, "a bundle has another length"
        for at in range(0, len(bundle), 34):
            assert bundle[at : at + 2] == b"\0\x20", "an entry has another length"
            commitment, kind = bundle[at + 2 : at + 34], body[0]
            if kind == 1:
                length = int.from_bytes(body[1:5], "big")
                assert sha(body[5 : 37 + length]) == commitment, f"body of entry {len(leaves) + 1}"
                body, bodies = body[37 + length :], bodies + 1
            else:
                assert kind in (0xD6, 0xD7), f"body of entry {len(leaves) + 1}"
                body = body[1:]
            leaves.append(sha(b"\0", commitment))
    assert root(leaves) == base64.b64decode(wanted), "the root is another"
    print(f"{origin}: {size} entries, {bodies} bodies, root {root(leaves).hex()}, {how}")

main(Path(sys.argv[1]))
