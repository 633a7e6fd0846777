//! The body of a request: bounded in bytes and in time, and all of them together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{TurnedAway, answer};

/// In how many bytes the budget is counted.
const UNIT_BYTES: usize = 1024;

/// What the bodies of all requests may take together.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// A body that has been read, and its part of the budget.
pub(crate) struct ReadBody {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Gives the budget back when it is dropped.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is longer than it may be.
    TooLarge {
        /// How long it may be, in bytes.
        most: usize,
    },
    /// It did not come in time.
    TooSlow,
    /// The bodies of others take all there is.
    Overloaded,
    /// The client broke off.
    Broken,
}

/// How many units of the budget so many bytes take.
pub(in crate::inbound) const fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

impl BodyBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }

    /// Reads `body`, of at most `most` bytes, within `time`.
    pub(crate) async fn read(
        &self,
        body: Body,
        most: usize,
        time: Duration,
    ) -> Result<ReadBody, BodyFault> {
        tokio::time::timeout(time, self.read_all(body, most))
            .await
            .unwrap_or(Err(BodyFault::TooSlow))
    }

    async fn read_all(&self, mut body: Body, most: usize) -> Result<ReadBody, BodyFault> {
        let mut bytes = Vec::new();
        let mut place: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame.map_err(|_| BodyFault::Broken)?.into_data() else {
                continue;
            };
            let length = bytes.len() + chunk.len();
            if length > most {
                return Err(BodyFault::TooLarge { most });
            }
            let held = place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let missing = units(length).saturating_sub(held);
            if let Some(more) = self.take(missing)? {
                match &mut place {
                    Some(place) => place.merge(more),
                    None => place = Some(more),
                }
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(ReadBody { bytes, place })
    }

    /// Room for so many units; nothing where none are wanted.
    pub(in crate::inbound) fn take(
        &self,
        units: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, BodyFault> {
        if units == 0 {
            return Ok(None);
        }
        let units = u32::try_from(units).map_err(|_| BodyFault::Overloaded)?;
        Arc::clone(&self.0)
            .try_acquire_many_owned(units)
            .map(Some)
            .map_err(|_| BodyFault::Overloaded)
    }
}

impl From<BodyFault> for Response {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { most } => TurnedAway::TooLarge.mark(answer::fault(
                StatusCode::PAYLOAD_TOO_LARGE,
                "TOO_LARGE",
                &format!("the body is longer than {most} bytes"),
            )),
            BodyFault::TooSlow => TurnedAway::TooSlow.mark(answer::fault(
                StatusCode::REQUEST_TIMEOUT,
                "TIMEOUT",
                "the body did not come in time",
            )),
            BodyFault::Overloaded => answer::overloaded(
                TurnedAway::InFlight,
                "too many large requests are being read; ask again shortly",
            ),
            BodyFault::Broken => answer::fault(
                StatusCode::BAD_REQUEST,
                "INVALID_REQUEST",
                "the body could not be read to its end",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> = sizes
            .iter()
            .map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size])))
            .collect();
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_most_and_not_beyond() {
        let budget = BodyBudget::new(1 << 20);
        let read = budget
            .read(chunks(&[600, 424]), 1024, SOON)
            .await
            .map(|body| body.bytes.len());
        assert_eq!(read.unwrap(), 1024);
        let read = budget.read(chunks(&[600, 425]), 1024, SOON).await;
        assert_eq!(read.err(), Some(BodyFault::TooLarge { most: 1024 }));
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded_and_what_is_done_with_is_given_back() {
        let budget = BodyBudget::new(4096);
        let first = budget.read(chunks(&[1, 3000]), 8192, SOON).await.unwrap();
        let second = budget.read(chunks(&[1025]), 8192, SOON).await;
        assert_eq!(second.err(), Some(BodyFault::Overloaded));
        assert!(budget.read(chunks(&[1024]), 8192, SOON).await.is_ok());
        drop(first);
        assert!(budget.read(chunks(&[4096]), 8192, SOON).await.is_ok());
    }

    #[test]
    fn what_is_refused_for_its_body_says_so_to_whoever_counts() {
        for (fault, expected) in [
            (BodyFault::TooLarge { most: 1 }, Some(TurnedAway::TooLarge)),
            (BodyFault::TooSlow, Some(TurnedAway::TooSlow)),
            (BodyFault::Overloaded, Some(TurnedAway::InFlight)),
            (BodyFault::Broken, None),
        ] {
            let response = Response::from(fault);
            assert_eq!(response.extensions().get(), expected.as_ref(), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let budget = BodyBudget::new(4096);
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            budget
                .read(silent, 10, Duration::from_millis(20))
                .await
                .err(),
            Some(BodyFault::TooSlow)
        );
    }
}
