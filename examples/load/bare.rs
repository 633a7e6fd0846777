//! Bare calls of the AWS SDK in a process of their own, to hold the server's calls against.

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
    runtime.block_on(async {
        let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
        #[expect(
            clippy::disallowed_types,
            reason = "a bare call is one without our adapter"
        )]
        let client = aws_sdk_dynamodb::Client::new(&config);
        for line in std::io::stdin().lock().lines() {
            let count: usize = line?.trim().parse()?;
            let mut taken = Vec::with_capacity(count);
            for _ in 0..count {
                let started = Instant::now();
                let answer = client
                    .get_item()
                    .table_name(table)
                    .key("PK", AttributeValue::S(partition.clone()))
                    .key("SK", AttributeValue::S(sort.clone()))
                    .consistent_read(false)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await?;
                taken.push(u64::try_from(started.elapsed().as_nanos())?);
                answer.item.ok_or("the row is not there")?;
            }
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", serde_json::to_string(&taken)?)?;
            out.flush()?;
        }
        Ok(true)
    })
}
