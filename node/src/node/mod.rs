//! wip
use crate::config::{ConfigError, NodeConfig};
pub(crate) async fn run(_config: NodeConfig, _parent_pipe: bool) -> Result<(), ConfigError> { Ok(()) }
