//! The development PKI on the command line: files under `DIR/REGION`.

use std::time::Duration;

use domicile_proto::ids::{NodeId, Timestamp};
use domicile_proto::link::pki::{RegionCa, describe};

use super::arguments::{PkiPlace, PkiVerb};
use crate::clock::Clock;

pub(super) fn run(verb: PkiVerb) -> anyhow::Result<()> {
    let now = Clock::system().now();
    match verb {
        PkiVerb::Init(PkiPlace { region, deployment, dir }) => {
            let ca = RegionCa::init(&dir.join(region.as_str()), &region, &deployment, now)?;
            println!("certificate authority   {}", ca.bundle().display());
            println!("officer's public key    {}   (into every node's configuration)", ca.officer_public().display());
            println!("officer's private key   {}   (keep it off the nodes)", ca.officer_key().display());
            println!("region's key            {}   (onto every node of the region)", ca.region_key().display());
            Ok(())
        }
        PkiVerb::Issue { place, node, days, renew, host } => {
            let ca = RegionCa::open(&place.dir.join(place.region.as_str()), &place.region, &place.deployment)?;
            let validity = Duration::from_secs(u64::from(days) * 86_400);
            let issue = if renew { RegionCa::renew_node } else { RegionCa::issue_node };
            let files = issue(&ca, NodeId(node), now, validity)?;
            println!("certificate   {}", files.cert.display());
            println!("key           {}", files.key.display());
            if !host.is_empty() {
                let files = ca.issue_server(&host, now, validity)?;
                println!("for clients   {}", files.cert.display());
                println!("key           {}", files.key.display());
            }
            Ok(())
        }
        PkiVerb::Show { file } => {
            let found = describe(&file)?;
            println!("subject       {}", found.subject);
            println!("issuer        {}", found.issuer);
            println!("authority     {}", if found.is_ca { "yes" } else { "no" });
            found.uris.iter().for_each(|uri| println!("identity      {uri}"));
            found.hosts.iter().for_each(|host| println!("host          {host}"));
            println!("valid from    {}", day(found.not_before));
            println!("valid until   {}", day(found.not_after));
            println!("serial        {}", found.serial);
            println!("sha256        {}", found.sha256);
            Ok(())
        }
    }
}

fn day(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| "?".to_owned(), |at| at.to_string())
}
