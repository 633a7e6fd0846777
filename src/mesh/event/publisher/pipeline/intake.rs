//! What a pipeline reads: new records, and those of tenants that were held back.

use tokio::time::Instant;

use crate::mesh::Error;
use crate::mesh::event::outbox::frame::{Kind, parse_payload, parse_tenant};
use crate::mesh::event::outbox::reader::{Found, LogReader};
use crate::mesh::event::record::Event;
use crate::mesh::tenant::TenantId;

use super::super::deferral::{Lag, RECORDS_MAX, TENANTS_MAX};
use super::super::lane::Unsettled;
use super::super::sink::{Record, Sink};
use super::Pipeline;

/// The most records that have been read and wait to be sent.
const READY_MAX: usize = 512;

/// The most bytes of frames that have been read and wait to be sent.
const READY_BYTES_MAX: u64 = 4 << 20;

/// The most frames that are read at once: of such that nothing comes of, more would fit than there is time.
const FRAMES_MAX: usize = 1024;

/// The most frames that are read at once for a tenant that was held back.
const LAG_FRAMES_MAX: usize = 4096;

/// Where no more than so many records would come together, they need not wait for each other.
const FEW: f64 = 2.0;

/// So many full batches at once need no longer linger.
const BATCHES_ENOUGH: usize = 4;

impl<S: Sink> Pipeline<S> {
    fn has_room(&self) -> bool {
        self.ready.len() < READY_MAX
            && self.ready_bytes < READY_BYTES_MAX
            && self.deferrals.len() < TENANTS_MAX
    }

    /// Reads what has been appended, as far as there is room for it.
    pub(super) async fn take_in(&mut self) {
        let mut taken = 0;
        let mut frames = 0;
        self.is_at_end = false;
        while self.has_room() && self.backoff.until().is_none() {
            frames += 1;
            if frames > FRAMES_MAX {
                // Others want the thread, too.
                self.linger_until = Some(Instant::now());
                break;
            }
            match self.reader.next() {
                Ok(Some(found)) if found.header.kind == Kind::Intent => {}
                Ok(Some(found)) => taken += self.take(found).await,
                Ok(None) => {
                    self.is_at_end = true;
                    break;
                }
                Err(error) => {
                    self.fail(Error::internal("the outbox cannot be read").caused_by(error));
                    break;
                }
            }
        }
        if taken > 0 {
            self.has_news = true;
            // How many would come together at this pace. A client that calls again as soon as it is answered
            // leaves one record at a time, and yet hundreds a second, each of which would go alone.
            let pause = self.taken_at.elapsed().as_secs_f64().max(1e-6);
            let together = taken as f64 * self.pace.linger_longest.as_secs_f64() / pause;
            self.taken_at = Instant::now();
            self.linger = match taken {
                _ if together <= FEW => self.linger / 2,
                _ if taken < BATCHES_ENOUGH * S::BATCH_MAX => self.linger * 2,
                _ => self.linger,
            }
            .clamp(self.pace.linger_shortest, self.pace.linger_longest);
        } else if std::mem::take(&mut self.has_passed) {
            self.linger = (self.linger * 2).min(S::LINGER_UNWANTED.max(self.linger));
        }
    }

    /// Takes the frame that was just read; answers how many records it had.
    async fn take(&mut self, found: Found) -> usize {
        let until = found.header.seq + u64::from(found.header.count);
        let name = parse_tenant(self.reader.payload()).map(|(name, _)| name);
        let Some(tenant) = name.and_then(|name| name.parse::<TenantId>().ok()) else {
            tracing::error!(seq = found.header.seq, "a record of no tenant is set aside");
            self.lane.set_aside(found.header.seq);
            self.lane.read(until, []);
            return 0;
        };
        if let Some(held) = self.deferrals.get_mut(&tenant) {
            if held.lag.is_none() && held.records.len() >= RECORDS_MAX {
                let lag = Lag {
                    position: found.position,
                    seq: found.header.seq,
                };
                held.lag = Some(lag);
                self.lane.lag(&tenant, Some(lag.seq));
            }
            if held.lag.is_some() {
                self.lane.read(until, []);
                return 0;
            }
        }
        if !self.sink.wants(&tenant) {
            self.pass(&tenant, found);
            self.lane.read(until, []);
            return 0;
        }
        let is_crowd = self.is_crowd(&tenant, found.header.count);
        let records = match is_crowd {
            true => Vec::new(),
            false => self.parse(found, self.reader.payload()),
        };
        let count = records.len();
        if is_crowd || self.admit(&tenant, records).await.is_err() {
            let lag = Lag {
                position: found.position,
                seq: found.header.seq,
            };
            let held = self.deferrals.entry(&tenant);
            held.lag = Some(lag);
            if !is_crowd {
                held.failed(false);
            }
            self.lane.lag(&tenant, Some(lag.seq));
        }
        self.lane.read(until, []);
        count
    }

    /// Whether a tenant that is not held back has as many records under way as it may.
    fn is_crowd(&self, tenant: &TenantId, more: u8) -> bool {
        if S::TENANT_RECORDS_MAX == usize::MAX || self.deferrals.holds(tenant) {
            return false;
        }
        let under_way = self.crowd.get(tenant).copied().unwrap_or(0);
        under_way > 0 && under_way + usize::from(more) > S::TENANT_RECORDS_MAX
    }

    /// Nothing can come of the records of a frame.
    fn pass(&mut self, tenant: &TenantId, found: Found) {
        let (bytes, records) = (found.header.frame_bytes(), found.header.count);
        let way = self.lane.way;
        self.outbox
            .settle_all(way, tenant, bytes, u64::from(records));
        self.has_news = true;
        self.has_passed = true;
    }

    /// Takes note of a tenant's records and puts them where they wait to be sent.
    async fn admit(&mut self, tenant: &TenantId, records: Vec<Record>) -> Result<(), ()> {
        for record in &records {
            if let Err(error) = self.sink.admit(record, &self.lane).await {
                tracing::debug!(%tenant, ?error, "a tenant's records wait");
                return Err(());
            }
        }
        let unsettled = records.iter().map(|record| {
            let held = Unsettled {
                position: record.position,
                tenant: tenant.clone(),
                bytes: record.bytes,
                time: record.event.time,
            };
            (record.seq, held)
        });
        self.lane.read(0, unsettled);
        match self.deferrals.get_mut(tenant) {
            Some(held) => records.into_iter().for_each(|record| held.put(record)),
            None => {
                self.ready_bytes += records.iter().map(|record| record.bytes).sum::<u64>();
                if S::TENANT_RECORDS_MAX < usize::MAX {
                    *self.crowd.entry(tenant.clone()).or_default() += records.len();
                }
                self.ready.extend(records);
            }
        }
        Ok(())
    }

    /// The records of a frame; what cannot be read is set aside.
    fn parse(&self, found: Found, payload: &[u8]) -> Vec<Record> {
        let count = u64::from(found.header.count.max(1));
        let each = found.header.frame_bytes() / count;
        let rest = found.header.frame_bytes() % count;
        let (tenant, events) = parse_payload(payload).unzip();
        let mut records = Vec::new();
        for (seq, json) in (found.header.seq..).zip(events.unwrap_or_default()) {
            let bytes = each + if seq == found.header.seq { rest } else { 0 };
            match serde_json::from_slice::<Event>(json) {
                Ok(event) if Some(&event.tenant_id) == tenant.as_ref() => records.push(Record {
                    seq,
                    position: found.position,
                    bytes,
                    event,
                }),
                other => {
                    let writer = self.log.writer();
                    tracing::error!(%writer, seq, error = ?other.err(), "a record that cannot be read is set aside");
                    self.lane.set_aside(seq);
                    if let Some(tenant) = &tenant {
                        self.outbox.settle(self.lane.way, [(tenant, bytes)]);
                    }
                }
            }
        }
        records
    }

    /// Reads on for tenants that were held back and may be tried again.
    pub(super) async fn catch_up(&mut self) {
        if self.deferrals.is_empty() || self.backoff.until().is_some() {
            return;
        }
        for tenant in self.deferrals.due() {
            let held = self.deferrals.entry(&tenant);
            if let Some(lag) = held.lag
                && held.records.len() < RECORDS_MAX / 2
            {
                held.lag = None;
                let lag = self.read_on(&tenant, lag).await;
                self.deferrals.entry(&tenant).lag = lag;
                self.lane.lag(&tenant, lag.map(|lag| lag.seq));
                self.has_news = true;
            }
            self.deferrals.forget_idle(&tenant);
        }
    }

    /// Reads records of `tenant` from `lag` on; answers where it stopped, if not where all are read.
    async fn read_on(&mut self, tenant: &TenantId, lag: Lag) -> Option<Lag> {
        let mut reader = LogReader::new(self.log.clone(), lag.position);
        let mut seq = lag.seq;
        for _ in 0..LAG_FRAMES_MAX {
            let found = match reader.next() {
                Ok(Some(found)) if found.position < self.reader.position() => found,
                Ok(_) => return None,
                Err(error) => {
                    self.fail(Error::internal("the outbox cannot be read").caused_by(error));
                    let position = reader.position();
                    return Some(Lag { position, seq });
                }
            };
            if found.header.kind == Kind::Intent {
                continue;
            }
            let stop = Some(Lag {
                position: found.position,
                seq: found.header.seq,
            });
            seq = found.header.seq + u64::from(found.header.count);
            let name = parse_tenant(reader.payload()).map(|(name, _)| name);
            if name != Some(tenant.as_str()) {
                continue;
            }
            if self.deferrals.entry(tenant).records.len() >= RECORDS_MAX {
                return stop;
            }
            if !self.sink.wants(tenant) {
                self.pass(tenant, found);
                continue;
            }
            let records = self.parse(found, reader.payload());
            if self.admit(tenant, records).await.is_err() {
                self.deferrals.entry(tenant).failed(false);
                return stop;
            }
        }
        let position = reader.position();
        Some(Lag { position, seq })
    }
}
