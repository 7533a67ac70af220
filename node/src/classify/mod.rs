//! Stage 4, `Record` -> `Classified`: finds personal data and replaces it before anything is stored.

mod classified;

pub(crate) use classified::Classified;
