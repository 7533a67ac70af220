//! What can be typed, what the guides say can be typed, and what mistakes are called.

use super::*;
use clap::CommandFactory;

#[test]
fn the_arguments_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn the_documented_lines_are_understood() {
    for line in [
        "domicile dev",
        "domicile dev --data d --wan --no-samples --base-port 19200 --ready-file r.json",
        "domicile dev --clean",
        "domicile node --config n.toml",
        "domicile node run --config n.toml --parent-pipe",
        "domicile node join --region tokyo --node 4 --addr 192.0.2.1:7443",
        "domicile node drain --region tokyo",
        "domicile node leave --region tokyo",
        "domicile node remove --region tokyo --node 4",
        "domicile shard adopt shop --tenant acme --region tokyo --accept-loss",
        "domicile region rebuild --region tokyo --plan",
        "domicile region rebuild --region tokyo --accept-loss --json",
        "domicile meta backup --region tokyo --out group.backup",
        "domicile meta restore group.backup --config n.toml --old-group-is-gone",
        "domicile cluster init --region tokyo --node 1 --addr 192.0.2.1:7443",
        "domicile cluster init --region tokyo --node 1 --addr 192.0.2.1:7443 --url https://localhost:7280 --ca ca.crt",
        "domicile pki init --region tokyo",
        "domicile pki issue --region tokyo --node 1 --host logs.example.com",
        "domicile pki show a.crt",
        "domicile wire decode capture.bin",
        "domicile ingest a.log b.ndjson.gz --tenant acme --stream syslog --region frankfurt",
        "domicile search level:ERROR --regions all --last 1h",
        "domicile search x --regions tokyo,frankfurt --last 15m --stream infra --json",
        "domicile status",
        "domicile tenant create acme",
        "domicile tenant revoke acme --region tokyo --region frankfurt",
        "domicile stream revoke shop --tenant acme --region tokyo",
        "domicile storage plan --region tokyo --json",
        "domicile key list --region tokyo",
        "domicile dictionary list --region tokyo",
        "domicile dictionary revoke tokyo service checkout",
        "domicile stream create shop --tenant acme --subject user --group-field service --region tokyo",
        "domicile key create k1 --region tokyo --role search --role ingest --rows none",
        "domicile key revoke k1 --region tokyo",
        "domicile dictionary approve tokyo service checkout payments",
        "domicile key create k2 --region tokyo --role reveal --rows full",
        "domicile reveal ‹email:abc› --purpose legal-request --region tokyo",
        "domicile keys rotate --region tokyo",
        "domicile audit scan domicile-data --canary planted.txt",
        "domicile audit verify tokyo/log frankfurt/log --key KEY --saved checkpoint",
        "domicile audit prove tokyo/log --entry 7",
        "domicile audit prove tokyo/log --since checkpoint",
        "domicile audit crossings tokyo/log --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --region frankfurt",
    ] {
        Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

/// The words of a line as a shell takes it: quotes kept together, comments and pipes left out.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '#' | '|') => break,
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().expect("one at least").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_of_the_guides_can_be_typed() {
    let mut seen = 0;
    for (page, text) in [
        ("README.md", include_str!("../../../README.md")),
        ("operator.md", include_str!("../../../docs/guide/operator.md")),
        ("officer.md", include_str!("../../../docs/guide/officer.md")),
        ("searcher.md", include_str!("../../../docs/guide/searcher.md")),
    ] {
        for line in text.lines().filter(|line| line.starts_with("    ")).map(str::trim) {
            let Some(typed) = ["domicile ", "cargo run --release -- "].iter().find_map(|say| line.strip_prefix(say))
            else {
                continue;
            };
            seen += 1;
            let typed = ["domicile".to_owned()].into_iter().chain(words(typed));
            Arguments::try_parse_from(typed).unwrap_or_else(|error| panic!("{page}: {line}: {error}"));
        }
    }
    assert!(seen > 10, "only {seen} commands were found");
}

#[test]
fn mistakes_are_named() {
    for (line, named) in [
        ("domicile search x --last soon", "soon"),
        ("domicile search x --stream Shop", "Shop"),
        ("domicile ingest a --stream s --url http://x", "--key"),
        ("domicile ingest --stream s", "FILE"),
        ("domicile key create k --region tokyo", "--role"),
        ("domicile ingest a --stream s --batch 0", "--batch"),
        ("domicile stream create s --subject user --no-personal-data", "--no-personal-data"),
        ("domicile stream create s --grid 90", "60, 300 or 3600"),
        ("domicile stream create s --number ms=10,10", "rising bounds"),
        ("domicile stream create s --close-after 90000", "--close-after"),
        ("domicile reveal x", "--purpose"),
        ("domicile reveal x --purpose curiosity", "curiosity"),
    ] {
        let error = Arguments::try_parse_from(line.split(' ')).expect_err(line);
        assert!(error.to_string().contains(named), "{line}: {error}");
    }
}
