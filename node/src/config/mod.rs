//! Beside the line: node configuration (TOML) and region facts (YAML).
