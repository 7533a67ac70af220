//! The link: the only user of quinn and rustls.
