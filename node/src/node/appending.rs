//! The last step of the left half: a batch into the log, and before it, in how many of its records something personal was found.

use std::sync::Arc;

use super::ingest::Line;
use super::unaccepted::of_wal;
use crate::classify::Classified;
use crate::policy::StreamView;
use crate::receive::Failure;
use crate::wal::{Accepted, Batch, Op, ProducerBatch};

impl Line {
    /// What nobody knows of a record that was taken would be told of nobody: a hit is kept first.
    pub(super) async fn append(
        &self,
        stream: Arc<StreamView>,
        producer: Option<ProducerBatch>,
        records: Vec<(Op, Classified)>,
    ) -> Result<Accepted, Failure> {
        let (classified, found) =
            (records.len() as u64, records.iter().filter(|(_, one)| one.is_found()).count() as u64);
        self.statements.found(&stream, classified, found).await.map_err(|error| Failure::of(&error))?;
        let batch = Batch { stream: Arc::clone(&stream), producer, records };
        let accepted = self.wal.append(batch).await.map_err(|error| of_wal(&error))?;
        if found == 0 {
            self.statements.took(&stream, classified);
        }
        Ok(accepted)
    }
}
