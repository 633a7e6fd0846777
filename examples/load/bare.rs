//! Bare calls of the AWS SDK in a process of their own, to hold the server's calls against.
#![expect(
    clippy::disallowed_types,
    reason = "a bare call is one without our adapter"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use crate::Result;
use crate::stub::Stub;

/// The process that makes bare calls. Dropped, it is killed.
pub(crate) struct BareSdk {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl BareSdk {
    /// Starts this program again, to get the row `partition`, `sort` of `stub`.
    pub(crate) fn start(stub: &Stub, partition: &str, sort: &str) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--bare-sdk", "agent-mesh-kv", partition, sort])
            .env_clear()
            .envs(stub.variables())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        match (input, output) {
            (Some(input), Some(output)) => Ok(Self {
                process,
                input,
                output: BufReader::new(output),
            }),
            _ => Err("a child has no pipes".into()),
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Makes `count` calls, one after the other. What each took, as it is seen from inside the process:
    /// no pipe is in it.
    pub(crate) fn calls(&mut self, count: usize) -> Result<Vec<Duration>> {
        writeln!(self.input, "{count}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let nanoseconds: Vec<u64> = serde_json::from_str(&line)?;
        Ok(nanoseconds.into_iter().map(Duration::from_nanos).collect())
    }
}

impl Drop for BareSdk {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is that process, until its input ends: a line with a number asks for that many calls.
pub(crate) fn serve(row: &[String]) -> Result<bool> {
    let [table, partition, sort] = row else {
        return Err("the row is named by its table, partition and sort key".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let config = runtime.block_on(aws_config::load_defaults(BehaviorVersion::latest()));
    let row = GetRow {
        client: aws_sdk_dynamodb::Client::new(&config),
        table: table.clone(),
        partition: partition.clone(),
        sort: sort.clone(),
    };
    for line in std::io::stdin().lock().lines() {
        let count: usize = line?.trim().parse()?;
        // On a worker of the runtime, as the server's calls are: to be polled by the thread that waits here
        // would cost each call a change of threads.
        let taken = runtime.block_on(runtime.spawn(row.clone().calls(count)))??;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&taken)?)?;
        out.flush()?;
    }
    Ok(true)
}

/// What a bare call gets.
#[derive(Clone)]
struct GetRow {
    client: aws_sdk_dynamodb::Client,
    table: String,
    partition: String,
    sort: String,
}

impl GetRow {
    /// Gets it `count` times, one after the other. What each took, in nanoseconds.
    async fn calls(self, count: usize) -> Result<Vec<u64>> {
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            let answer = self
                .client
                .get_item()
                .table_name(&self.table)
                .key("PK", AttributeValue::S(self.partition.clone()))
                .key("SK", AttributeValue::S(self.sort.clone()))
                .consistent_read(false)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await?;
            taken.push(u64::try_from(started.elapsed().as_nanos())?);
            answer.item.ok_or("the row is not there")?;
        }
        Ok(taken)
    }
}
