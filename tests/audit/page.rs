//! The report of a pack in a browser: Chromium opens the file as an officer would, says nothing in its console, asks nobody for
//! anything, shows the headline, and lets nothing run over the edge of a desk, a telephone or a sheet of paper.
//!
//! Chromium is spoken to over two pipes (`--remote-debugging-pipe`): one JSON message after another, each ended by a zero.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use domicile_tests::cluster::require::require;
use serde_json::{Value, json};

/// Widths in pixels of CSS: a desk, a telephone, and what is left of A4 between its margins.
const WIDTHS: [(&str, u64, &str); 3] =
    [("desk", 1_280, "screen"), ("telephone", 390, "screen"), ("paper", 688, "print")];

/// What is asked of the page at each width.
const LOOK: &str = r#"JSON.stringify((() => {
  const shown = node => {
    const box = node.getBoundingClientRect(), style = getComputedStyle(node);
    return box.width > 0 && box.height > 0 && style.visibility === 'visible' && style.display !== 'none';
  };
  const width = document.documentElement.clientWidth;
  const over = [...document.querySelectorAll('body *')].filter(node =>
    !node.closest('.wide') && !node.closest('svg') && node.getBoundingClientRect().right > width + 1);
  return {
    leads: [...document.querySelectorAll('header .lead')].filter(shown).map(node => node.innerText),
    above: document.querySelector('header').getBoundingClientRect().bottom,
    wide: document.documentElement.scrollWidth > width,
    over: over.slice(0, 5).map(node => node.outerHTML.slice(0, 120)),
    cut: [...document.querySelectorAll('.wide')].filter(node => node.scrollWidth > node.clientWidth + 1)
      .map(node => node.getAttribute('aria-label')),
    clipped: [...document.querySelectorAll('td, th')].filter(node => node.scrollWidth > node.clientWidth + 1).length,
  };
})())"#;

struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    /// What the page did: methods of the protocol with what they carry.
    events: Vec<Value>,
    asked: u64,
}

impl Browser {
    fn start(chromium: &Path, directory: &Path) -> Self {
        let pipes = ["to", "from"].map(|name| directory.join(name));
        for pipe in &pipes {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success(), "a pipe");
        }
        let mut shell = Command::new("sh");
        // The third and fourth file are the pipes; the shell becomes the browser.
        shell.args(["-c", r#"exec "$0" "$@" 3<to 4>from"#]).arg(chromium).current_dir(directory);
        shell.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        shell.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        shell.args(["--disable-dev-shm-usage", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND"]);
        shell.arg(format!("--user-data-dir={}", directory.join("profile").display())).arg("about:blank");
        let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let to = File::options().write(true).open(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        Self { child, to, from, events: Vec::new(), asked: 0 }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&message).unwrap()
    }

    fn ask(&mut self, session: Option<&str>, method: &str, of: Value) -> Value {
        self.asked += 1;
        let mut asked = json!({"id": self.asked, "method": method, "params": of});
        if let Some(session) = session {
            asked["sessionId"] = session.into();
        }
        self.to.write_all(&[asked.to_string().as_bytes(), &[0]].concat()).unwrap();
        loop {
            let read = self.read();
            if read["id"] == self.asked {
                assert!(read.get("error").is_none(), "{method}: {read}");
                return read["result"].clone();
            }
            self.events.push(read);
        }
    }

    fn wait_for(&mut self, method: &str) {
        while !self.events.iter().any(|event| event["method"] == method) {
            let read = self.read();
            self.events.push(read);
        }
    }

    /// What was told under this method.
    fn told(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == method).map(|event| &event["params"]).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What it started ends with it; whether it was there still is all the same here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Opens the report of a pack and looks at it; says that it skips itself where there is no Chromium.
pub(crate) fn a_browser_shows_the_report(pack: &Path) {
    let Some(chromium) = require("chromium") else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(&chromium, directory.path());
    let target = browser.ask(None, "Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
    let attached = browser.ask(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true}));
    let session = attached["sessionId"].as_str().unwrap().to_owned();
    let on = Some(session.as_str());
    for domain in ["Page", "Network", "Log", "Runtime", "Security"] {
        browser.ask(on, &format!("{domain}.enable"), json!({}));
    }
    let url = format!("file://{}", pack.join("report.html").display());
    browser.ask(on, "Page.navigate", json!({"url": url}));
    browser.wait_for("Page.loadEventFired");
    let report: Value = serde_json::from_slice(&std::fs::read(pack.join("report.json")).unwrap()).unwrap();
    // Names stand in a type of their own, without the marks around them.
    let headline: Vec<String> =
        report["lead"].as_array().unwrap().iter().map(|said| said.as_str().unwrap().replace('`', "")).collect();
    for (place, width, media) in WIDTHS {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser.ask(on, "Emulation.setDeviceMetricsOverride", size);
        browser.ask(on, "Emulation.setEmulatedMedia", json!({"media": media}));
        let looked = browser.ask(on, "Runtime.evaluate", json!({"expression": LOOK, "returnByValue": true}));
        let looked: Value = serde_json::from_str(looked["result"]["value"].as_str().unwrap()).unwrap();
        assert_eq!(looked["leads"], json!(headline), "{place}: the first sentences are shown");
        assert!(looked["above"].as_f64().unwrap() <= 900.0, "{place}: at first sight: {looked}");
        assert!(looked["wide"] == false && looked["over"] == json!([]), "{place}: over the edge: {looked}");
        assert_eq!(looked["clipped"], 0, "{place}: cells hold what is in them: {looked}");
        // On a screen a wide table is moved sideways; paper cannot be.
        assert!(media == "screen" || looked["cut"] == json!([]), "{place}: cut off: {looked}");
    }
    let requests = browser.told("Network.requestWillBeSent");
    assert!(!requests.is_empty(), "the page itself was asked for");
    for request in requests {
        assert_eq!(request["request"]["url"].as_str(), Some(url.as_str()), "it asks for nothing but itself");
    }
    for told in ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"] {
        assert!(browser.told(told).is_empty(), "{told}: {:?}", browser.told(told));
    }
}
