//! Files to a region: decompressed here, cut into batches, each with an id made of its place and content, so that a batch
//! that is sent again is taken once.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Stdin};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use domicile_proto::ids::Name;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::admin;
use super::arguments::IngestArguments;
use super::door::Door;
use super::profile::Profile;
use crate::limits::{DOCUMENT_BYTES, MAX_RECORD_BYTES, WORK_BYTES};

/// Largest body of a batch, in bytes; a single line may be larger.
const BATCH_BYTES: usize = 4 << 20;
/// Most lines in a batch, whatever is asked for: a region takes a batch together, with what each line costs beside its bytes.
const BATCH_LINES: usize = (WORK_BYTES - MAX_RECORD_BYTES - BATCH_BYTES) / DOCUMENT_BYTES;
/// Attempts per batch before it is given up.
const ATTEMPTS: u32 = 12;
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What was sent, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    lines: u64,
    refused: u64,
    bytes: u64,
}

pub(super) async fn run(
    arguments: IngestArguments,
    profile: impl Fn() -> anyhow::Result<Profile>,
) -> anyhow::Result<ExitCode> {
    let door = door(&arguments, profile)?;
    if let Some(tenant) = &arguments.tenant {
        check_tenant(&door, tenant).await?;
    }
    let mut tally = Tally::default();
    for path in &arguments.files {
        send_file(&door, &arguments.stream, path, arguments.batch, &mut tally).await?;
    }
    eprintln!("{} line(s) taken, {} refused, {} bytes", tally.lines - tally.refused, tally.refused, tally.bytes);
    Ok(if tally.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn door(arguments: &IngestArguments, profile: impl Fn() -> anyhow::Result<Profile>) -> anyhow::Result<Door> {
    if let (Some(url), Some(key)) = (&arguments.url, &arguments.key) {
        return Door::new(arguments.region.clone(), url, key, None);
    }
    let profile = profile()?;
    if arguments.region.is_none() && profile.regions.len() > 1 {
        let known: Vec<_> = profile.regions.keys().cloned().collect();
        bail!("say in which region the lines stay, with `--region`: {}", admin::names(&known));
    }
    profile.door_at(arguments.region.as_ref())
}

/// A key belongs to one tenant; sending with another's would put lines where they do not belong.
async fn check_tenant(door: &Door, wanted: &Name) -> anyhow::Result<()> {
    let me = door.read("/api/v1/whoami").await?;
    let found = me.get("tenant").and_then(Value::as_str).unwrap_or_default();
    if found != wanted.as_str() {
        bail!("the key belongs to tenant `{found}`, not to `{wanted}`; use a key of that tenant");
    }
    Ok(())
}

async fn send_file(door: &Door, stream: &Name, path: &Path, batch: u32, tally: &mut Tally) -> anyhow::Result<()> {
    let (lines, bar) = open(path)?;
    let mut lines = lines;
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut place = 0_u64;
    let mut is_json = None;
    loop {
        let next = next_batch(&mut lines, batch).with_context(|| format!("`{name}` cannot be read"))?;
        let Batch { body, count, too_long } = next;
        for line in &too_long {
            bar.suspend(|| {
                eprintln!("`{name}`: line {} is longer than {MAX_RECORD_BYTES} bytes and is left out", place + line);
            });
        }
        if count == 0 {
            break;
        }
        tally.refused += too_long.len() as u64;
        if body.is_empty() {
            place += count;
            tally.lines += count;
            continue;
        }
        // Decided once for a file, by its first line, so that one odd line does not change how the others are read.
        let json = *is_json.get_or_insert_with(|| body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{'));
        let id = batch_id(&name, place, &body);
        let refused = send(door, stream, json, &id, body.clone())
            .await
            .with_context(|| format!("`{name}` was sent up to line {place}; run the same command again to go on"))?;
        place += count;
        tally.lines += count;
        tally.refused += refused;
        tally.bytes += body.len() as u64;
        bar.set_message(format!("{name}: {place} lines"));
    }
    bar.finish_and_clear();
    Ok(())
}

/// The same lines of the same file make the same id, so that repeating a command changes nothing.
fn batch_id(file: &str, place: u64, body: &[u8]) -> String {
    let mut whole = format!("{file}\0{place}\0").into_bytes();
    whole.extend_from_slice(body);
    hex::encode(digest(&SHA256, &whole))
}

type Lines = Box<dyn BufRead + Send>;

/// Opens a file, whatever it is compressed with; its own first bytes say so, not its name.
fn open(path: &Path) -> anyhow::Result<(Lines, ProgressBar)> {
    if path == Path::new("-") {
        return Ok((Box::new(decoded(BufReader::new(Source::Stdin(std::io::stdin())))?), ProgressBar::new_spinner()));
    }
    let file = File::open(path).with_context(|| format!("`{}` cannot be opened", path.display()))?;
    let bar = ProgressBar::new(file.metadata().map_or(0, |meta| meta.len()));
    if let Ok(style) = ProgressStyle::with_template("{wide_msg} {bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    let lines = decoded(BufReader::new(Source::File(bar.wrap_read(file))));
    Ok((lines.with_context(|| format!("`{}` cannot be read", path.display()))?, bar))
}

enum Source {
    File(indicatif::ProgressBarIter<File>),
    Stdin(Stdin),
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Stdin(stdin) => stdin.read(into),
        }
    }
}

fn decoded<R: BufRead + Send + 'static>(mut raw: R) -> anyhow::Result<Lines> {
    Ok(match raw.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(raw))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(BufReader::new(zstd::Decoder::with_buffer(raw)?)),
        _ => Box::new(raw),
    })
}

/// Some lines of a file, as they are sent.
struct Batch {
    body: Vec<u8>,
    /// How many lines were read.
    count: u64,
    /// Which of them, counted from 1, are left out because no region takes a line so long.
    too_long: Vec<u64>,
}

fn next_batch(lines: &mut Lines, most: u32) -> std::io::Result<Batch> {
    let mut body = Vec::new();
    let mut too_long = Vec::new();
    let mut count = 0;
    let most = u64::from(most).min(BATCH_LINES as u64);
    while count < most && body.len() < BATCH_BYTES {
        let before = body.len();
        let longest = MAX_RECORD_BYTES as u64 + 2;
        if (&mut *lines).take(longest).read_until(b'\n', &mut body)? == 0 {
            break;
        }
        let has_ended = body.last() == Some(&b'\n');
        if body.len() - before > MAX_RECORD_BYTES + usize::from(has_ended) {
            body.truncate(before);
            if !has_ended {
                lines.skip_until(b'\n')?;
            }
            count += 1;
            too_long.push(count);
            continue;
        }
        if body.last() != Some(&b'\n') {
            body.push(b'\n');
        }
        if body.get(before..).is_some_and(|line| line.iter().all(u8::is_ascii_whitespace)) {
            body.truncate(before);
            continue;
        }
        count += 1;
    }
    Ok(Batch { body, count, too_long })
}

/// Sends one batch until it is taken; how many of its lines were refused for good.
async fn send(door: &Door, stream: &Name, json: bool, id: &str, body: Vec<u8>) -> anyhow::Result<u64> {
    let path = format!("/api/v1/ingest/{stream}");
    let kind = if json { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    let mut pause = Duration::from_millis(200);
    for attempt in 1..=ATTEMPTS {
        let request = door
            .request(Method::POST, &path)
            .header("content-type", kind)
            .header("x-domicile-batch", id)
            .body(body.clone());
        let wait = match request.send().await {
            Ok(response) if is_not_now(response.status()) && attempt < ATTEMPTS => {
                let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                asked.map_or(pause, Duration::from_secs).min(LONGEST_PAUSE)
            }
            Ok(response) => {
                let answer: Value = door.checked(response, &path).await?.json().await?;
                return Ok(answer.get("rejected").and_then(Value::as_u64).unwrap_or(0));
            }
            Err(error) if attempt == ATTEMPTS => return Err(error).with_context(|| door.unreachable()),
            Err(_) => pause,
        };
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    bail!("the region has too much to do; try again later")
}

fn is_not_now(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines_of(bytes: &[u8]) -> Vec<String> {
        let mut lines = decoded(std::io::Cursor::new(bytes.to_vec())).expect("readable");
        let Batch { body, count, .. } = next_batch(&mut lines, 1_000).expect("read");
        let text: Vec<String> = String::from_utf8(body).expect("text").lines().map(str::to_owned).collect();
        assert_eq!(text.len() as u64, count);
        text
    }

    #[test]
    fn compressed_and_plain_files_give_the_same_lines() {
        let plain = "one\n\n  \ntwo 二\nthree";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain.as_bytes()).expect("memory");
        let zstd = zstd::encode_all(plain.as_bytes(), 1).expect("memory");
        let wanted = ["one", "two 二", "three"];
        assert_eq!(lines_of(plain.as_bytes()), wanted);
        assert_eq!(lines_of(&gzip.finish().expect("memory")), wanted);
        assert_eq!(lines_of(&zstd), wanted);
        assert!(lines_of(b"").is_empty());
    }

    #[test]
    fn batches_end_at_their_limit_and_lose_nothing() {
        let text: String = (0..25).map(|n| format!("line {n}\n")).collect();
        let mut lines = decoded(std::io::Cursor::new(text.clone().into_bytes())).expect("readable");
        let mut all = String::new();
        let mut counts = Vec::new();
        loop {
            let Batch { body, count, .. } = next_batch(&mut lines, 10).expect("read");
            if count == 0 {
                break;
            }
            counts.push(count);
            all.push_str(std::str::from_utf8(&body).expect("text"));
        }
        assert_eq!((counts, all), (vec![10, 10, 5], text));
    }

    #[test]
    fn a_line_that_no_region_takes_is_left_out_and_named_and_its_neighbours_are_sent() {
        let most = "x".repeat(MAX_RECORD_BYTES);
        for (text, left, named) in [
            (format!("one\n{most}x\ntwo\n"), "one\ntwo\n".to_owned(), vec![2]),
            (format!("one\n{most}xxx\ntwo\n"), "one\ntwo\n".to_owned(), vec![2]),
            (format!("{most}{most}"), String::new(), vec![1]),
            (format!("{most}\n"), format!("{most}\n"), vec![]),
            (most.clone(), format!("{most}\n"), vec![]),
        ] {
            let lines = text.lines().count() as u64;
            let mut read = decoded(std::io::Cursor::new(text.into_bytes())).expect("readable");
            let mut all = (Vec::new(), 0, Vec::new());
            loop {
                let Batch { body, count, too_long } = next_batch(&mut read, 10).expect("read");
                if count == 0 {
                    break;
                }
                all.2.extend(too_long.iter().map(|line| line + all.1));
                all.0.extend(body);
                all.1 += count;
            }
            assert_eq!((all.1, all.2), (lines, named));
            assert!(all.0 == left.as_bytes(), "{} bytes", all.0.len());
        }
    }

    #[test]
    fn the_same_lines_in_the_same_place_have_the_same_id() {
        assert_eq!(batch_id("a", 0, b"x"), batch_id("a", 0, b"x"));
        assert_ne!(batch_id("a", 0, b"x"), batch_id("a", 1, b"x"));
        assert_ne!(batch_id("a", 0, b"x"), batch_id("b", 0, b"x"));
        assert!(batch_id("a", 0, b"x").len() <= 128, "the limit of the header");
    }
}
