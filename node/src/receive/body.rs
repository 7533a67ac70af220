//! Reads a request body within its limits and unpacks it. A bomb ends at the cap, a silent sender at the deadline.

use std::io::{self, Read, Write};

use axum::body::BodyDataStream;
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::errors::ReceiveError;
use super::inlet::{Inlet, Room};
use crate::limits::{
    BODY_DEADLINE, BODY_SILENCE, MAX_BODY_BYTES, MAX_DECOMPRESSED_BYTES, MAX_PACKED_BYTES, PASSED_OVER_BYTES,
    PASSED_OVER_DEADLINE,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
    Deflate,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, ReceiveError> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Plain) };
        let text = value.to_str().map_err(|_| ReceiveError::UnknownEncoding)?.trim();
        match text.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            _ => Err(ReceiveError::UnknownEncoding),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "text",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// The whole body, unpacked, and the room it takes.
pub(super) async fn read(
    inlet: &Inlet,
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<(Bytes, Room), ReceiveError> {
    let encoding = Encoding::of(headers)?;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let limit = if encoding == Encoding::Plain { MAX_BODY_BYTES } else { MAX_PACKED_BYTES };
    if declared.is_some_and(|bytes: usize| bytes > limit) {
        return Err(ReceiveError::TooLarge { limit });
    }
    let whole = collect(inlet, body, declared.unwrap_or(0), limit);
    let (packed, room) = tokio::time::timeout(BODY_DEADLINE, whole)
        .await
        .map_err(|_| ReceiveError::BodyTooSlow { seconds: BODY_DEADLINE.as_secs() })??;
    if encoding == Encoding::Plain {
        return Ok((packed, room));
    }
    let mouth = inlet.clone();
    let unpacking = inlet.tasks().blocking(move || {
        let limit = MAX_DECOMPRESSED_BYTES.min(mouth.budget_bytes().saturating_sub(packed.len()));
        let unpacked = unpack(&mouth, encoding, &packed, limit);
        drop(room);
        unpacked
    });
    unpacking.await.map_err(|_| ReceiveError::NoReply)?
}

/// Reads on in a body that is refused and keeps nothing of it: a sender that still writes when the connection closes sees a
/// broken pipe, and not the reply that says when to come again. Within bounds; who goes on beyond them is cut off.
pub(super) async fn pass_over(body: &mut BodyDataStream) {
    let pass = async {
        let mut left = PASSED_OVER_BYTES;
        while let Some(Ok(chunk)) = body.next().await {
            let Some(after) = left.checked_sub(chunk.len()) else { return };
            left = after;
        }
    };
    drop(tokio::time::timeout(PASSED_OVER_DEADLINE, pass).await);
}

async fn collect(
    inlet: &Inlet,
    chunks: &mut BodyDataStream,
    declared: usize,
    limit: usize,
) -> Result<(Bytes, Room), ReceiveError> {
    let mut room = Room::none();
    // At most 1 MiB on the sender's word; the rest is believed when it is there.
    let mut whole = BytesMut::with_capacity(declared.min(1 << 20));
    loop {
        let next = tokio::time::timeout(BODY_SILENCE, chunks.next())
            .await
            .map_err(|_| ReceiveError::BodyTooSlow { seconds: BODY_SILENCE.as_secs() })?;
        let Some(chunk) = next else { return Ok((whole.freeze(), room)) };
        let chunk = chunk.map_err(|_| ReceiveError::BodyStopped)?;
        if whole.len() + chunk.len() > limit {
            return Err(ReceiveError::TooLarge { limit });
        }
        inlet.enlarge(&mut room, chunk.len())?;
        whole.extend_from_slice(&chunk);
    }
}

/// Where unpacked bytes go until the limit or the budget ends.
struct Capped<'a> {
    inlet: &'a Inlet,
    out: Vec<u8>,
    room: Room,
    limit: usize,
    stopped: Option<ReceiveError>,
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stop = if self.out.len() + bytes.len() > self.limit {
            Err(ReceiveError::UnpacksTooLarge { limit: self.limit })
        } else {
            self.inlet.enlarge(&mut self.room, bytes.len())
        };
        if let Err(error) = stop {
            self.stopped = Some(error);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unpack(inlet: &Inlet, encoding: Encoding, packed: &[u8], limit: usize) -> Result<(Bytes, Room), ReceiveError> {
    let mut capped = Capped { inlet, out: Vec::new(), room: Room::none(), limit, stopped: None };
    let done = match encoding {
        Encoding::Plain => capped.write_all(packed),
        Encoding::Gzip => pump(flate2::read::MultiGzDecoder::new(packed), &mut capped),
        // RFC 9110 means zlib; some clients send the bare stream. A zlib header is a multiple of 31.
        Encoding::Deflate if is_zlib(packed) => pump(flate2::read::ZlibDecoder::new(packed), &mut capped),
        Encoding::Deflate => pump(flate2::read::DeflateDecoder::new(packed), &mut capped),
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(packed).and_then(|mut decoder| {
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            pump(decoder, &mut capped)
        }),
    };
    match (done, capped.stopped) {
        (_, Some(error)) => Err(error),
        (Err(_), None) => Err(ReceiveError::Unpacking { encoding: encoding.as_str() }),
        (Ok(()), None) => Ok((capped.out.into(), capped.room)),
    }
}

fn pump(mut from: impl Read, to: &mut Capped<'_>) -> io::Result<()> {
    let mut piece = vec![0_u8; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

/// Largest zstd window, as a power of two: 8 MiB, what every ordinary level uses.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;
    use std::time::Duration;

    use domicile_proto::ids::Timestamp;

    use super::*;
    use crate::clock::Clock;
    use crate::fuzz::{Input, cases};
    use crate::tasks::Tasks;

    type Packer = fn(&[u8]) -> Box<dyn Read + '_>;

    #[test]
    fn no_packed_body_panics_or_unpacks_beyond_its_limit() {
        const LIMIT: usize = 4_096;
        let (clock, tasks) = (Clock::standing_at(Timestamp(7)), Tasks::default());
        let (inlet, _inbox) = Inlet::new(1, 1 << 20, Duration::from_secs(1), Arc::new(|_: &_| Ok(())), clock, tasks);
        let text = br#"{"create":{}}\n{"message":"one line"}\n"#.repeat(9);
        let bomb = vec![b'a'; LIMIT * 4];
        let packers: [(Encoding, Packer); 4] = [
            (Encoding::Gzip, |bytes| Box::new(flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()))),
            (Encoding::Deflate, |bytes| {
                Box::new(flate2::read::DeflateEncoder::new(bytes, flate2::Compression::fast()))
            }),
            (Encoding::Deflate, |bytes| Box::new(flate2::read::ZlibEncoder::new(bytes, flate2::Compression::fast()))),
            (Encoding::Zstd, |bytes| Box::new(zstd::stream::read::Encoder::new(bytes, 1).unwrap())),
        ];
        let kinds = packers.map(|(encoding, packer)| {
            let packed = [&text, &bomb].map(|bytes| {
                let mut packed = Vec::new();
                packer(bytes).read_to_end(&mut packed).unwrap();
                packed
            });
            (encoding, packed.to_vec())
        });
        for (encoding, good) in &kinds {
            assert!(unpack(&inlet, *encoding, &good[0], LIMIT).is_ok_and(|(bytes, _)| bytes == text));
            let refused = unpack(&inlet, *encoding, &good[1], LIMIT);
            assert!(matches!(refused, Err(ReceiveError::UnpacksTooLarge { limit: LIMIT })));
        }
        let inlet = AssertUnwindSafe(inlet);
        bolero::check!().with_iterations(cases()).with_type::<(u8, Input)>().for_each(|(kind, input)| {
            let (encoding, good) = &kinds[usize::from(*kind) % kinds.len()];
            if let Ok((bytes, room)) = unpack(&inlet, *encoding, &input.bytes(good), LIMIT) {
                assert!(bytes.len() <= LIMIT && room.bytes() >= bytes.len());
            }
        });
    }
}
