//! Figures, printed by `cargo test --lib figures -- --ignored --nocapture --test-threads=1`.

use std::time::Instant;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};

use super::dynamodb::{row, text};
use super::*;

/// Time on the processor of all threads of this process, in microseconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks * 10_000.0
}

struct Watch {
    start: Instant,
    cpu: f64,
    slowest: Vec<f64>,
}

impl Watch {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            cpu: cpu(),
            slowest: Vec::new(),
        }
    }

    fn lap(&mut self, since: Instant) {
        self.slowest.push(since.elapsed().as_secs_f64() * 1e6);
    }

    fn print(mut self, name: &str) {
        self.slowest.sort_by(f64::total_cmp);
        let count = self.slowest.len();
        println!(
            "{name:24} {:8.0} µs wall {:8.0} µs CPU {:8.0} µs p50 {:8.0} µs p99 {:8.0} µs max",
            self.start.elapsed().as_secs_f64() * 1e6 / count as f64,
            (cpu() - self.cpu) / count as f64,
            self.slowest[count / 2],
            self.slowest[count * 99 / 100],
            self.slowest[count - 1],
        );
    }
}

/// Resident memory of this process in MiB.
fn memory() -> usize {
    let stat = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
    (pages * 4096) >> 20
}

fn item(at: usize) -> std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue> {
    let mut item = row("T#local#KV#U#me", &format!("K#{at:06}"));
    item.insert("value".to_owned(), text("x".repeat(200)));
    item.insert("version".to_owned(), text("01JABCDEFGHJKMNPQRSTVWXYZ0"));
    item
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    println!("\nmemory before: {} MiB", memory());
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::start();
    let start = Instant::now();
    let opened = cloud(folder.path());
    watch.lap(start);
    watch.print("open, new");
    let mut watch = Watch::start();
    for _ in 0..20 {
        let start = Instant::now();
        let again = cloud(folder.path());
        watch.lap(start);
        drop(again);
    }
    watch.print("open, existing");
    println!("memory, open: {} MiB", memory());
    table_figures(&table(&opened)).await;
    bucket_figures(&bucket(&opened)).await;
    println!("memory after: {} MiB", memory());
    contended_figures(folder.path()).await;
}

async fn table_figures(table: &aws_sdk_dynamodb::Client) {
    let mut watch = Watch::start();
    for at in 0..5000 {
        let start = Instant::now();
        let put = table.put_item().table_name(TABLE).set_item(Some(item(at)));
        put.send().await.unwrap();
        watch.lap(start);
    }
    watch.print("PutItem");
    let mut watch = Watch::start();
    for at in 0..5000 {
        let start = Instant::now();
        let get = table.get_item().table_name(TABLE);
        let key = row("T#local#KV#U#me", &format!("K#{at:06}"));
        let got = get.set_key(Some(key)).send().await.unwrap();
        assert!(got.item.is_some());
        watch.lap(start);
    }
    watch.print("GetItem");
    let mut watch = Watch::start();
    for at in 0..400 {
        let start = Instant::now();
        let requests = (0..25).map(|row| {
            let put = PutRequest::builder().set_item(Some(item(10_000 + at * 25 + row)));
            WriteRequest::builder()
                .put_request(put.build().unwrap())
                .build()
        });
        let batch = table.batch_write_item();
        let batch = batch.request_items(TABLE, requests.collect());
        batch.send().await.unwrap();
        watch.lap(start);
    }
    watch.print("BatchWriteItem, 25 rows");
    let mut watch = Watch::start();
    for _ in 0..200 {
        let start = Instant::now();
        let query = table.query().table_name(TABLE).limit(100);
        let query = query
            .key_condition_expression("PK = :p")
            .expression_attribute_values(":p", text("T#local#KV#U#me"));
        assert_eq!(query.send().await.unwrap().count(), 100);
        watch.lap(start);
    }
    watch.print("Query, 100 rows");
}

async fn bucket_figures(bucket: &aws_sdk_s3::Client) {
    let mut watch = Watch::start();
    for at in 0..1000 {
        let start = Instant::now();
        let put = bucket.put_object().bucket(BUCKET).key(format!("k{at}"));
        put.body(vec![7; 1024].into()).send().await.unwrap();
        watch.lap(start);
    }
    watch.print("PutObject, 1 KiB");
    let mut watch = Watch::start();
    for at in 0..1000 {
        let start = Instant::now();
        let get = bucket.get_object().bucket(BUCKET).key(format!("k{at}"));
        get.send().await.unwrap().body.collect().await.unwrap();
        watch.lap(start);
    }
    watch.print("GetObject, 1 KiB");
}

/// Four opens of one folder keep each other out as four processes do.
async fn contended_figures(folder: &Path) {
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let table = table(&cloud(folder));
            tokio::spawn(async move {
                let mut laps = Vec::new();
                for at in 0..1000 {
                    let start = Instant::now();
                    let put = table.put_item().table_name(TABLE);
                    let put = put.set_item(Some(item(100_000 * writer + at)));
                    put.send().await.unwrap();
                    laps.push(start.elapsed().as_secs_f64() * 1e6);
                }
                laps
            })
        })
        .collect();
    let mut watch = Watch::start();
    for writer in writers {
        watch.slowest.extend(writer.await.unwrap());
    }
    watch.print("PutItem, 4 at once");
}
