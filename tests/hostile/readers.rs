//! A reader of a command's output that goes away before the end.

use std::process::{Command, Stdio};

use crate::BINARY;

#[test]
fn a_command_whose_reader_is_gone_ends_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(BINARY)
        .args(["pki", "init", "--region", "tokyo", "--dir"])
        .arg(directory.path().join("pki"))
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(141), "as a shell knows the end by a broken pipe");
}
