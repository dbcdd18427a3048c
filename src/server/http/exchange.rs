//! What a web client asks for, and what an answer looks like.
//!
//! Does no I/O. Only GET and HEAD are taken, and a body is not read: nothing can be changed from here.
//! Where the connection came over loopback the `Host` must be an address or `localhost`, so that a web
//! page whose name was made to mean 127.0.0.1 (DNS rebinding) learns nothing. No answer permits other
//! origins to read it, and no page may be told to fetch from elsewhere or to be part of another.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use httparse::{EMPTY_HEADER, Header, Request};

/// Fields of a request's head.
const FIELDS_MAX: usize = 64;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// For people, with its script and its style.
    Status,
    Script,
    Style,
    /// What the script asks for.
    Figures,
    Metrics,
    Health,
    Ready,
}

/// A request that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) page: Page,
    /// GET, not HEAD.
    pub(super) with_body: bool,
}

/// One that cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: Status,
    /// Not HEAD: an answer to that has none, whatever it is.
    pub(super) with_body: bool,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { status, with_body: true }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Malformed,
    NotFound,
    NotAllowed,
    Misdirected,
    TooLong,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Malformed => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::Misdirected => "421 Misdirected Request",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Reads a request; `None` if more bytes are needed. `is_local`: it came over loopback.
pub(super) fn read(bytes: &[u8], is_local: bool) -> Option<Result<Asked, Refused>> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let with_body = request.method != Some("HEAD");
            Some(judge(&request, is_local).map_err(|status| Refused { status, with_body }))
        }
        Err(httparse::Error::TooManyHeaders) => Some(Err(Status::TooLong.into())),
        Err(_) => Some(Err(Status::Malformed.into())),
    }
}

fn judge(request: &Request<'_, '_>, is_local: bool) -> Result<Asked, Status> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Status::Malformed);
    };
    // What is named in the target counts, whatever `Host` says (RFC 9112, 3.2.2).
    let (authority, target) = absolute(target).unwrap_or((None, target));
    match host(request.headers)?.map(|host| authority.unwrap_or(host)) {
        Some(host) if is_local && !is_literal(host) => return Err(Status::Misdirected),
        None if version == 1 => return Err(Status::Malformed),
        _ => {}
    }
    if method == "CONNECT" || (method, target) == ("OPTIONS", "*") {
        return Err(Status::NotAllowed);
    }
    let page = match target.split('?').next().unwrap_or(target) {
        "/" => Page::Status,
        "/status.js" => Page::Script,
        "/status.css" => Page::Style,
        "/status.json" => Page::Figures,
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Health,
        "/readyz" => Page::Ready,
        _ => return Err(Status::NotFound),
    };
    match method {
        "GET" => Ok(Asked { page, with_body: true }),
        "HEAD" => Ok(Asked { page, with_body: false }),
        _ => Err(Status::NotAllowed),
    }
}

/// Host and path of `http://127.0.0.1/metrics`, as it is sent to a proxy. None where it is a path.
fn absolute(target: &str) -> Option<(Option<&str>, &str)> {
    const SCHEME: &str = "http://";
    let scheme = target.get(..SCHEME.len())?;
    let rest = scheme.eq_ignore_ascii_case(SCHEME).then(|| &target[SCHEME.len()..])?;
    let path = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path);
    Some((Some(authority), if path.starts_with('/') { path } else { "/" }))
}

/// The one `Host`.
fn host<'b>(fields: &[Header<'b>]) -> Result<Option<&'b str>, Status> {
    let mut hosts = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => match std::str::from_utf8(host.value) {
            Ok(host) => Ok(Some(host)),
            Err(_) => Err(Status::Malformed),
        },
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Status::Malformed),
    }
}

/// Whether a host means this machine without a name server's help: an address or `localhost`.
fn is_literal(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: Cow<'static, str>,
}

/// What a browser may do with an answer. `unsafe-inline` is nowhere: the page has files for script and
/// style. Its icon is in the page itself.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Content-Type-Options: nosniff\r\n";

impl Reply {
    pub(super) fn text(status: Status, body: String) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// One that went well.
    pub(super) fn ok(content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Ok, content_type, body: body.into() }
    }

    /// One that only says how it ended.
    pub(super) fn status(status: Status) -> Self {
        Self::text(status, format!("{}\n", status.line()))
    }

    /// Head and body, or only the head.
    pub(super) fn bytes(&self, with_body: bool) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let allow = if *status == Status::NotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\n{POLICY}Connection: close\r\n\r\n",
            status.line(),
            body.len(),
        )
        .into_bytes();
        if with_body {
            bytes.extend_from_slice(body.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Option<Result<Asked, Status>> {
        let asked = read(head.replace('|', "\r\n").as_bytes(), true)?;
        Some(asked.map_err(|refused| refused.status))
    }

    #[test]
    fn pages_and_refusals() {
        let page = |page| Ok(Asked { page, with_body: true });
        let cases = [
            ("GET / HTTP/1.1|Host: 127.0.0.1:60080||", page(Page::Status)),
            ("GET /status.json?x HTTP/1.1|Host: [::1]||", page(Page::Figures)),
            ("GET /status.js HTTP/1.1|Host: [::1]||", page(Page::Script)),
            ("GET /status.css HTTP/1.1|Host: [::1]||", page(Page::Style)),
            ("GET /status.html HTTP/1.1|Host: [::1]||", Err(Status::NotFound)),
            ("POST /status.json HTTP/1.1|Host: [::1]||", Err(Status::NotAllowed)),
            ("GET /status.json HTTP/1.1|Host: evil.example||", Err(Status::Misdirected)),
            ("GET /metrics HTTP/1.1|host: localhost||", page(Page::Metrics)),
            ("GET /metrics?x=/y HTTP/1.1|Host: [::1]:9||", page(Page::Metrics)),
            ("GET /healthz HTTP/1.0||", page(Page::Health)),
            ("GET /readyz HTTP/1.1|Host: LOCALHOST:60080|A: b||", page(Page::Ready)),
            (
                "HEAD /metrics HTTP/1.1|Host: [::1]||",
                Ok(Asked { page: Page::Metrics, with_body: false }),
            ),
            ("POST /metrics HTTP/1.1|Host: [::1]||", Err(Status::NotAllowed)),
            ("OPTIONS / HTTP/1.1|Host: [::1]||", Err(Status::NotAllowed)),
            ("OPTIONS * HTTP/1.1|Host: [::1]||", Err(Status::NotAllowed)),
            ("CONNECT 127.0.0.1:1 HTTP/1.1|Host: [::1]||", Err(Status::NotAllowed)),
            ("GET http://127.0.0.1/healthz HTTP/1.1|Host: [::1]||", page(Page::Health)),
            ("GET HTTP://localhost:9/readyz?x HTTP/1.1|Host: a.example||", page(Page::Ready)),
            ("GET http://[::1] HTTP/1.1|Host: [::1]||", page(Page::Status)),
            ("GET http://evil.example/ HTTP/1.1|Host: [::1]||", Err(Status::Misdirected)),
            ("GET http://[::1]/key HTTP/1.1|Host: [::1]||", Err(Status::NotFound)),
            ("GET https://[::1]/ HTTP/1.1|Host: [::1]||", Err(Status::NotFound)),
            ("GET http://[::1]/ HTTP/1.1||", Err(Status::Malformed)),
            ("GET /metrics/ HTTP/1.1|Host: [::1]||", Err(Status::NotFound)),
            ("POST /key HTTP/1.1|Host: [::1]||", Err(Status::NotFound)),
            ("GET /%2e%2e/ HTTP/1.1|Host: [::1]||", Err(Status::NotFound)),
            ("GET /metrics HTTP/1.1||", Err(Status::Malformed)),
            ("GET /metrics HTTP/1.1|Host: [::1]|Host: [::1]||", Err(Status::Malformed)),
            ("GET /metrics HTTP/2.0|Host: [::1]||", Err(Status::Malformed)),
            ("get key|", Err(Status::Malformed)),
            ("set key 0 0 1|x|", Err(Status::Malformed)),
            ("GET /metrics HTTP/1.1|Host: evil.example||", Err(Status::Misdirected)),
            ("GET /metrics HTTP/1.1|Host: localhost.evil.example||", Err(Status::Misdirected)),
            ("GET /metrics HTTP/1.0|Host: 127.0.0.1.evil.example||", Err(Status::Misdirected)),
            ("GET /metrics HTTP/1.1|Host:||", Err(Status::Misdirected)),
        ];
        for (head, expected) in cases {
            assert_eq!(asked(head), Some(expected), "{head}");
        }
    }

    #[test]
    fn more_is_needed() {
        let head = "GET /metrics HTTP/1.1|Host: [::1]||";
        for end in 0..head.len() - 1 {
            assert_eq!(asked(&head[..end]), None, "{end}");
        }
    }

    #[test]
    fn from_elsewhere_any_name_will_do() {
        let head = b"GET /metrics HTTP/1.1\r\nHost: cache-1.internal:60080\r\n\r\n";
        assert_eq!(read(head, true), Some(Err(Status::Misdirected.into())));
        assert_eq!(read(head, false), Some(Ok(Asked { page: Page::Metrics, with_body: true })));
    }

    #[test]
    fn many_fields_are_too_many() {
        let fields = "A: b|".repeat(FIELDS_MAX + 1);
        assert_eq!(asked(&format!("GET / HTTP/1.1|{fields}|")), Some(Err(Status::TooLong)));
    }

    #[test]
    fn a_head_announces_what_get_would_send() {
        let reply = Reply::text(Status::Ok, "body".into());
        let (whole, head) = (reply.bytes(true), reply.bytes(false));
        assert_eq!(whole.strip_suffix(b"body"), Some(&head[..]));
        let head = String::from_utf8(head).expect("text");
        assert!(head.contains("\r\nContent-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(!head.to_lowercase().contains("access-control"), "{head}");
    }
}
