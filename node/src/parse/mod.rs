//! Stage 3, `Admitted` -> `Record`: time, level, envelope and bounds of one event.
//!
//! Unknown fields are kept as they are, within bounds; nothing is dropped for reasons of policy. In reading order:
//! [`bulk`] and [`lines`] cut a body into documents, [`stream_name`] says where one belongs, [`parser`] makes a [`Record`]
//! of it with [`timestamp`], [`zone`], [`level`], [`text`] and [`bounds`].

mod bounds;
mod bulk;
mod civil;
mod document;
mod errors;
mod level;
mod lines;
mod parser;
mod record;
mod stream_name;
mod text;
mod timestamp;
mod zone;

pub(crate) use bulk::frame_bulk;
pub(crate) use document::Document;
pub(crate) use errors::ParseError;
pub(crate) use lines::{frame_lines, frame_single};
pub(crate) use parser::{Form, Parser};
pub(crate) use record::{Envelope, Record, spellings};
pub(crate) use stream_name::stream_name;
pub(crate) use timestamp::written;
pub(crate) use zone::Zone;
