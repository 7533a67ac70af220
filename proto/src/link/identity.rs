//! Who is at the other end: region and node, out of the one SPIFFE id of a certificate (RES-4).
//!
//! `spiffe://<region>.<deployment>/node/<id>`, exactly one URI among the subject's alternative names (SPIFFE X.509-SVID,
//! section 2). Nothing here checks who signed it; that is [`super::trust`].

use std::fmt;
use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::ids::{Name, NodeId, Region};

/// A node and the region its certificate names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The region.
    pub region: Region,
    /// The node.
    pub node: NodeId,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of {}", self.node, self.region)
    }
}

/// A node and where its link listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    /// Who must answer there.
    pub id: PeerId,
    /// Where.
    pub addr: SocketAddr,
}

/// Why a certificate names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an X.509 certificate.
    #[error("the certificate cannot be read")]
    Certificate,
    /// None, or more than one.
    #[error("the certificate has {found} URI names where it must have exactly one, its SPIFFE id")]
    UriNames {
        /// How many there are.
        found: usize,
    },
    /// Another deployment, or no region.
    #[error("the SPIFFE id is not of the trust domain of a region of this deployment")]
    TrustDomain,
    /// Not `/node/<number>`.
    #[error("the path of the SPIFFE id is not `/node/<number>`")]
    Path,
}

impl PeerId {
    /// The SPIFFE id of this node in a deployment.
    pub fn spiffe_id(&self, deployment: &Name) -> String {
        format!("spiffe://{}.{deployment}/node/{}", self.region, self.node)
    }

    /// Reads a SPIFFE id.
    ///
    /// # Errors
    /// [`IdentityError::TrustDomain`] or [`IdentityError::Path`].
    pub fn from_spiffe_id(text: &str, deployment: &Name) -> Result<Self, IdentityError> {
        let rest = text.strip_prefix("spiffe://").ok_or(IdentityError::TrustDomain)?;
        let (domain, path) = rest.split_once('/').ok_or(IdentityError::Path)?;
        let region = domain
            .strip_suffix(deployment.as_str())
            .and_then(|front| front.strip_suffix('.'))
            .and_then(|region| region.parse().ok())
            .ok_or(IdentityError::TrustDomain)?;
        let number = path.strip_prefix("node/").ok_or(IdentityError::Path)?;
        let node: u64 = number.parse().map_err(|_| IdentityError::Path)?;
        // One spelling only: no sign, no leading zero.
        if node.to_string() != number {
            return Err(IdentityError::Path);
        }
        Ok(Self { region, node: NodeId(node) })
    }

    /// Reads the identity of a certificate.
    ///
    /// # Errors
    /// [`IdentityError`] says what is wrong with its names.
    pub fn of_certificate(certificate: &CertificateDer<'_>, deployment: &Name) -> Result<Self, IdentityError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::Certificate)?;
        let names = parsed.subject_alternative_name().map_err(|_| IdentityError::Certificate)?;
        let mut uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let first = uris.next();
        let further = uris.count();
        match first {
            Some(uri) if further == 0 => Self::from_spiffe_id(uri, deployment),
            first => Err(IdentityError::UriNames { found: further + usize::from(first.is_some()) }),
        }
    }
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_read_is_spelt_the_same_again(text in "spiffe://[a-z.]{0,9}acme(:1)?/node/[+0-9]{1,4}") {
            let deployment: Name = "acme".parse().expect("a name");
            if let Ok(peer) = PeerId::from_spiffe_id(&text, &deployment) {
                proptest::prop_assert_eq!(peer.spiffe_id(&deployment), text);
            }
        }

        #[test]
        fn any_bytes_are_read_as_a_certificate_or_refused(bytes: Vec<u8>) {
            let deployment: Name = "acme".parse().expect("a name");
            proptest::prop_assert!(PeerId::of_certificate(&CertificateDer::from(bytes), &deployment).is_err());
        }
    }

    #[test]
    fn reads_one_spelling_of_a_spiffe_id_and_no_other() {
        let deployment: Name = "acme.example".parse().expect("a name");
        let id = PeerId { region: "tokyo.east".parse().expect("a name"), node: NodeId(7) };
        let text = id.spiffe_id(&deployment);
        assert_eq!(text, "spiffe://tokyo.east.acme.example/node/7");
        assert_eq!(PeerId::from_spiffe_id(&text, &deployment), Ok(id));
        for (text, error) in [
            ("https://tokyo.acme.example/node/7", IdentityError::TrustDomain),
            ("spiffe://tokyo.other/node/7", IdentityError::TrustDomain),
            ("spiffe://acme.example/node/7", IdentityError::TrustDomain),
            ("spiffe://.acme.example/node/7", IdentityError::TrustDomain),
            ("spiffe://tokyoacme.example/node/7", IdentityError::TrustDomain),
            ("spiffe://TOKYO.acme.example/node/7", IdentityError::TrustDomain),
            ("spiffe://tokyo.acme.example:1/node/7", IdentityError::TrustDomain),
            ("spiffe://tokyo.acme.example", IdentityError::Path),
            ("spiffe://tokyo.acme.example/", IdentityError::Path),
            ("spiffe://tokyo.acme.example/node/", IdentityError::Path),
            ("spiffe://tokyo.acme.example/node/+7", IdentityError::Path),
            ("spiffe://tokyo.acme.example/node/07", IdentityError::Path),
            ("spiffe://tokyo.acme.example/node/7/x", IdentityError::Path),
            ("spiffe://tokyo.acme.example/nodes/7", IdentityError::Path),
        ] {
            assert_eq!(PeerId::from_spiffe_id(text, &deployment), Err(error), "{text}");
        }
    }
}
