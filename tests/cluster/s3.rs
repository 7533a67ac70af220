//! An S3 server of this machine as a process, with a bucket in Tokyo's region.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::http;
use super::logs::{Listed, Shelf};
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

    /// Reads its bucket, without the product.
    pub fn reader(&self) -> Reader {
        Reader(self.endpoint.clone())
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

/// The bucket, read without any of the product.
pub struct Reader(String);

/// The server looks whether there is one, and not what it says.
const SIGNED: (&str, &str) = (
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=test/20260101/ap-northeast-1/s3/aws4_request, SignedHeaders=host, Signature=0",
);

impl Reader {
    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let answer = http::request("GET", &format!("{}/acme-tokyo{path}", self.0), &[SIGNED], &[])?;
        anyhow::ensure!(answer.status == 200, "{path}: {}", answer.status);
        Ok(answer.body)
    }
}

impl Shelf for Reader {
    fn list(&mut self, above: &str) -> Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = Vec::new();
        loop {
            let after = listed.last().map(|last| format!("&start-after={}", last.name)).unwrap_or_default();
            let page = String::from_utf8(self.get(&format!("?list-type=2&prefix={above}/{after}"))?)?;
            for object in page.split("<Contents>").skip(1) {
                let of = |name: &str| within(object, name).context("an object without what it is");
                let tag = format!("{} {} {}", of("ETag")?, of("Size")?, of("LastModified")?);
                listed.push(Listed { name: of("Key")?.to_owned(), tag });
            }
            if within(&page, "IsTruncated").is_none_or(|more| !more.eq_ignore_ascii_case("true")) {
                return Ok(listed);
            }
        }
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        self.get(&format!("/{name}"))
    }
}

/// What stands in the first element of this name.
fn within<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_bucket_of_more_than_a_page_is_listed_whole_and_read() {
        let Some(server) = S3::start().unwrap() else { return };
        let mut reader = server.reader();
        assert_eq!(reader.list("wal").unwrap().len(), 0);
        let put = |name: &str, body: &str| {
            let url = format!("{}/acme-tokyo/{name}", server.endpoint());
            assert_eq!(http::request("PUT", &url, &[SIGNED], body.as_bytes()).unwrap().status, 200);
        };
        for number in 0..1_005 {
            put(&format!("wal/{number:04}"), "one");
        }
        put("walls/1", "another");
        let names = |listed: &[Listed]| listed.iter().map(|one| one.name.clone()).collect::<BTreeSet<_>>();
        let listed = reader.list("wal").unwrap();
        assert_eq!((listed.len(), names(&listed).len()), (1_005, 1_005));
        assert_eq!(reader.read("wal/1004").unwrap(), b"one");
        assert!(reader.read("wal/2000").is_err());
        put("wal/0007", "other bytes");
        let again = reader.list("wal").unwrap();
        assert_ne!(again[7].tag, listed[7].tag, "another object of the same name");
        assert_eq!(again[8].tag, listed[8].tag);
    }
}
