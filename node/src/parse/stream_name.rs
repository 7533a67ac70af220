//! Which stream an index name means: the name without the date that shippers put at its end.

use domicile_proto::ids::Name;

use super::errors::ParseError;

/// The stream of an index name: `app-2026.11.20`, `app-20261120`, `app.2026-11`, `app-2026.47` and `app-2026.11.20-000001`
/// are all `app`.
///
/// # Errors
/// [`ParseError::StreamName`].
pub(crate) fn stream_name(index: &str) -> Result<Name, ParseError> {
    without_date(index).parse().map_err(|_| ParseError::StreamName)
}

fn without_date(index: &str) -> &str {
    if let Some(name) = without_plain_date(index) {
        return name;
    }
    // A rollover counter is cut only behind a date: `team-000001` may be a name.
    let rolled = index.rsplit_once('-').filter(|(_, counter)| counter.len() == 6 && all_digits(counter));
    rolled.and_then(|(name, _)| without_plain_date(name)).unwrap_or(index)
}

fn without_plain_date(index: &str) -> Option<&str> {
    [13, 10, 8, 7].into_iter().find_map(|length| {
        let at = index.len().checked_sub(length + 1)?;
        let name = index.get(..at)?;
        let tail = index.get(at..)?;
        let date = tail.strip_prefix(['-', '.', '_'])?;
        (!name.is_empty() && is_date(date)).then_some(name)
    })
}

fn is_date(text: &str) -> bool {
    let number = |from: usize, to: usize| -> Option<u32> {
        text.get(from..to).filter(|digits| all_digits(digits)).and_then(|digits| digits.parse().ok())
    };
    let year = number(0, 4).is_some_and(|year| (1970..2200).contains(&year));
    let month = |from| number(from, from + 2).is_some_and(|month| (1..=12).contains(&month));
    let day = |from| number(from, from + 2).is_some_and(|day| (1..=31).contains(&day));
    let separator = |at: usize| text.as_bytes().get(at).copied().filter(|b| matches!(b, b'.' | b'-' | b'_'));
    let same = |a, b| separator(a).is_some() && separator(a) == separator(b);
    match text.len() {
        13 => {
            let hour = number(11, 13).is_some_and(|hour| hour < 24);
            year && month(5) && day(8) && hour && same(4, 7) && same(4, 10)
        }
        10 => year && month(5) && day(8) && same(4, 7),
        8 => year && month(4) && day(6),
        // Month or, as Logstash writes it, week of the year.
        7 => {
            let week = number(5, 7).is_some_and(|week| (1..=53).contains(&week));
            year && (month(5) && separator(4).is_some() || week && separator(4) == Some(b'.'))
        }
        _ => false,
    }
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_cut_from_index_names_and_nothing_else_is() {
        for (index, stream) in [
            ("app-2026.11.20", Some("app")),
            ("app-2026-11-20", Some("app")),
            ("app_2026_11_20", Some("app")),
            ("app.2026-11-20", Some("app")),
            ("app-20261120", Some("app")),
            ("app-2026.11", Some("app")),
            ("app-2026-11", Some("app")),
            ("app-2026.47", Some("app")),
            ("app-2026.11.20.13", Some("app")),
            ("app-2026.11.20-000001", Some("app")),
            ("logs-web-prod-2026.11.20", Some("logs-web-prod")),
            ("app", Some("app")),
            ("app-2026", Some("app-2026")),
            ("app-000001", Some("app-000001")),
            ("app-2026.13.20", Some("app-2026.13.20")),
            ("app-2026.11-20", Some("app-2026.11-20")),
            ("app-20261399", Some("app-20261399")),
            ("app-12345678", Some("app-12345678")),
            ("2026.11.20", Some("2026.11.20")),
            ("-2026.11.20", None),
            ("App-2026.11.20", None),
            (".ds-app", None),
            ("a/b", None),
            ("日本-2026.11.20", None),
            ("é-2026.11.2", None),
            ("", None),
            ("*", None),
            ("_all", None),
        ] {
            assert_eq!(stream_name(index).ok().as_ref().map(Name::as_str), stream, "{index}");
        }
        let long = format!("{}-2026.11.20", "a".repeat(63));
        assert_eq!(stream_name(&long).map(|name| name.as_str().len()), Ok(63));
    }
}
