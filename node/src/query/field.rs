//! What a field of a search means: which place of the segment answers for it.

use crate::parse::spellings;

/// Where the values of a field stand.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The time of the event.
    Time,
    /// The level.
    Level,
    /// The trace id, hashed.
    Trace,
    /// The producer's id, hashed, or the generated one.
    Id,
    /// The words of the message.
    Message,
    /// The words of exceptions and other long texts.
    More,
    /// The service, or the attribute of this path where it is another spelling of it.
    Service(Option<String>),
    /// The host, in the same way.
    Host(Option<String>),
    /// An attribute, by its dotted path.
    Attribute(String),
}

impl Place {
    /// The place of a field as people and tools write it; `.keyword` and `.raw` at its end mean nothing here.
    pub(crate) fn of(field: &str) -> Self {
        let field = field.strip_suffix(".keyword").or_else(|| field.strip_suffix(".raw")).unwrap_or(field);
        match field {
            "@timestamp" | "timestamp" | "time" => return Self::Time,
            "level" | "severity" | "log.level" => return Self::Level,
            "_id" => return Self::Id,
            _ => {}
        }
        let spelled = |paths: &[&[&str]]| paths.iter().position(|path| is_path(field, path));
        let other = |place: usize| (place > 0).then(|| field.to_owned());
        if spelled(spellings::MESSAGE).is_some() {
            Self::Message
        } else if let Some(place) = spelled(spellings::SERVICE) {
            Self::Service(other(place))
        } else if let Some(place) = spelled(spellings::HOST) {
            Self::Host(other(place))
        } else if spelled(spellings::TRACE).is_some() {
            Self::Trace
        } else if spelled(spellings::EXCEPTION).is_some() {
            Self::More
        } else {
            Self::Attribute(field.to_owned())
        }
    }

    /// The column of an envelope field, and the attribute that answers beside it.
    pub(super) fn envelope(&self) -> Option<(&'static str, Option<&str>)> {
        match self {
            Self::Service(other) => Some(("service", other.as_deref())),
            Self::Host(other) => Some(("host", other.as_deref())),
            _ => None,
        }
    }
}

/// Whether a dotted field is this path.
fn is_path(field: &str, path: &[&str]) -> bool {
    field.split('.').eq(path.iter().flat_map(|key| key.split('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_finds_its_place() {
        for field in ["@timestamp", "timestamp", "time"] {
            assert!(Place::of(field) == Place::Time, "{field}");
        }
        for field in ["level", "severity", "log.level", "level.keyword"] {
            assert!(Place::of(field) == Place::Level, "{field}");
        }
        assert!(Place::of("service.keyword") == Place::Service(None));
        assert!(Place::of("service.name") == Place::Service(Some("service.name".to_owned())));
        assert!(Place::of("msg") == Place::Message);
        assert!(Place::of("trace.id") == Place::Trace);
        assert!(Place::of("user.name.raw") == Place::Attribute("user.name".to_owned()));
        assert!(Place::of("error.stack_trace") == Place::More);
    }
}
