//! After `tier`: erasure as a workflow over several stages.
