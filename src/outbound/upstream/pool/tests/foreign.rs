//! The pool against a server that is not ours: rmcp's, over a pipe in memory, in each era by itself.
#![expect(
    deprecated,
    reason = "roots are deprecated, and what old servers ask for"
)]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::{ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{connect, reached, settings};
use crate::mesh::store::Reply;
use crate::mesh::upstream::{
    ConnectionPlan, ConnectionTarget, Era, UpstreamCall, UpstreamFault, Upstreams,
};
use crate::mesh::{Error, ErrorKind, SystemClock};
use crate::outbound::upstream::UpstreamPool;
use crate::outbound::upstream::link::{INCOMING_QUEUE, Incoming, Link, Links, Opened, Outgoing};
use crate::outbound::upstream::trial::{PATIENCE, call, plan, raw};

#[derive(Clone)]
struct Foreign {
    versions: Vec<ProtocolVersion>,
    tools: Arc<AtomicUsize>,
    grown: Arc<Notify>,
    heard: Arc<Notify>,
}

impl ServerHandler for Foreign {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("foreign", "9"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Owned(self.versions.clone())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.grown.notified().await;
        context.sink().notify_tool_list_changed().await.unwrap();
        context.cancelled().await;
        Ok(())
    }

    async fn list_tools(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let named = |n: usize| Tool::new(format!("t{n}"), "a tool", serde_json::Map::new());
        let count = self.tools.load(Ordering::SeqCst);
        let mut page = ListToolsResult::default();
        // The second half on a page of its own.
        let is_first = asked.and_then(|asked| asked.cursor).is_none();
        page.tools = match is_first {
            true => (0..count / 2).map(named).collect(),
            false => (count / 2..count).map(named).collect(),
        };
        page.next_cursor = is_first.then(|| "half".to_owned());
        Ok(page)
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut seen = json!({"arguments": asked.arguments});
        match asked.name.as_ref() {
            "progress" => {
                let token = context.meta.get_progress_token().unwrap();
                let told = ProgressNotificationParam::new(token, 1.0).with_message("half");
                context.peer.notify_progress(told).await.unwrap();
            }
            "roots" => {
                let roots = context.peer.list_roots().await.unwrap();
                seen["roots"] = serde_json::to_value(roots.roots).unwrap();
            }
            "grow" => {
                self.tools.fetch_add(1, Ordering::SeqCst);
                self.grown.notify_one();
                let _ = context.peer.notify_tool_list_changed().await;
            }
            "hang" => {
                context.ct.cancelled().await;
                self.heard.notify_one();
            }
            "refuse" => return Err(ErrorData::invalid_params("not so", Some(json!({"k": 1})))),
            _ => {}
        }
        Ok(CallToolResult::structured(seen).into())
    }
}

struct Pipes(Foreign);

struct Pipe {
    lines: mpsc::Sender<String>,
    _tasks: JoinSet<()>,
}

impl Links for Pipes {
    fn open<'a>(&'a self, _: &'a ConnectionPlan) -> Reply<'a, Opened> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = self.0.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Ok(serving) = server.serve(theirs).await {
                let _ = serving.waiting().await;
            }
        });
        let (read, mut write) = tokio::io::split(ours);
        let (say, incoming) = mpsc::channel(INCOMING_QUEUE);
        tasks.spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = say.send(Incoming::Message(line)).await;
            }
        });
        let (lines, mut sent) = mpsc::channel::<String>(16);
        tasks.spawn(async move {
            while let Some(line) = sent.recv().await {
                write
                    .write_all(format!("{line}\n").as_bytes())
                    .await
                    .unwrap();
            }
        });
        let link = Arc::new(Pipe {
            lines,
            _tasks: tasks,
        });
        async move { Ok(Opened { link, incoming }) }.boxed()
    }

    fn check(&self, _: &ConnectionTarget) -> Result<(), Error> {
        Ok(())
    }
}

impl Link for Pipe {
    fn send(&self, message: Outgoing) -> Reply<'_, ()> {
        async move {
            let sent = self.lines.send(message.text).await;
            sent.map_err(|_| Error::new(ErrorKind::UpstreamUnavailable, "the pipe is closed"))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

async fn ask(
    upstream: &Arc<dyn crate::mesh::upstream::Upstream>,
    asked: UpstreamCall<'_>,
) -> Value {
    let answer = timeout(PATIENCE, upstream.call(asked))
        .await
        .unwrap()
        .unwrap();
    let result: Value = serde_json::from_str(answer.get()).unwrap();
    result["structuredContent"].clone()
}

#[tokio::test]
async fn a_foreign_server_is_spoken_with_in_each_era() {
    for (era, versions) in [
        (Era::Sessions, vec![ProtocolVersion::V_2025_06_18]),
        (Era::Stateless, vec![ProtocolVersion::V_2026_07_28]),
        (Era::Stateless, ProtocolVersion::KNOWN_VERSIONS.to_vec()),
    ] {
        let foreign = Foreign {
            versions,
            tools: Arc::new(AtomicUsize::new(3)),
            grown: Arc::default(),
            heard: Arc::default(),
        };
        let links = Arc::new(Pipes(foreign.clone()));
        let pool = UpstreamPool::new(links, Arc::new(SystemClock::new()), settings());
        let plan = ConnectionPlan {
            era: None,
            ..plan("ann", "1")
        };
        let upstream = connect(&pool, plan).await.unwrap();
        let identity = upstream.identity();
        assert_eq!((identity.name.as_str(), identity.era), ("foreign", era));
        assert_eq!(upstream.tools().await.unwrap().len(), 3);
        upstream.ping().await.unwrap();
        let arguments = raw(&json!({"a": [1]}));
        let seen = ask(&upstream, call("echo", Some(&arguments))).await;
        assert_eq!(seen["arguments"], json!({"a": [1]}));

        let (progress, mut told) = mpsc::channel(4);
        let wanted = UpstreamCall {
            progress: Some(progress),
            ..call("progress", None)
        };
        ask(&upstream, wanted).await;
        assert_eq!(told.recv().await.unwrap().message, "half");

        let refused = upstream.call(call("refuse", None)).await.unwrap_err();
        let UpstreamFault::Refused {
            code,
            message,
            data,
        } = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((code, message.as_str()), (-32602, "not so"));
        assert_eq!(data.unwrap().get(), r#"{"k":1}"#);

        let hanging = UpstreamCall {
            timeout: Duration::from_millis(20),
            ..call("hang", None)
        };
        let hung = upstream.call(hanging).await;
        assert!(matches!(hung, Err(UpstreamFault::TimedOut)));
        // It heard that nobody waits any more.
        timeout(PATIENCE, foreign.heard.notified()).await.unwrap();
        if era == Era::Sessions {
            let (input, mut asked) = mpsc::channel(4);
            let can_take = UpstreamCall {
                input: Some(input),
                ..call("roots", None)
            };
            let (seen, ()) = tokio::join!(ask(&upstream, can_take), async {
                let asked = asked.recv().await.unwrap();
                let roots = json!({"roots": [{"uri": "file:///x"}]});
                asked.answer.send(raw(&roots)).unwrap();
            });
            assert_eq!(seen["roots"][0]["uri"], "file:///x");
        }

        let before = upstream.tools_generation();
        ask(&upstream, call("grow", None)).await;
        reached(&pool, |_| upstream.tools_generation() > before).await;
        assert_eq!(upstream.tools().await.unwrap().len(), 4);
        pool.close(PATIENCE).await;
    }
}
