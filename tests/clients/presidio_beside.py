"""Measures the detectors and Presidio on the same lines, for the classes that both know, and prints both side by side.

    presidio_beside.py DETECT [--synth synth_dataset_v2.json] [--seed N ...]

DETECT is the executable of `cargo bench -p domicile --bench detect --no-run`: it makes the labelled lines (`lines SEED`) and
says what the detectors find (`found`). The dataset is data/synth_dataset_v2.json of microsoft/presidio-research (MIT).

Presidio has its pattern recognizers with context words and its default threshold in evaluations, 0.4; no model of names is
loaded, for none of the classes compared here needs one. Telephone numbers are looked for in the countries of the corpus and
in Presidio's own. A label counts as found where a span of its class touches it, a span as right where it touches a label of
its class; both sides are counted alike.
"""

import argparse
import collections
import json
import logging
import subprocess

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
from spacy.language import Language

CLASSES = {
    "EMAIL_ADDRESS": "email",
    "IP_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "ssn",
    "SG_NRIC_FIN": "nric",
    "DE_TAX_ID": "tax_id",
    "DE_ID_CARD": "id_card",
}
RECOGNIZERS = [
    "EmailRecognizer",
    "IpRecognizer",
    "MacAddressRecognizer",
    "CreditCardRecognizer",
    "IbanRecognizer",
    "UsSsnRecognizer",
    "SgFinRecognizer",
    "DeTaxIdRecognizer",
    "DeIdCardRecognizer",
]
REGIONS = ("JP", "SG", "CN", "US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")
THRESHOLD = 0.4


@Language.component("plain_lemma")
def plain_lemma(doc):
    """Presidio compares its context words with lemmas; without a model a word is its own."""
    for token in doc:
        token.lemma_ = token.lower_
    return doc


def analyzer():
    """Presidio with its patterns and without a model."""
    # The list of domains that came with the package: nothing is fetched.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    engine = SpacyNlpEngine(ner_model_configuration=NerModelConfiguration())
    blank = spacy.blank("en")
    blank.add_pipe("plain_lemma")
    engine.nlp = {"en": blank}
    registry = RecognizerRegistry()
    for name in RECOGNIZERS:
        registry.add_recognizer(getattr(predefined_recognizers, name)(supported_language="en"))
    registry.add_recognizer(predefined_recognizers.PhoneRecognizer(supported_regions=REGIONS))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, default_score_threshold=THRESHOLD)


def theirs(engine, text):
    """What Presidio finds, in bytes."""
    found = engine.analyze(text, language="en", entities=list(CLASSES))
    place = lambda at: len(text[:at].encode())  # noqa: E731
    return [(CLASSES[span.entity_type], place(span.start), place(span.end)) for span in found]


def synthetic(path):
    """The dataset as labelled lines."""
    for sample in json.load(open(path, encoding="utf-8")):
        text = sample["full_text"]
        place = lambda at: len(text[:at].encode())  # noqa: E731
        spans = [
            (CLASSES[span["entity_type"]], place(span["start_position"]), place(span["end_position"]))
            for span in sample["spans"]
            if span["entity_type"] in CLASSES
        ]
        yield {"text": text, "spans": spans}


def score(counts, labelled, found):
    """Counts one line."""
    touches = lambda a, b: a[0] == b[0] and a[1] < b[2] and b[1] < a[2]  # noqa: E731
    for label in labelled:
        counts[label[0], "labelled"] += 1
        counts[label[0], "found"] += any(touches(label, span) for span in found)
    for span in found:
        counts[span[0], "spans"] += 1
        counts[span[0], "right"] += any(touches(label, span) for label in labelled)


def compare(name, detect, engine, lines):
    """Prints one table."""
    lines = list(lines)
    asked = "".join(json.dumps({"text": line["text"]}) + "\n" for line in lines)
    answered = subprocess.run([detect, "found"], input=asked.encode(), stdout=subprocess.PIPE, check=True).stdout
    ours, presidio = collections.Counter(), collections.Counter()
    both = set(CLASSES.values())
    for line, answer in zip(lines, answered.decode().splitlines(), strict=True):
        labelled = [tuple(span) for span in line["spans"] if span[0] in both]
        score(ours, labelled, [tuple(span) for span in json.loads(answer) if span[0] in both])
        score(presidio, labelled, theirs(engine, line["text"]))
    labelled = [kind for kind in both if ours[kind, "labelled"]]
    print(f"\n{name}: {len(lines)} lines; recall and precision of ours, then of Presidio")
    for kind in [*sorted(labelled), "all"]:
        rows = []
        for counts in (ours, presidio):
            kinds = labelled if kind == "all" else [kind]
            total = {what: sum(counts[one, what] for one in kinds) for what in ("labelled", "found", "spans", "right")}
            recall = total["found"] / max(total["labelled"], 1)
            precision = total["right"] / total["spans"] if total["spans"] else float("nan")
            rows.append(f"{recall:.4f} {precision:.4f}")
        print(f"{kind:10} {total['labelled']:6}   {rows[0]}   {rows[1]}")


def main():
    """Reads the arguments and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detect")
    parser.add_argument("--synth")
    parser.add_argument("--seed", type=int, action="append", default=[])
    arguments = parser.parse_args()
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    engine = analyzer()
    for seed in arguments.seed:
        made = subprocess.run([arguments.detect, "lines", str(seed)], stdout=subprocess.PIPE, check=True).stdout
        compare(f"corpus, seed {seed}", arguments.detect, engine, map(json.loads, made.decode().splitlines()))
    if arguments.synth:
        compare("synth_dataset_v2", arguments.detect, engine, synthetic(arguments.synth))


main()
