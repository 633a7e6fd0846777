//! Bodies of objects on their way in and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{Body, S3Error, S3ErrorCode, S3Result, TrailingHeaders};

use super::refusal;
use crate::outbound::embedded::objects::{Fault, Incoming, ObjectStore, Piece, Whole};

/// The most bytes of one object or part: S3's own limit for what is sent at once.
const BYTES_MAX: u64 = 5 << 30;

/// How much is collected before it is written, and how much is read at once.
const STEP_BYTES: usize = 1 << 20;

/// What the names of checksum headers begin with.
const CHECKSUM_HEADER: &str = "x-amz-checksum-";

/// The algorithms, as the headers name them.
const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

/// Checksums in base64 by algorithm.
pub(super) type Checksums = BTreeMap<String, String>;

/// Writes a body into a new file. Its checksums are computed where the request names them, and compared
/// with what it says they are, before or after the body.
pub(super) async fn receive(
    store: &Arc<ObjectStore>,
    body: Option<StreamingBlob>,
    headers: &HeaderMap,
    trailing: Option<&TrailingHeaders>,
) -> S3Result<(Whole, Checksums)> {
    let hasher = hasher(headers);
    let mut writing = Writing {
        incoming: None,
        hasher,
    };
    let mut pending = Vec::new();
    let mut pending_bytes = 0;
    let mut body = body;
    while let Some(chunk) = match &mut body {
        Some(body) => body.next().await,
        None => None,
    } {
        let chunk =
            chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        pending_bytes += chunk.len();
        pending.push(chunk);
        if pending_bytes >= STEP_BYTES {
            let chunks = std::mem::take(&mut pending);
            pending_bytes = 0;
            writing = store
                .run(move |store| writing.write(store, &chunks))
                .await
                .map_err(refusal)?;
            if writing.size() > BYTES_MAX {
                return Err(S3Error::new(S3ErrorCode::EntityTooLarge));
            }
        }
    }
    let (incoming, hasher) = store
        .run(move |store| writing.write(store, &pending)?.done(store))
        .await
        .map_err(refusal)?;
    let whole = incoming.end();
    let checksums = computed(hasher);
    compare(headers, &checksums)?;
    if let Some(trailing) = trailing.and_then(TrailingHeaders::take) {
        compare(&trailing, &checksums)?;
    }
    if let Some(md5) = headers.get("content-md5")
        && md5.as_bytes() != STANDARD.encode(whole.md5()).as_bytes()
    {
        return Err(S3Error::new(S3ErrorCode::BadDigest));
    }
    Ok((whole, checksums))
}

/// The bytes of an object as they lie in `pieces`. What is small is read by the caller already.
pub(super) fn send(store: &Arc<ObjectStore>, first: Bytes, pieces: Vec<Piece>) -> StreamingBlob {
    if pieces.is_empty() {
        return Body::from(first).into();
    }
    let store = Arc::clone(store);
    let rest = stream::unfold(pieces, move |pieces| {
        let store = Arc::clone(&store);
        async move {
            match store.run(move |_| Ok(read_on(pieces)?)).await {
                Ok((None, _)) => None,
                Ok((Some(bytes), pieces)) => Some((Ok(bytes), pieces)),
                Err(_) => Some((
                    Err(std::io::Error::other("the object could not be read on")),
                    Vec::new(),
                )),
            }
        }
    });
    // Whoever reads it polls once more at its end.
    StreamingBlob::wrap(stream::once(async { Ok(first) }).chain(rest).fuse())
}

/// The next bytes of the pieces, and the pieces that are left.
pub(super) fn read_on(mut pieces: Vec<Piece>) -> std::io::Result<(Option<Bytes>, Vec<Piece>)> {
    while let Some(piece) = pieces.first_mut() {
        if let Some(bytes) = piece.read(STEP_BYTES)? {
            return Ok((Some(bytes), pieces));
        }
        pieces.remove(0);
    }
    Ok((None, pieces))
}

struct Writing {
    incoming: Option<Incoming>,
    hasher: ChecksumHasher,
}

impl Writing {
    fn write(mut self, store: &ObjectStore, chunks: &[Bytes]) -> Result<Self, Fault> {
        let mut incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => store.incoming()?,
        };
        for chunk in chunks {
            self.hasher.update(chunk);
            incoming.write(chunk)?;
        }
        self.incoming = Some(incoming);
        Ok(self)
    }

    fn size(&self) -> u64 {
        self.incoming.as_ref().map_or(0, Incoming::size)
    }

    fn done(self, store: &ObjectStore) -> Result<(Incoming, ChecksumHasher), Fault> {
        let incoming = match self.incoming {
            Some(incoming) => incoming,
            None => store.incoming()?,
        };
        Ok((incoming, self.hasher))
    }
}

/// Computes what the request gives, announces as a trailer, or names as the SDK's choice.
fn hasher(headers: &HeaderMap) -> ChecksumHasher {
    let named = |algorithm: &str| {
        let header = format!("{CHECKSUM_HEADER}{algorithm}");
        headers.contains_key(&header)
            || lists(headers, "x-amz-trailer", &header)
            || lists(headers, "x-amz-sdk-checksum-algorithm", algorithm)
    };
    ChecksumHasher {
        crc32: named("crc32").then(Crc32::new),
        crc32c: named("crc32c").then(Crc32c::new),
        sha1: named("sha1").then(Sha1::new),
        sha256: named("sha256").then(Sha256::new),
        crc64nvme: named("crc64nvme").then(Crc64Nvme::new),
    }
}

fn lists(headers: &HeaderMap, header: &str, wanted: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case(wanted))
}

fn computed(hasher: ChecksumHasher) -> Checksums {
    let sums = hasher.finalize();
    [
        ("crc32", sums.checksum_crc32),
        ("crc32c", sums.checksum_crc32c),
        ("crc64nvme", sums.checksum_crc64nvme),
        ("sha1", sums.checksum_sha1),
        ("sha256", sums.checksum_sha256),
    ]
    .into_iter()
    .filter_map(|(algorithm, sum)| Some((algorithm.to_owned(), sum?)))
    .collect()
}

fn compare(headers: &HeaderMap, computed: &Checksums) -> S3Result<()> {
    for algorithm in ALGORITHMS {
        let Some(given) = headers.get(format!("{CHECKSUM_HEADER}{algorithm}")) else {
            continue;
        };
        let held = computed.get(algorithm);
        if held.is_none_or(|held| held.as_bytes() != given.as_bytes()) {
            return Err(S3Error::with_message(
                S3ErrorCode::BadDigest,
                "The checksum you specified did not match the calculated checksum.",
            ));
        }
    }
    Ok(())
}
