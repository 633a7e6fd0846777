//! The way onto the bus.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ulid::Ulid;

use super::lane::Lane;
use super::sink::{Record, Sent, Sink, Verdict, is_refusal};
use crate::mesh::event::detail::{Detail, bus_source};
use crate::mesh::store::Bus;
use crate::mesh::store::bus::{BusEntry, ENTRIES_BYTES_MAX, ENTRIES_MAX, EntryFault};
use crate::mesh::{Error, ErrorKind};

/// What the detail adds to a record at most: writer, number and version.
const ENVELOPE_BYTES: usize = 256;

/// Sends records to the bus.
pub(super) struct BusSink {
    bus: Arc<dyn Bus>,
    writer: Ulid,
}

impl BusSink {
    pub(super) fn new(bus: Arc<dyn Bus>, writer: Ulid) -> Self {
        Self { bus, writer }
    }
}

impl Sink for BusSink {
    const BATCH_MAX: usize = ENTRIES_MAX;
    const BATCH_BYTES_MAX: usize = ENTRIES_BYTES_MAX;
    const BATCHES_MAX: usize = 8;

    fn weigh(record: &Record) -> usize {
        // The frame's share has everything of the entry but what the envelope adds.
        record.bytes as usize + ENVELOPE_BYTES
    }

    async fn admit(&mut self, _record: &Record, _lane: &Lane) -> Result<(), Error> {
        Ok(())
    }

    fn send(&self, records: Vec<Record>) -> BoxFuture<'static, Sent> {
        let (bus, writer) = (self.bus.clone(), self.writer);
        async move {
            let entries: Result<Vec<BusEntry>, Error> =
                records.iter().map(|record| entry(record, writer)).collect();
            let result = match entries {
                Ok(entries) => put(&*bus, &entries).await,
                Err(error) => Err(error),
            };
            Sent { records, result }
        }
        .boxed()
    }
}

fn entry(record: &Record, writer: Ulid) -> Result<BusEntry, Error> {
    let event = &record.event;
    Ok(BusEntry {
        time: event.time,
        source: bus_source(event.tenant_id.as_str()),
        detail_type: event.detail_type.clone().into_owned(),
        detail: Detail::of(event, writer, record.seq).to_json()?,
    })
}

/// Puts the entries; where the bus refuses all of them as wrong, one by one, to find the one that is.
async fn put(bus: &dyn Bus, entries: &[BusEntry]) -> Result<Vec<Verdict>, Error> {
    match bus.put(entries).await {
        Ok(answers) => verdicts(entries.len(), answers),
        Err(error) if is_refusal(error.kind()) && entries.len() > 1 => {
            let mut verdicts = Vec::with_capacity(entries.len());
            for entry in entries {
                verdicts.push(match bus.put(std::slice::from_ref(entry)).await {
                    Ok(answers) => answers.into_iter().next().map_or_else(unanswered, verdict),
                    Err(error) if is_refusal(error.kind()) => Verdict::Refused(error),
                    Err(error) => Verdict::Retry(error),
                });
            }
            Ok(verdicts)
        }
        Err(error) if is_refusal(error.kind()) => Ok(vec![Verdict::Refused(error)]),
        Err(error) => Err(error),
    }
}

fn verdicts(sent: usize, answers: Vec<Result<(), EntryFault>>) -> Result<Vec<Verdict>, Error> {
    let is_down = |answer: &Result<(), EntryFault>| {
        matches!(answer, Err(fault) if matches!(
            fault.kind,
            ErrorKind::AwsThrottled | ErrorKind::AwsUnavailable | ErrorKind::AwsCredentials
        ))
    };
    if answers.len() == sent
        && answers.iter().all(is_down)
        && let Some(Err(fault)) = answers.first()
    {
        return Err(error_of(fault.clone()));
    }
    let mut verdicts: Vec<Verdict> = answers.into_iter().take(sent).map(verdict).collect();
    verdicts.resize_with(sent, unanswered);
    Ok(verdicts)
}

fn verdict(answer: Result<(), EntryFault>) -> Verdict {
    match answer {
        Ok(()) => Verdict::Done,
        Err(fault) if is_refusal(fault.kind) => Verdict::Refused(error_of(fault)),
        Err(fault) => Verdict::Retry(error_of(fault)),
    }
}

fn unanswered() -> Verdict {
    Verdict::Retry(Error::internal("the bus gave no answer for an entry"))
}

fn error_of(fault: EntryFault) -> Error {
    Error::new(fault.kind, "the bus did not take an event").caused_by(fault.message)
}
