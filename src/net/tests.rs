use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use url::Url;

use super::test_server::{Answer, TestServer, answer};
use super::*;

const SOON: Duration = Duration::from_secs(10);
/// Long enough for loopback, short enough for a test that waits for it.
const BRIEF: Duration = Duration::from_millis(300);

fn open_loopback() -> Client {
    Client::new(Policy {
        open_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
        ..Policy::default()
    })
}

/// A client whose names have these addresses.
fn resolving(client: Client, addresses: &[&str]) -> Client {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    client.with_lookup(Arc::new(move |_| Box::pin(std::future::ready(Ok(addresses.clone())))))
}

fn request<'a>(method: &'a str, url: &'a str) -> Request<'a> {
    Request {
        method,
        url,
        headers: &[],
        body: None,
        timeout: SOON,
        body_bytes_max: 1024,
        allow: &|_, _| true,
        secrets: None,
        trail: trail(),
    }
}

/// A trail that nobody reads.
fn trail() -> &'static Trail {
    static TRAIL: LazyLock<Trail> = LazyLock::new(Trail::default);
    &TRAIL
}

async fn get(client: &Client, url: &str) -> Result<Response, Error> {
    client.send(request("GET", url)).await
}

fn denied(result: Result<Response, Error>) -> String {
    match result {
        Err(Error::Denied(why)) => why,
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_granted_request_is_sent_as_it_is_and_answered() {
    let server = TestServer::start(vec![answer("201 Created", "x-note: yes\r\nset-cookie: a=b\r\n", "made")]).await;
    let url = server.url("/things?x=1#part");
    let response = open_loopback()
        .send(Request {
            headers: &[("X-Key".to_owned(), "k".to_owned())],
            body: Some(b"{}".to_vec()),
            ..request("post", &url)
        })
        .await
        .unwrap();
    assert_eq!(
        (response.status, response.body.as_slice(), response.hops),
        (201, b"made".as_slice(), 0)
    );
    assert_eq!(response.final_url, server.url("/things?x=1"));
    assert!(response.headers.contains(&("x-note".to_owned(), "yes".to_owned())));
    assert!(!response.headers.iter().any(|(name, _)| name == "set-cookie"));
    let asked = server.asked().remove(0).to_ascii_lowercase();
    assert!(
        asked.starts_with("post /things?x=1 http/1.1\r\n") && asked.ends_with("\r\n\r\n{}"),
        "{asked}"
    );
    for header in ["x-key: k", "accept-encoding: gzip, deflate", "user-agent: agentstation/"] {
        assert!(asked.contains(header), "{header} in {asked}");
    }
}

#[tokio::test]
async fn loopback_is_refused_in_every_way_to_write_it() {
    let server = TestServer::start(vec![answer("200 OK", "", "inside")]).await;
    let client = Client::new(Policy {
        allow_http: true,
        ..Policy::default()
    });
    let forms = [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "0",
        "127.0.0.1.",
        "１２７.0.0.1",
    ];
    for form in forms {
        denied(get(&client, &format!("http://{form}:{}/", server.address.port())).await);
    }
    for name in ["localhost", "localhost.", "a.localhost"] {
        let client = resolving(client.clone(), &["127.0.0.1"]);
        denied(get(&client, &format!("http://{name}:{}/", server.address.port())).await);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_name_with_any_forbidden_address_is_refused() {
    let client = Client::new(Policy::default());
    for addresses in [
        &["10.0.0.1"][..],
        &["1.1.1.1", "169.254.169.254"],
        &["fd00:ec2::254"],
        &["::ffff:192.168.1.1"],
    ] {
        let why = denied(get(&resolving(client.clone(), addresses), "https://rebind.example.com/").await);
        assert!(why.contains("rebind.example.com") && why.contains("open_cidrs"), "{why}");
    }
    denied(get(&resolving(client, &["1.1.1.1"]), "https://metadata.google.internal/").await);
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_vetted() {
    let server = TestServer::start(vec![answer("200 OK", "", "pinned")]).await;
    let client = resolving(open_loopback(), &["127.0.0.1"]);
    let response = get(&client, &format!("http://name.example.com.:{}/", server.address.port()))
        .await
        .unwrap();
    assert_eq!(response.body, b"pinned");
    assert!(
        server.asked()[0]
            .to_ascii_lowercase()
            .contains(&format!("host: name.example.com:{}", server.address.port()))
    );
}

#[tokio::test]
async fn plain_http_needs_an_opened_range_or_the_operators_word() {
    let client = resolving(Client::new(Policy::default()), &["1.1.1.1"]);
    let why = denied(get(&client, "http://example.com/").await);
    assert!(why.contains("https://"), "{why}");
}

#[tokio::test]
async fn the_station_itself_is_out_of_reach() {
    let server = TestServer::start(vec![answer("200 OK", "", "own")]).await;
    let client = Client::new(Policy {
        open_cidrs: vec!["127.0.0.0/8".parse().unwrap()],
        own_addresses: vec![server.address],
        ..Policy::default()
    });
    denied(get(&client, &server.url("/")).await);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn what_is_not_granted_is_not_sent() {
    let server = TestServer::start(vec![answer("200 OK", "", "")]).await;
    let url = server.url("/");
    let allow = |method: &str, _: &Url| method == "GET";
    let result = open_loopback()
        .send(Request {
            allow: &allow,
            ..request("DELETE", &url)
        })
        .await;
    assert!(denied(result).contains("capabilities.http"));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn malformed_requests_are_refused_before_anything_is_sent() {
    let server = TestServer::start(vec![answer("200 OK", "", "")]).await;
    let url = server.url("/");
    let client = open_loopback();
    for bad in [
        "",
        "nonsense",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user:pw@example.com/",
        "https://user@example.com/",
    ] {
        assert!(matches!(get(&client, bad).await, Err(Error::Invalid(_))), "{bad}");
    }
    assert!(matches!(client.send(request("CONNECT", &url)).await, Err(Error::Invalid(_))));
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Proxy-Authorization",
        "upgrade",
        "a b",
        "",
    ] {
        let headers = [(name.to_owned(), "1".to_owned())];
        let sent = client
            .send(Request {
                headers: &headers,
                ..request("GET", &url)
            })
            .await;
        assert!(matches!(sent, Err(Error::Invalid(_))), "{name}");
    }
    let headers = [("x-a".to_owned(), "1\r\nhost: evil".to_owned())];
    assert!(matches!(
        client
            .send(Request {
                headers: &headers,
                ..request("GET", &url)
            })
            .await,
        Err(Error::Invalid(_))
    ));
    assert!(server.asked().is_empty());
}

fn redirect(status: &str, to: &str) -> Answer {
    answer(status, &format!("location: {to}\r\n"), "")
}

fn secret_headers() -> Vec<(String, String)> {
    [
        ("x-api-key", "s3cret"),
        ("authorization", "Bearer s3cret"),
        ("accept", "text/plain"),
        ("content-type", "text/x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn a_redirect_to_another_origin_carries_no_header_of_the_callers() {
    let other = TestServer::start(vec![answer("200 OK", "", "other")]).await;
    let first = TestServer::start(vec![redirect("302 Found", &other.url("/there"))]).await;
    let (url, headers) = (first.url("/"), secret_headers());
    let sent = Request {
        headers: &headers,
        body: Some(b"s3cret".to_vec()),
        ..request("POST", &url)
    };
    let response = open_loopback().send(sent).await.unwrap();
    assert_eq!((response.body.as_slice(), response.hops), (b"other".as_slice(), 1));
    assert_eq!(response.final_url, other.url("/there"));
    let asked = other.asked().remove(0).to_ascii_lowercase();
    assert!(asked.starts_with("get /there") && asked.contains("accept: text/plain"), "{asked}");
    assert!(!asked.contains("s3cret") && !asked.contains("content-type"), "{asked}");
}

#[tokio::test]
async fn a_redirect_within_the_origin_keeps_headers_and_body() {
    let server = TestServer::start(vec![redirect("307 Temporary Redirect", "/next"), answer("200 OK", "", "done")]).await;
    let (url, headers) = (server.url("/"), secret_headers());
    let sent = Request {
        headers: &headers,
        body: Some(b"payload".to_vec()),
        ..request("POST", &url)
    };
    open_loopback().send(sent).await.unwrap();
    let asked = server.asked();
    assert!(asked[1].starts_with("POST /next") && asked[1].ends_with("payload") && asked[1].contains("s3cret"));
}

#[tokio::test]
async fn a_write_is_not_carried_to_another_origin() {
    let other = TestServer::start(vec![answer("200 OK", "", "")]).await;
    let first = TestServer::start(vec![redirect("307 Temporary Redirect", &other.url("/"))]).await;
    let url = first.url("/");
    denied(
        open_loopback()
            .send(Request {
                body: Some(vec![1]),
                ..request("PUT", &url)
            })
            .await,
    );
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn every_hop_is_checked_like_the_first() {
    let away = TestServer::start(vec![
        redirect("302 Found", "http://10.0.0.1/"),
        redirect("302 Found", "http://169.254.169.254/latest/meta-data"),
        redirect("302 Found", "http://[::ffff:10.0.0.1]/"),
    ])
    .await;
    for _ in 0..3 {
        denied(get(&open_loopback(), &away.url("/")).await);
    }
    let other = TestServer::start(vec![answer("200 OK", "", "")]).await;
    let first = TestServer::start(vec![redirect("301 Moved Permanently", &other.url("/"))]).await;
    let (url, port) = (first.url("/"), first.address.port());
    let allow = move |_: &str, url: &Url| url.port() == Some(port);
    denied(
        open_loopback()
            .send(Request {
                allow: &allow,
                ..request("GET", &url)
            })
            .await,
    );
    assert!(other.asked().is_empty());
    let file = TestServer::start(vec![redirect("302 Found", "file:///etc/passwd")]).await;
    assert!(matches!(get(&open_loopback(), &file.url("/")).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn redirects_end_after_five() {
    let server = TestServer::start(vec![redirect("302 Found", "/again")]).await;
    let result = get(&open_loopback(), &server.url("/")).await;
    assert!(matches!(result, Err(Error::LimitExceeded(_))), "{result:?}");
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_cut_off() {
    let large = "x".repeat(2000);
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{large}\r\n0\r\n\r\n");
    let server = TestServer::start(vec![answer("200 OK", "", &large), Answer::Bytes(chunked.into_bytes())]).await;
    for _ in 0..2 {
        let result = get(&open_loopback(), &server.url("/")).await;
        assert!(matches!(result, Err(Error::LimitExceeded(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_a_broken_one_is_unavailable() {
    let server = TestServer::start(vec![
        Answer::Hang(vec![]),
        Answer::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec()),
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec()),
        Answer::Bytes(vec![]),
    ])
    .await;
    let url = server.url("/");
    for _ in 0..2 {
        let result = open_loopback()
            .send(Request {
                timeout: BRIEF,
                ..request("GET", &url)
            })
            .await;
        assert!(matches!(result, Err(Error::Timeout(_))), "{result:?}");
    }
    for _ in 0..2 {
        let failure = Failure::from(get(&open_loopback(), &url).await.unwrap_err());
        assert_eq!((failure.code, failure.retryable), (FailureCode::Unavailable, true), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let result = get(&open_loopback(), &format!("https://{address}/")).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
}

fn packed(encoding: &str, body: &[u8]) -> Answer {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Answer::Bytes([head.as_bytes(), body].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_counted_as_it_came_and_looks_plain() {
    let text = "the same words again and again ".repeat(30);
    let (body, trail) = (gzip(text.as_bytes()), Trail::default());
    let server = TestServer::start(vec![packed("gzip", &body)]).await;
    let url = server.url("/");
    let response = open_loopback()
        .send(Request {
            trail: &trail,
            ..request("GET", &url)
        })
        .await
        .unwrap();
    assert_eq!(response.body, text.as_bytes());
    assert!(
        !response.headers.iter().any(|(name, _)| name.starts_with("content-")),
        "{:?}",
        response.headers
    );
    let contacts = trail.contacts();
    assert_eq!(
        (contacts.len(), contacts[0].host.as_str()),
        (1, server.address.to_string().as_str())
    );
    assert!(contacts[0].received_bytes >= body.len() as u64 && contacts[0].received_bytes < text.len() as u64);
}

#[tokio::test]
async fn bombs_and_encodings_that_were_not_asked_for_reach_nobody() {
    let zeros = gzip(&vec![0; 8 * 1024 * 1024]);
    let server = TestServer::start(vec![
        packed("gzip", &zeros),
        packed("br", b"whatever"),
        packed("gzip, gzip", &gzip(&zeros)),
        packed("gzip", b"not packed at all"),
    ])
    .await;
    let url = server.url("/");
    let mut found = Vec::new();
    for _ in 0..4 {
        let sent = Request {
            body_bytes_max: 16 * 1024 * 1024,
            ..request("GET", &url)
        };
        found.push(open_loopback().send(sent).await.unwrap_err());
    }
    assert!(
        matches!(&found[0], Error::LimitExceeded(why) if why.contains("100 times")),
        "{found:?}"
    );
    assert!(found[1..].iter().all(|error| matches!(error, Error::Unavailable(_))), "{found:?}");
    assert!(found[1].to_string().contains("br"), "{found:?}");
}

#[tokio::test]
async fn the_trail_has_every_hop_however_it_ends() {
    let other = TestServer::start(vec![redirect("302 Found", "http://10.0.0.1/")]).await;
    let first = TestServer::start(vec![redirect("303 See Other", &other.url("/there"))]).await;
    let (url, trail) = (first.url("/"), Trail::default());
    let sent = Request {
        body: Some(b"twelve bytes".to_vec()),
        trail: &trail,
        ..request("POST", &url)
    };
    denied(open_loopback().send(sent).await);
    let contacts = trail.contacts();
    let hosts: Vec<_> = contacts.iter().map(|contact| (contact.host.clone(), contact.is_write)).collect();
    assert_eq!(
        hosts,
        [(first.address.to_string(), true), (other.address.to_string(), false)],
        "the refused hop was not made"
    );
    assert!(contacts[0].sent_bytes > contacts[1].sent_bytes);
}

#[tokio::test]
async fn secrets_go_in_the_plain_to_opened_addresses_only_and_where_they_are_bound_at_every_hop() {
    let server = TestServer::start(vec![redirect("307 Temporary Redirect", "/elsewhere"), answer("200 OK", "", "")]).await;
    let url = server.url("/bound");
    let bound = |_: &str, url: &Url| url.path() == "/bound";
    let sent = Request {
        secrets: Some(&bound),
        ..request("GET", &url)
    };
    let why = denied(open_loopback().send(sent).await);
    assert!(why.contains("/elsewhere"), "{why}");
    assert_eq!(server.asked().len(), 1, "the second hop is not made");

    // To another origin none goes along, so that nothing needs to be bound there.
    let other = TestServer::start(vec![answer("200 OK", "", "other")]).await;
    let first = TestServer::start(vec![redirect("302 Found", &other.url("/elsewhere"))]).await;
    let (url, headers) = (first.url("/bound"), secret_headers());
    let sent = Request {
        headers: &headers,
        secrets: Some(&bound),
        ..request("GET", &url)
    };
    assert_eq!(open_loopback().send(sent).await.unwrap().body, b"other");
    assert!(!other.asked()[0].contains("s3cret"));

    // Allowed plain HTTP is allowed without secrets only.
    let public = Client::new(Policy {
        allow_http: true,
        ..Policy::default()
    })
    .with_lookup(Arc::new(|_| Box::pin(async { Ok(vec!["1.1.1.1".parse().unwrap()]) })));
    let any = |_: &str, _: &Url| true;
    let sent = Request {
        secrets: Some(&any),
        ..request("GET", "http://api.example.com/")
    };
    let why = denied(public.send(sent).await);
    assert!(why.contains("use https"), "{why}");
}
