//! A stream as the gate treats it, by whether what is stated of it stands.

use std::ops::Deref;
use std::sync::Arc;

use domicile_proto::ids::KThreshold;
use domicile_proto::metadata::Personal;

use crate::policy::StreamView;

/// A stream as the gate treats it: as its policy says, but where the detectors contradict the statement that it holds no personal data, as
/// one of which nothing is stated. [`super::Statements::upheld`] makes it, and whoever asks an old answer again.
#[derive(Clone, Debug)]
pub(crate) struct Upheld {
    stream: Arc<StreamView>,
    /// The smallest group of the statement, where it is contradicted.
    stated: Option<KThreshold>,
}

impl Upheld {
    /// As one of which nothing is stated.
    pub(crate) fn contradicted(stream: &StreamView) -> Self {
        let (stated, mut stream) = (stream.policy.threshold(), stream.clone());
        stream.policy.personal = Personal::Undeclared;
        Self { stream: Arc::new(stream), stated: Some(stated) }
    }

    /// By the rules under which an answer was made, to ask it again: what comes of it is compared, and told to nobody.
    pub(crate) const fn of_then(stream: Arc<StreamView>, stated: Option<KThreshold>) -> Self {
        Self { stream, stated }
    }

    /// The stream.
    pub(crate) const fn view(&self) -> &Arc<StreamView> {
        &self.stream
    }

    /// The smallest group that the statement would have, where the detectors contradict it.
    pub(crate) const fn stated(&self) -> Option<KThreshold> {
        self.stated
    }
}

impl Deref for Upheld {
    type Target = StreamView;

    fn deref(&self) -> &StreamView {
        &self.stream
    }
}

/// Whether a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The detectors find less than the rule allows.
    Stands,
    /// They find more.
    Contradicted,
    /// What was counted cannot be read: the stream counts as one of which nothing is stated.
    Unknown,
}

impl Standing {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stands => "stands",
            Self::Contradicted => "contradicted",
            Self::Unknown => "unknown",
        }
    }
}
