//! Server-sent events of a response, each of a bounded size.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use reqwest::Response;
use sse_stream::{Sse, SseByteStream};

use super::failure::Failure;
use crate::mesh::upstream::MESSAGE_BYTES_MAX;

/// The most bytes of one event: a message, and its names of fields, id and comments.
pub(super) const EVENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (64 << 10);

/// The events of a response, up to the first thing that is none.
pub(super) type EventStream = BoxStream<'static, Result<Sse, Failure>>;

/// Why the bytes of a stream are not read on.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("the connection broke")]
    Broken(#[source] reqwest::Error),
    #[error("an event is over {EVENT_BYTES_MAX} bytes")]
    TooLarge,
}

/// Counts the bytes of an event as it comes in, before anything is kept of it.
#[derive(Debug, Default)]
struct Measure {
    event_bytes: usize,
    line_bytes: usize,
    /// A line feed that follows belongs to the line before.
    after_return: bool,
}

/// The events of `response`.
pub(super) fn events(response: Response) -> EventStream {
    let bytes = response.bytes_stream();
    events_of(bytes.map(|chunk| chunk.map_err(|error| Unread::Broken(error.without_url()))))
}

fn events_of(bytes: impl Stream<Item = Result<Bytes, Unread>> + Send + 'static) -> EventStream {
    let mut measure = Measure::default();
    let measured = bytes.map(move |chunk| {
        let chunk = chunk?;
        match measure.fits(&chunk) {
            true => Ok(chunk),
            false => Err(Unread::TooLarge),
        }
    });
    SseByteStream::new(measured)
        .map(|event| match event {
            Ok(event) if is_too_large(&event) => Err(Failure::too_large()),
            Ok(event) => Ok(event),
            Err(error) => Err(failure(error)),
        })
        .boxed()
}

fn is_too_large(event: &Sse) -> bool {
    let bytes = event.data.as_ref().map_or(0, String::len);
    bytes > MESSAGE_BYTES_MAX
}

fn failure(error: sse_stream::Error) -> Failure {
    match error {
        sse_stream::Error::Body(cause) => match cause.downcast_ref::<Unread>() {
            Some(Unread::TooLarge) => Failure::too_large(),
            _ => {
                let failure = Failure::broken_off();
                Failure::after(failure.error.caused_by(cause))
            }
        },
        error => {
            let failure = Failure::garbage("sent what are no events");
            Failure::after(failure.error.caused_by(error))
        }
    }
}

impl Measure {
    /// Whether every event is still within its size after `chunk`.
    fn fits(&mut self, chunk: &[u8]) -> bool {
        for &byte in chunk {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' if self.line_bytes == 0 => self.event_bytes = 0,
                b'\n' | b'\r' => {
                    self.event_bytes += self.line_bytes + 1;
                    self.line_bytes = 0;
                }
                _ => self.line_bytes += 1,
            }
            if self.event_bytes + self.line_bytes > EVENT_BYTES_MAX {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(chunks: Vec<Vec<u8>>) -> Vec<Result<Sse, Failure>> {
        let chunks = chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)));
        events_of(futures::stream::iter(chunks)).collect().await
    }

    #[tokio::test]
    async fn an_event_is_the_same_however_it_is_cut() {
        let text = ": hello\r\nid: 7\r\ndata: {\"ä\":\r\ndata: 1}\r\n\r\ndata:x\n\n";
        let whole = read(vec![text.into()]).await;
        let cut = read(text.bytes().map(|byte| vec![byte]).collect()).await;
        for events in [whole, cut] {
            let data: Vec<_> = events.iter().map(|event| event.as_ref().unwrap()).collect();
            assert_eq!(data[0].data.as_deref(), Some("{\"ä\":\n1}"));
            assert_eq!(data[0].id.as_deref(), Some("7"));
            assert_eq!(data[1].data.as_deref(), Some("x"));
            assert_eq!(data.len(), 2);
        }
    }

    #[tokio::test]
    async fn an_event_holds_a_message_of_the_full_size_and_no_byte_more() {
        let event = |bytes: usize| {
            let mut event = b"id: 1\r\ndata: ".to_vec();
            event.resize(event.len() + bytes, b'x');
            event.extend_from_slice(b"\r\n\r\n");
            event
                .chunks(1 << 16)
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        };
        let events = read(event(MESSAGE_BYTES_MAX)).await;
        assert_eq!(
            events[0].as_ref().unwrap().data.as_ref().unwrap().len(),
            MESSAGE_BYTES_MAX
        );
        let events = read(event(MESSAGE_BYTES_MAX + 1)).await;
        assert!(
            events[0]
                .as_ref()
                .unwrap_err()
                .error
                .message()
                .contains("32 MiB")
        );
    }

    #[test]
    fn lines_without_end_and_events_without_end_do_not_fit() {
        for line in ["data: x\r\n", "data: x\r", "data: x\n", ":\n", "x"] {
            let mut measure = Measure::default();
            let chunk = line.repeat(1 << 16);
            let reads = (0..).take_while(|_| measure.fits(chunk.as_bytes())).count();
            let bytes = reads * chunk.len();
            assert!(bytes <= 2 * EVENT_BYTES_MAX, "{line:?} went on for {bytes}");
        }
        let mut measure = Measure::default();
        let chunk = b": alive\r\n\r\n".repeat(1 << 16);
        assert!(
            (0..100).all(|_| measure.fits(&chunk)),
            "beats of the heart never end"
        );
    }

    #[tokio::test]
    async fn what_is_no_text_ends_the_stream() {
        let events = read(vec![b"data: \xff\xfe\n\ndata: 1\n\n".to_vec()]).await;
        assert_eq!(events.len(), 1);
        assert!(events[0].is_err());
    }
}
