use super::*;
use axum::http::HeaderMap;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::stream::relay::{Output, Terms, relay};
use crate::takeover::stream_head;

/// Echoes what comes after a takeover, answers everything else with a word.
#[derive(Clone)]
struct Fake;

impl Answer for Fake {
    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/slow" {
            std::future::pending::<()>().await;
        }
        if path.ends_with("/attach") {
            let doorway = request.extensions_mut().remove::<Doorway>().expect("a doorway");
            let upgrade = request.headers().contains_key("upgrade");
            let head = stream_head(upgrade, "application/vnd.docker.raw-stream", &HeaderMap::new());
            let session = async move |client: Client| {
                let (engine, container) = UnixStream::pair().expect("a pair");
                tokio::spawn(echo(container));
                let terms = Terms { stdin: true, keys: None, output: Output::AsItIs };
                relay(client, engine, terms, std::future::ready(None)).await;
            };
            match doorway.take(head, session).await {}
        }
        Response::new(Body::from("word"))
    }
}

/// A container that answers what it reads, and says goodbye at the end of its input.
async fn echo(mut container: UnixStream) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = container.read(&mut piece).await {
        container.write_all(&piece[..length]).await.expect("writes");
    }
    container.write_all(b"bye").await.expect("writes");
}

struct Setup {
    client: UnixStream,
    end: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn setup(head_time: Duration) -> Setup {
    let (client, server) = UnixStream::pair().expect("a pair");
    let (end, ending) = watch::channel(false);
    let task = tokio::spawn(serve(Socket::Unix(server), Fake, head_time, ending));
    Setup { client, end, task }
}

async fn read_all(mut client: UnixStream) -> String {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("reads");
    String::from_utf8(bytes).expect("text")
}

async fn read_until(client: &mut UnixStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(wanted) {
        let byte = client.read_u8().await.expect("more");
        bytes.push(byte);
    }
    String::from_utf8(bytes).expect("text")
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let mut setup = setup(SECOND);
    for _ in 0..3 {
        setup.client.write_all(b"GET /x HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("writes");
        let answer = read_until(&mut setup.client, "word").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    drop(setup.client);
    setup.task.await.expect("ends with the client");
}

#[tokio::test]
async fn with_an_upgrade_the_answer_is_101() {
    let mut setup = setup(SECOND);
    let request = "POST /c/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
    setup.client.write_all(request.as_bytes()).await.expect("writes");
    let head = read_until(&mut setup.client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    assert!(head.contains("\r\nUpgrade: tcp\r\n"), "{head}");
    setup.client.write_all(b"one").await.expect("writes");
    assert_eq!(read_until(&mut setup.client, "one").await, "one");
    setup.client.shutdown().await.expect("half-closes");
    assert_eq!(read_all(setup.client).await, "bye");
}

#[tokio::test]
async fn without_an_upgrade_the_answer_is_a_bare_200() {
    let mut setup = setup(SECOND);
    setup.client.write_all(b"POST /c/attach HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("writes");
    let head = read_until(&mut setup.client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for absent in ["Content-Length", "Transfer-Encoding", "Connection"] {
        assert!(!head.contains(absent), "{head}");
    }
    setup.client.write_all(b"two").await.expect("writes");
    assert_eq!(read_until(&mut setup.client, "two").await, "two");
    setup.client.shutdown().await.expect("half-closes");
    assert_eq!(read_all(setup.client).await, "bye");
}

#[tokio::test]
async fn what_was_sent_along_with_the_request_is_not_lost() {
    let mut setup = setup(SECOND);
    // Request, input and half-close in one go, as `nc -N` does it.
    setup
        .client
        .write_all(b"POST /c/attach HTTP/1.1\r\nHost: d\r\n\r\nearly")
        .await
        .expect("writes");
    setup.client.shutdown().await.expect("half-closes");
    let all = read_all(setup.client).await;
    assert!(all.ends_with("\r\n\r\nearlybye"), "{all}");
}

#[tokio::test]
async fn an_early_half_close_does_not_end_an_attach() {
    let mut setup = setup(SECOND);
    setup.client.write_all(b"POST /c/attach HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("writes");
    setup.client.shutdown().await.expect("half-closes");
    let all = read_all(setup.client).await;
    assert!(all.ends_with("\r\n\r\nbye"), "{all}");
}

#[tokio::test]
async fn a_client_that_goes_cancels_its_request() {
    let mut setup = setup(SECOND);
    setup.client.write_all(b"GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("writes");
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(setup.client);
    tokio::time::timeout(SECOND, setup.task).await.expect("ends soon").expect("no panic");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let mut setup = setup(Duration::from_millis(50));
    tokio::time::sleep(Duration::from_millis(120)).await;
    // An idle connection may stay; half a head may not.
    setup.client.write_all(b"GET /x HTTP/1.1\r\nHos").await.expect("still open");
    assert_eq!(tokio::time::timeout(SECOND, read_all(setup.client)).await, Ok(String::new()));
}

#[tokio::test]
async fn the_end_of_the_daemon_ends_idle_connections_and_streams() {
    let mut attached = setup(SECOND);
    attached.client.write_all(b"POST /c/attach HTTP/1.1\r\nHost: d\r\n\r\n").await.expect("writes");
    read_until(&mut attached.client, "\r\n\r\n").await;
    let idle = setup(SECOND);
    for setup in [attached, idle] {
        setup.end.send(true).expect("is heard");
        tokio::time::timeout(SECOND, setup.task).await.expect("ends soon").expect("no panic");
    }
}

#[tokio::test]
async fn garbage_and_giant_heads_are_refused() {
    let mut setup1 = setup(SECOND);
    setup1.client.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").await.expect("writes");
    let answer = read_all(setup1.client).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut setup2 = setup(SECOND);
    let giant = format!("GET /x HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "a".repeat(2 * MAX_HEAD));
    // The daemon may close before it has read all of it.
    drop(setup2.client.write_all(giant.as_bytes()).await);
    let mut start = [0; 12];
    setup2.client.read_exact(&mut start).await.expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 431");
}
