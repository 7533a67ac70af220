"""Judges numbers with python-stdnum: one line `kind number` in, one `0` or `1` out."""

import sys

from stdnum import iban, luhn
from stdnum.de import idnr
from stdnum.jp import in_
from stdnum.us import ssn

KINDS = {
    "luhn": luhn.is_valid,
    "iban": lambda number: iban.is_valid(number, check_country=False),
    "tax_id": idnr.is_valid,
    "my_number": in_.is_valid,
    "ssn": ssn.is_valid,
}

for line in sys.stdin:
    kind, number = line.split()
    sys.stdout.write("1\n" if KINDS[kind](number) else "0\n")
