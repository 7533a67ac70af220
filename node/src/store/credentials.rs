//! Credentials in a file, read again as soon as it was replaced: whoever renews them needs no restart. Never logs them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::azure::{AzureAccessKey, AzureCredential, split_sas};

/// The file of S3 credentials, in the form that the provider's own tools keep.
#[derive(Debug)]
pub(super) struct S3File(pub(super) PathBuf);

/// The file of an Azure account key or shared access signature.
#[derive(Debug)]
pub(super) struct AzureFile(pub(super) PathBuf);

#[async_trait]
impl CredentialProvider for S3File {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let text = read(&self.0).await?;
        profile(&text).map(Arc::new).ok_or_else(|| {
            let wanted = "`aws_access_key_id` and `aws_secret_access_key` in its part `[default]`";
            failed(&self.0, io::Error::other(format!("the file should have {wanted}")))
        })
    }
}

#[async_trait]
impl CredentialProvider for AzureFile {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let text = read(&self.0).await?;
        let line = text.trim();
        if line.contains("sig=") {
            return Ok(Arc::new(AzureCredential::SASToken(split_sas(line)?)));
        }
        Ok(Arc::new(AzureCredential::AccessKey(AzureAccessKey::try_new(line)?)))
    }
}

/// The contents of a secret file; refused where others may read it.
///
/// # Errors
/// An error of the object store that names the path and nothing of what is in the file.
pub(super) async fn read(path: &Path) -> object_store::Result<String> {
    let named = |source| failed(path, source);
    let mode = tokio::fs::metadata(path).await.map_err(named)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(named(io::Error::other("others may read the file; make its mode 0600")));
    }
    tokio::fs::read_to_string(path).await.map_err(named)
}

/// The same at start, where waiting for a disk is no matter.
pub(super) fn check(path: &Path) -> object_store::Result<()> {
    let mode = fs::metadata(path).map_err(|source| failed(path, source))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(failed(path, io::Error::other("others may read the file; make its mode 0600")));
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> object_store::Error {
    let source = io::Error::new(source.kind(), format!("`{}`: {source}", path.display()));
    object_store::Error::Generic { store: "credentials", source: Box::new(source) }
}

/// What `[default]` says; lines before any part belong to it.
fn profile(text: &str) -> Option<AwsCredential> {
    let (mut is_ours, mut key_id, mut secret_key, mut token) = (true, None, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_ours = line == "[default]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_ours) else { continue };
        let value = Some(value.trim().to_owned());
        match key.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(AwsCredential { key_id: key_id?, secret_key: secret_key?, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_is_read_again_and_no_error_shows_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let file = S3File(path.clone());
        assert!(file.get_credential().await.unwrap_err().to_string().contains("credentials"));
        write(
            &path,
            "[other]\naws_access_key_id = O\n[default]\naws_access_key_id = A\naws_secret_access_key=SECRET=1\n",
        );
        let first = file.get_credential().await.unwrap();
        assert_eq!((first.key_id.as_str(), first.secret_key.as_str(), &first.token), ("A", "SECRET=1", &None));
        write(&path, "aws_access_key_id=B\naws_secret_access_key=S\naws_session_token=T");
        let second = file.get_credential().await.unwrap();
        assert_eq!((second.key_id.as_str(), second.token.as_deref()), ("B", Some("T")));
        write(&path, "[default]\naws_secret_access_key = SECRET");
        let error = file.get_credential().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(file.get_credential().await.unwrap_err().to_string().contains("0600"));
        assert!(check(&path).is_err());
    }

    #[tokio::test]
    async fn an_azure_file_holds_a_key_or_a_signature() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("azure");
        write(&path, "c2VjcmV0\n");
        let file = AzureFile(path.clone());
        assert!(matches!(&*file.get_credential().await.unwrap(), AzureCredential::AccessKey(_)));
        write(&path, "?sv=2024-01-01&sig=abc%3D\n");
        assert!(matches!(&*file.get_credential().await.unwrap(), AzureCredential::SASToken(pairs) if pairs.len() == 2));
        write(&path, "not base64!");
        assert!(file.get_credential().await.is_err());
    }
}
