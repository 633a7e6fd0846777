//! A server whose every request is answered by the test itself, byte by byte if need be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::header::HeaderMap;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::within;

/// The name that the certificate of the tests is made for.
pub(super) const CERTIFIED: &str = "mcp.example.com";

static CERTIFICATE: LazyLock<CertifiedKey<rcgen::KeyPair>> =
    LazyLock::new(|| generate_simple_self_signed([CERTIFIED.to_owned()]).unwrap());

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Socket = BufReader<Box<dyn Stream>>;

/// A server on loopback.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    exchanges: mpsc::UnboundedReceiver<Exchange>,
}

/// One request, and the connection to answer it on. Dropped, the connection is closed.
pub(super) struct Exchange {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    /// Which connection it came by, counted from 0.
    pub(super) connection: usize,
    socket: Socket,
    back: oneshot::Sender<Socket>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), 0, false).await
    }

    pub(super) async fn start_at(address: IpAddr, port: u16, tls: bool) -> Self {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, exchanges) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for connection in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let sender = sender.clone();
                tokio::spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        false => Box::new(tcp),
                        true => match acceptor().accept(tcp).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    serve(BufReader::new(stream), connection, sender).await;
                });
            }
        });
        Self { address, exchanges }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The next request, of whichever connection.
    pub(super) async fn next(&mut self) -> Exchange {
        within(self.exchanges.recv()).await.unwrap()
    }

    /// That no request has come so far.
    pub(super) fn saw_nothing(&mut self) -> bool {
        self.exchanges.try_recv().is_err()
    }
}

async fn serve(mut socket: Socket, connection: usize, sender: mpsc::UnboundedSender<Exchange>) {
    while let Some((line, headers, body)) = read(&mut socket).await {
        let mut words = line.split(' ').map(str::to_owned);
        let (back, given_back) = oneshot::channel();
        let exchange = Exchange {
            method: words.next().unwrap(),
            path: words.next().unwrap(),
            headers,
            body,
            connection,
            socket,
            back,
        };
        if sender.send(exchange).is_err() {
            return;
        }
        match given_back.await {
            Ok(returned) => socket = returned,
            Err(_) => return,
        }
    }
}

async fn read(socket: &mut Socket) -> Option<(String, HeaderMap, String)> {
    let mut line = String::new();
    socket
        .read_line(&mut line)
        .await
        .ok()
        .filter(|&bytes| bytes > 0)?;
    let mut headers = HeaderMap::new();
    loop {
        let mut header = String::new();
        socket.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        headers.append(name, value.trim().parse().unwrap());
    }
    let bytes = headers
        .get("content-length")
        .map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; bytes];
    socket.read_exact(&mut body).await.ok()?;
    Some((line, headers, String::from_utf8(body).unwrap()))
}

impl Exchange {
    /// The id of the request that came.
    pub(super) fn id(&self) -> i64 {
        let message: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        message["id"].as_i64().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Writes what it is told; whether the other side still takes it.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let written = self.socket.write_all(bytes.as_ref()).await;
        written.is_ok() && self.socket.flush().await.is_ok()
    }

    /// Answers with a status, headers and a body, and waits for the next request.
    pub(super) async fn answer(mut self, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        self.write(text + "\r\n" + body).await;
        self.done();
    }

    pub(super) async fn json(self, body: &str) {
        self.answer(200, &[("content-type", "application/json")], body)
            .await;
    }

    pub(super) async fn status(self, status: u16) {
        self.answer(status, &[], "").await;
    }

    /// Begins a stream of events.
    pub(super) async fn stream(&mut self) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        self.write(head).await;
    }

    /// One chunk of a body.
    pub(super) async fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(chunk).await
    }

    /// Ends a stream in an orderly way.
    pub(super) async fn end(mut self) {
        self.write("0\r\n\r\n").await;
        self.done();
    }

    fn done(self) {
        let _ = self.back.send(self.socket);
    }

    /// Waits until the other side has closed the connection.
    pub(super) async fn closed(mut self) {
        let mut rest = Vec::new();
        let _ = within(self.socket.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "it only closes");
    }
}

/// TLS of a server, with the certificate of the tests.
pub(super) fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(CERTIFICATE.signing_key.serialize_der()).unwrap();
    let chain = vec![CERTIFICATE.cert.der().clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// TLS of a client that trusts the certificate of the tests.
pub(super) fn client_tls() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CERTIFICATE.cert.der().clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
