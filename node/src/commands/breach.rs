//! The register of breaches: opened, judged, told, closed, each an entry of the region's ledger; and until when whom must be told.
//! First facts of a breach are another command's, `audit breach`.

use clap::{Args, Subcommand, ValueEnum};
use domicile_proto::ids::{Name, Region, Timestamp};
use serde_json::{Value, json};

use super::profile::Profile;
use super::table;

#[derive(Debug, Subcommand)]
pub(super) enum BreachVerb {
    /// Open a breach; prints its id, and the clocks that run now
    Open(BreachPlace),
    /// Say whether somebody must be told
    Assess {
        /// Its id
        id: String,
        /// Somebody must be told
        #[arg(long, required_unless_present = "not_notifiable", conflicts_with = "not_notifiable")]
        notifiable: bool,
        /// Nobody must be told
        #[arg(long)]
        not_notifiable: bool,
        /// Malice is likely
        #[arg(long)]
        malicious: bool,
        #[command(flatten)]
        place: BreachPlace,
    },
    /// Say that somebody was told
    Notified {
        /// Its id
        id: String,
        /// Who was told
        #[arg(long, value_enum)]
        whom: Whom,
        #[command(flatten)]
        place: BreachPlace,
    },
    /// Close it
    Close {
        /// Its id
        id: String,
        #[command(flatten)]
        place: BreachPlace,
    },
    /// Show the breaches of each region of the profile with their clocks; needs a key with the role `audit`
    List {
        /// Whose
        #[arg(long, default_value = "default")]
        tenant: Name,
        /// JSON
        #[arg(long)]
        json: bool,
    },
}

/// Where, whose and when.
#[derive(Debug, Args)]
pub(super) struct BreachPlace {
    /// The region, as the profile names it
    #[arg(long)]
    region: Region,
    /// Whose data
    #[arg(long, default_value = "default")]
    tenant: Name,
    /// When it was learnt, judged or told, as `2026-11-21T09:00:00Z`; default: now
    #[arg(long, value_name = "TIME", value_parser = super::audit::instant)]
    when: Option<Timestamp>,
}

/// Who is told of a breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Whom {
    /// The controller, by the processor
    Controller,
    /// The supervisory authority, GDPR Art. 33
    GdprAuthority,
    /// The persons, GDPR Art. 34
    GdprPersons,
    /// The PPC in a first report, APPI Art. 26
    AppiFirst,
    /// The PPC in a final report
    AppiFinal,
    /// The persons, APPI Art. 26(2)
    AppiPersons,
    /// The PDPC, PDPA s. 26D
    PdpaAuthority,
    /// The persons, PDPA s. 26D(2)
    PdpaPersons,
}

impl Whom {
    /// As the API writes it.
    fn word(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().replace('-', "_"))
    }
}

pub(super) async fn run(verb: BreachVerb, profile: &Profile) -> anyhow::Result<()> {
    let (id, step, place) = match verb {
        BreachVerb::Open(place) => (None, json!("opened"), place),
        BreachVerb::Assess { id, notifiable, not_notifiable: _, malicious, place } => {
            (Some(id), json!({"assessed": {"notifiable": notifiable, "malicious": malicious}}), place)
        }
        BreachVerb::Notified { id, whom, place } => (Some(id), json!({"notified": {"whom": whom.word()}}), place),
        BreachVerb::Close { id, place } => (Some(id), json!("closed"), place),
        BreachVerb::List { tenant, json } => return list(profile, &tenant, json).await,
    };
    let BreachPlace { region, tenant, when } = place;
    let body = json!({"tenant": tenant, "breach": id, "step": step, "when": when.map(|when| when.0)});
    let answer = profile.door(&region)?.post("/api/v1/breaches", &body).await?;
    println!("{}", answer.get("id").and_then(Value::as_str).map(table::harmless).unwrap_or_default());
    for line in clocks(&answer) {
        eprintln!("  {line}");
    }
    Ok(())
}

/// The clocks of a breach, one line each.
fn clocks(breach: &Value) -> Vec<String> {
    let text = |clock: &Value, key: &str| clock.get(key).and_then(Value::as_str).map(table::harmless);
    let line = |clock: &Value| {
        let law = [text(clock, "law"), text(clock, "source")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let is_void = clock.get("void").and_then(Value::as_bool) == Some(true);
        let state = match (text(clock, "done"), text(clock, "due")) {
            (Some(done), _) => format!("done {done}"),
            (None, _) if is_void => "judged as not notifiable".to_owned(),
            (None, Some(due)) => format!("by {due}"),
            (None, None) => "open".to_owned(),
        };
        format!("{}: {state}", law.trim())
    };
    let all = breach.get("clocks").and_then(Value::as_array).into_iter().flatten();
    all.map(line).collect()
}

async fn list(profile: &Profile, tenant: &Name, as_json: bool) -> anyhow::Result<()> {
    for region in profile.regions.keys() {
        let answer = profile.door(region)?.read(&format!("/api/v1/audit/breaches?tenant={tenant}")).await?;
        if as_json {
            println!("{answer}");
            continue;
        }
        for breach in answer.get("breaches").and_then(Value::as_array).into_iter().flatten() {
            let text =
                |key: &str| breach.get(key).and_then(Value::as_str).map_or_else(|| "-".to_owned(), table::harmless);
            println!("{region}  {}  learnt {}  closed {}", text("id"), text("learned"), text("closed"));
            for line in clocks(breach) {
                println!("  {line}");
            }
        }
    }
    Ok(())
}
