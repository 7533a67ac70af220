//! Walks everything a segment says, decoded: terms, columns, stored events. For those who look for what should not be there.
//!
//! Deleted records are walked as well: what is marked is still on the disk. Judges nothing.

use std::path::Path;

use tantivy::columnar::{ColumnarReader, DynamicColumn};
use tantivy::index::SegmentComponent;
use tantivy::schema::{Document, OwnedValue, Schema, TextFieldIndexing, TextOptions};
use tantivy::{Index, Searcher, TantivyDocument};

use crate::index::directory::Unflushed;

/// Says each decoded piece with the place it was found in.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&str, &[u8]);

/// A segment could not be decoded to its end.
#[derive(Debug, thiserror::Error)]
#[error("the segment cannot be decoded; scan again while nothing changes it, or look at the file")]
pub(crate) struct NotWalked(#[source] tantivy::TantivyError);

impl<E: Into<tantivy::TantivyError>> From<E> for NotWalked {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// Walks the segment in a directory.
///
/// # Errors
/// [`NotWalked`].
pub(crate) fn directory(dir: &Path, visit: Visit<'_>) -> Result<(), NotWalked> {
    let directory = Unflushed::open(dir).map_err(tantivy::TantivyError::from)?;
    index(&Index::open(directory)?, visit)
}

/// Shows the visitor a value that was planted in a segment in memory, in terms, a column and a stored event: whoever does not
/// see it there sees it nowhere.
///
/// # Errors
/// [`NotWalked`].
pub(crate) fn control(value: &str, visit: Visit<'_>) -> Result<(), NotWalked> {
    let mut schema = Schema::builder();
    let whole = TextOptions::default().set_indexing_options(TextFieldIndexing::default().set_tokenizer("raw"));
    let field = schema.add_text_field("planted", whole.set_stored().set_fast("raw"));
    let planted = Index::create_in_ram(schema.build());
    let mut writer = planted.writer_with_num_threads::<TantivyDocument>(1, 15_000_000)?;
    let mut document = TantivyDocument::new();
    document.add_text(field, value);
    writer.add_document(document)?;
    writer.commit()?;
    index(&planted, visit)
}

fn index(index: &Index, visit: Visit<'_>) -> Result<(), NotWalked> {
    let searcher = index.reader()?.searcher();
    terms(index, &searcher, visit)?;
    events(&searcher, visit)?;
    for segment in index.searchable_segments()? {
        let file = segment.open_read(SegmentComponent::FastFields).map_err(tantivy::TantivyError::from)?;
        columns(&ColumnarReader::open(file)?, visit)?;
    }
    Ok(())
}

fn terms(index: &Index, searcher: &Searcher, visit: Visit<'_>) -> Result<(), NotWalked> {
    for reader in searcher.segment_readers() {
        for (field, entry) in index.schema().fields().filter(|(_, entry)| entry.is_indexed()) {
            let place = format!("a term of `{}`", entry.name());
            let inverted = reader.inverted_index(field)?;
            let mut stream = inverted.terms().stream()?;
            while stream.advance() {
                visit(&place, stream.key());
            }
        }
    }
    Ok(())
}

fn events(searcher: &Searcher, visit: Visit<'_>) -> Result<(), NotWalked> {
    for reader in searcher.segment_readers() {
        let store = reader.get_store_reader(1)?;
        for doc in 0..reader.max_doc() {
            let document: TantivyDocument = store.get(doc)?;
            for (_, value) in document.iter_fields_and_values() {
                match OwnedValue::from(value) {
                    OwnedValue::Str(text) => visit("a stored event", text.as_bytes()),
                    OwnedValue::Bytes(bytes) => visit("a stored event", &bytes),
                    other => visit("a stored event", format!("{other:?}").as_bytes()),
                }
            }
        }
    }
    Ok(())
}

fn columns(columns: &ColumnarReader, visit: Visit<'_>) -> Result<(), NotWalked> {
    for (name, handle) in columns.list_columns()? {
        visit("the name of a column", name.as_bytes());
        // A column of attributes is named by the producer: the place must not repeat what was found.
        let place = "a column";
        match handle.open()? {
            DynamicColumn::Str(column) => {
                let mut stream = column.dictionary().stream()?;
                while stream.advance() {
                    visit(place, stream.key());
                }
            }
            DynamicColumn::Bytes(column) => {
                let mut stream = column.dictionary().stream()?;
                while stream.advance() {
                    visit(place, stream.key());
                }
            }
            DynamicColumn::I64(column) => {
                column.values.iter().for_each(|value| visit(place, value.to_string().as_bytes()));
            }
            DynamicColumn::U64(column) => {
                column.values.iter().for_each(|value| visit(place, value.to_string().as_bytes()));
            }
            DynamicColumn::IpAddr(column) => {
                column.values.iter().for_each(|value| visit(place, value.to_string().as_bytes()));
            }
            DynamicColumn::F64(_) | DynamicColumn::Bool(_) | DynamicColumn::DateTime(_) => {}
        }
    }
    Ok(())
}
