//! The development PKI: one CA per region, node certificates with a SPIFFE id, server certificates for client listeners.
//!
//! A region's directory holds `ca.crt` and `ca.key`, the officer's `officer.key` (PKCS#8, to be kept off the nodes) and
//! `officer.pub` (hexadecimal, for every node's configuration), the `region.key` its nodes speak with and its public half
//! `region.pub`, and what was issued: `node-<id>.crt/.key` and
//! `server.crt/.key`. Keys are created with mode 0600 and never overwritten, except by [`RegionCa::renew_node`]. Where an
//! organisation has a CA of its own, that one takes the place of all this. The time is an argument.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::identity::PeerId;
use super::rotation::IdentityFiles;
use crate::ids::{Name, NodeId, Region, Timestamp};
use crate::officer::{OfficerKey, OfficerKeyError};
use crate::region_key::{RegionKey, RegionKeyError};

/// How long a CA of the development PKI is valid.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 366 * 86_400);
/// How long what it issues is valid, unless something else is said.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(366 * 86_400);
/// How far validity begins in the past, for clocks that are behind.
const CLOCK_SLACK: Duration = Duration::from_secs(3_600);

/// Why the PKI did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file that would be written is there.
    #[error("`{path}` is there already and is not overwritten; move it away, or choose another directory")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("`{path}` cannot be read or written; check the path and its permissions")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{path}` is not what it should be, or damaged; name another file, or put the right one in its place")]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The CA is of another region or deployment.
    #[error("the CA in `{path}` belongs to `{found}`, not to `{wanted}`; choose the directory of that region")]
    OtherRegion {
        /// The directory.
        path: PathBuf,
        /// The trust domain it belongs to.
        found: String,
        /// The trust domain that was asked for.
        wanted: String,
    },
    /// The library refuses.
    #[error("the certificate cannot be made; check the names that were given")]
    Certificate {
        /// Why.
        source: rcgen::Error,
    },
    /// The officer's key.
    #[error("the officer's key cannot be made")]
    Officer(#[from] OfficerKeyError),
    /// The region's key.
    #[error("the region's key cannot be made")]
    Region(#[from] RegionKeyError),
}

impl PkiError {
    /// The stable code; `docs/errors/<code>.md` explains it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "DMC-PKI-01",
            Self::File { .. } => "DMC-PKI-02",
            Self::Malformed { .. } => "DMC-PKI-03",
            Self::OtherRegion { .. } => "DMC-PKI-04",
            Self::Certificate { .. } => "DMC-PKI-05",
            Self::Officer(_) => "DMC-PKI-06",
            Self::Region(_) => "DMC-PKI-07",
        }
    }
}

/// A region's CA, with its key.
pub struct RegionCa {
    dir: PathBuf,
    region: Region,
    deployment: Name,
    issuer: Issuer<'static, KeyPair>,
}

impl RegionCa {
    /// Makes a CA, an officer's key and a region's key for a region in a directory, which is created.
    ///
    /// # Errors
    /// [`PkiError::Exists`] where there is one already; nothing is changed then.
    pub fn init(dir: &Path, region: &Region, deployment: &Name, now: Timestamp) -> Result<Self, PkiError> {
        create_dir(dir)?;
        let key = KeyPair::generate().map_err(|source| PkiError::Certificate { source })?;
        let mut params = params(&[], now, CA_VALIDITY)?;
        params.distinguished_name.push(DnType::CommonName, ca_name(region, deployment));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key_pem = key.serialize_pem();
        let ca = CertifiedIssuer::self_signed(params, key).map_err(|source| PkiError::Certificate { source })?;
        let officer = OfficerKey::generate()?;
        let public = String::from(OfficerKey::from_pkcs8(&officer)?.public());
        create_secret(&dir.join(CA_KEY), key_pem.as_bytes())?;
        create(&dir.join(CA_CERTIFICATE), ca.pem().as_bytes())?;
        create_secret(&dir.join(OFFICER_KEY), &officer)?;
        create(&dir.join(OFFICER_PUBLIC), format!("{public}\n").as_bytes())?;
        let spoken = RegionKey::generate()?;
        let public = RegionKey::from_text(&spoken)?.public().to_hex();
        create_secret(&dir.join(REGION_KEY), spoken.as_bytes())?;
        create(&dir.join(REGION_PUBLIC), format!("{public}\n").as_bytes())?;
        Self::open(dir, region, deployment)
    }

    /// Opens the CA of a region.
    ///
    /// # Errors
    /// [`PkiError::OtherRegion`] where the directory holds the CA of another one, or what is wrong with its files.
    pub fn open(dir: &Path, region: &Region, deployment: &Name) -> Result<Self, PkiError> {
        let wanted = ca_name(region, deployment);
        let path = dir.join(CA_CERTIFICATE);
        let found = describe(&path)?.subject;
        if found.strip_prefix("CN=") != Some(wanted.as_str()) {
            return Err(PkiError::OtherRegion { path: dir.to_owned(), found, wanted });
        }
        let key_path = dir.join(CA_KEY);
        let key = KeyPair::from_pem(&read_text(&key_path)?).map_err(|_| PkiError::Malformed { path: key_path })?;
        let issuer = Issuer::from_ca_cert_pem(&read_text(&path)?, key)
            .map_err(|_| PkiError::Malformed { path: path.clone() })?;
        Ok(Self { dir: dir.to_owned(), region: region.clone(), deployment: deployment.clone(), issuer })
    }

    /// The CA's certificate: the bundle of this region in every node's configuration.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join(CA_CERTIFICATE)
    }

    /// The officer's private key, PKCS#8.
    pub fn officer_key(&self) -> PathBuf {
        self.dir.join(OFFICER_KEY)
    }

    /// The officer's public key, hexadecimal.
    pub fn officer_public(&self) -> PathBuf {
        self.dir.join(OFFICER_PUBLIC)
    }

    /// The region's private key, hexadecimal.
    pub fn region_key(&self) -> PathBuf {
        self.dir.join(REGION_KEY)
    }

    /// Reads the officer's private key.
    ///
    /// # Errors
    /// [`PkiError::File`] or [`PkiError::Officer`].
    pub fn read_officer(&self) -> Result<OfficerKey, PkiError> {
        Ok(OfficerKey::from_pkcs8(&read(&self.officer_key())?)?)
    }

    /// Where the certificate and key of a node lie.
    pub fn node_files(&self, node: NodeId) -> IdentityFiles {
        let path = |ending: &str| self.dir.join(format!("node-{node}.{ending}"));
        IdentityFiles { cert: path("crt"), key: path("key") }
    }

    /// Issues a certificate for a node of this region, with a new key.
    ///
    /// # Errors
    /// [`PkiError::Exists`] where the node has one; see [`RegionCa::renew_node`].
    pub fn issue_node(&self, node: NodeId, now: Timestamp, validity: Duration) -> Result<IdentityFiles, PkiError> {
        let files = self.node_files(node);
        let (certificate, key) = self.make_node(node, now, validity)?;
        create_secret(&files.key, key.as_bytes())?;
        create(&files.cert, certificate.as_bytes())?;
        Ok(files)
    }

    /// Replaces the certificate and key of a node. A node that runs takes them at its next reload.
    ///
    /// # Errors
    /// [`PkiError::File`] where the files cannot be written.
    pub fn renew_node(&self, node: NodeId, now: Timestamp, validity: Duration) -> Result<IdentityFiles, PkiError> {
        let files = self.node_files(node);
        let (certificate, key) = self.make_node(node, now, validity)?;
        let (new_key, new_certificate) = (files.key.with_extension("key.new"), files.cert.with_extension("crt.new"));
        create_secret(&new_key, key.as_bytes())?;
        create(&new_certificate, certificate.as_bytes())?;
        // Between the two renames a reload finds a pair that does not belong together, says so and keeps the old one.
        rename(&new_key, &files.key)?;
        rename(&new_certificate, &files.cert)?;
        Ok(files)
    }

    /// Issues a certificate for the listeners clients talk to, with a new key: names or IP addresses, no SPIFFE id, so
    /// that it opens no link.
    ///
    /// # Errors
    /// [`PkiError::Exists`] or [`PkiError::Certificate`].
    pub fn issue_server(
        &self,
        hosts: &[String],
        now: Timestamp,
        validity: Duration,
    ) -> Result<IdentityFiles, PkiError> {
        let mut params = params(hosts, now, validity)?;
        params.distinguished_name.push(DnType::CommonName, format!("clients of {}", self.region));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = self.sign(params)?;
        let files = IdentityFiles { cert: self.dir.join("server.crt"), key: self.dir.join("server.key") };
        create_secret(&files.key, key.as_bytes())?;
        create(&files.cert, certificate.as_bytes())?;
        Ok(files)
    }

    fn make_node(&self, node: NodeId, now: Timestamp, validity: Duration) -> Result<(String, String), PkiError> {
        let peer = PeerId { region: self.region.clone(), node };
        let id = peer.spiffe_id(&self.deployment);
        let mut params = params(&[], now, validity)?;
        params.distinguished_name.push(DnType::CommonName, peer.to_string());
        let uri = id.try_into().map_err(|source| PkiError::Certificate { source })?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<(String, String), PkiError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let made = KeyPair::generate().and_then(|key| {
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok((certificate.pem(), key.serialize_pem()))
        });
        made.map_err(|source| PkiError::Certificate { source })
    }
}

/// What a certificate says, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its URI names; the certificate of a node has exactly one, the SPIFFE id.
    pub uris: Vec<String>,
    /// Its DNS names and IP addresses.
    pub hosts: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate, hexadecimal.
    pub sha256: String,
}

/// Describes the first certificate of a PEM file.
///
/// # Errors
/// [`PkiError::File`] or [`PkiError::Malformed`].
pub fn describe(path: &Path) -> Result<Description, PkiError> {
    let malformed = || PkiError::Malformed { path: path.to_owned() };
    let der = CertificateDer::from_pem_slice(&read(path)?).map_err(|_| malformed())?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| malformed())?;
    let names = parsed.subject_alternative_name().map_err(|_| malformed())?;
    let (mut uris, mut hosts) = (Vec::new(), Vec::new());
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
            GeneralName::IPAddress(bytes) => hosts.extend(ip_text(bytes)),
            _ => {}
        }
    }
    let time = |at: x509_parser::time::ASN1Time| Timestamp::from_millis(at.timestamp().saturating_mul(1_000));
    Ok(Description {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        uris,
        hosts,
        not_before: time(parsed.validity().not_before),
        not_after: time(parsed.validity().not_after),
        is_ca: parsed.is_ca(),
        serial: parsed.raw_serial_as_string(),
        sha256: hex::encode(ring::digest::digest(&ring::digest::SHA256, &der)),
    })
}

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const OFFICER_KEY: &str = "officer.key";
const OFFICER_PUBLIC: &str = "officer.pub";
const REGION_KEY: &str = "region.key";
/// Beside the officer's key, for the officer to consent to.
pub const REGION_PUBLIC: &str = "region.pub";

fn ca_name(region: &Region, deployment: &Name) -> String {
    format!("{region}.{deployment}")
}

fn params(hosts: &[String], now: Timestamp, validity: Duration) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(hosts).map_err(|source| PkiError::Certificate { source })?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let seconds = u64::try_from(now.as_millis() / 1_000).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(seconds).saturating_sub(CLOCK_SLACK);
    // Beyond the year 9999 a certificate cannot say its end; a century is enough for anybody.
    params.not_after = epoch + Duration::from_secs(seconds) + validity.min(Duration::from_secs(100 * 366 * 86_400));
    Ok(params)
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| std::net::Ipv6Addr::from(sixteen).to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    std::fs::read(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<String, PkiError> {
    String::from_utf8(read(path)?).map_err(|_| PkiError::Malformed { path: path.to_owned() })
}

fn rename(from: &Path, to: &Path) -> Result<(), PkiError> {
    std::fs::rename(from, to).map_err(|source| PkiError::File { path: to.to_owned(), source })
}

fn create_dir(dir: &Path) -> Result<(), PkiError> {
    std::fs::create_dir_all(dir).map_err(|source| PkiError::File { path: dir.to_owned(), source })
}

fn create(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    create_with(OpenOptions::new().write(true).create_new(true), path, content)
}

fn create_secret(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    create_with(&options, path, content)
}

fn create_with(options: &OpenOptions, path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let written = options.open(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists { path: path.to_owned() },
        _ => PkiError::File { path: path.to_owned(), source },
    })
}
