//! An S3 server of this machine as a process, with a bucket in Tokyo's region.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::http;
use super::require::require;

/// Ends with this value.
pub struct S3 {
    child: Child,
    endpoint: String,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl S3 {
    /// Starts it; none where the server is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Option<Self>> {
        let named = std::env::var_os("DOMICILE_MOTO").map(PathBuf::from);
        let Some(program) = named.map_or_else(|| require("moto_server"), Some) else { return Ok(None) };
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut child = Command::new(&program)
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            let mut lines = BufReader::new(child.stderr.take().context("its output")?).lines();
            let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Running on"));
            std::thread::spawn(move || lines.for_each(drop));
            let server = Self { child, endpoint: format!("http://127.0.0.1:{port}") };
            if is_up {
                let body = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>ap-northeast-1</LocationConstraint></CreateBucketConfiguration>";
                let url = format!("{}/acme-tokyo", server.endpoint);
                let made = http::request("PUT", &url, &[("content-type", "application/xml")], body.as_bytes())?;
                anyhow::ensure!(made.status == 200, "{}", made.text());
                return Ok(Some(server));
            }
        }
        anyhow::bail!("the S3 server did not start")
    }

    /// Its address, `http://host:port`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The lines of a section `[store]` for its bucket; the credentials lie in a file below `data`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn settings(&self, data: &Path) -> Result<String> {
        self.settings_behind(&self.endpoint, data)
    }

    /// The same for a relay that stands before it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn settings_behind(&self, endpoint: &str, data: &Path) -> Result<String> {
        let secret = data.join("s3-credentials");
        std::fs::write(&secret, "[default]\naws_access_key_id = test\naws_secret_access_key = test\n")?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        Ok(format!(
            "kind = \"s3\"\nbucket = \"acme-tokyo\"\nlocation = \"ap-northeast-1\"\nendpoint = {:?}\ncredentials = \"file\"\ncredentials_file = {:?}",
            endpoint,
            secret.display().to_string()
        ))
    }
}
