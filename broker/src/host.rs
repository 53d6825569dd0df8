//! For whom a request says it is: the rules for `Host` (RFC 9112, section 3.2), and who is answered where no key is asked for.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{Request, Version};

use crate::error::{Error, ErrorCode, Result};

/// Lets a request pass that names its host as HTTP asks for. With `only_local`, the name must be an IP address or
/// `localhost`: where no key is asked for, a foreign page whose name was pointed at this machine after it was loaded
/// (DNS rebinding) would count as same-origin to the browser. Its name is what gives it away.
///
/// # Errors
/// `invalid_request` for a missing, doubled or unreadable host, `permission_denied` for one that is not local.
pub(crate) fn check<B>(request: &Request<B>, only_local: bool) -> Result<()> {
    let mut given = request.headers().get_all(header::HOST).iter();
    let host = match (given.next(), given.next()) {
        (None, _) if request.version() == Version::HTTP_11 => return Err(Error::invalid("an HTTP/1.1 request has a Host header")),
        (None, _) => None,
        (Some(host), None) => parse(host)?,
        (Some(_), Some(_)) => return Err(Error::invalid("a request has one Host header")),
    };
    if !only_local {
        return Ok(());
    }
    // The target's own authority counts where it has one (HTTP/2, absolute form); a browser sends both alike.
    let foreign = [request.uri().authority(), host.as_ref()].into_iter().flatten().find(|authority| !is_local(authority.host()));
    match foreign {
        None => Ok(()),
        Some(authority) => Err(Error::new(
            ErrorCode::PermissionDenied,
            format!("only requests to an IP address or `localhost` are answered here, not to `{}`", authority.host()),
        )),
    }
}

fn parse(host: &HeaderValue) -> Result<Option<Authority>> {
    if host.is_empty() {
        return Ok(None);
    }
    match host.to_str().ok().and_then(|text| text.parse::<Authority>().ok()) {
        Some(authority) if !authority.as_str().contains('@') => Ok(Some(authority)),
        _ => Err(Error::invalid("the Host header is no host")),
    }
}

fn is_local(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str, hosts: &[&str], version: Version) -> Result<()> {
        let request = Request::get(target).version(version);
        let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
        check(&request.body(()).unwrap(), true)
    }

    #[test]
    fn addresses_and_localhost_are_local() {
        for host in ["127.0.0.1:8000", "127.0.0.1", "localhost:8000", "LocalHost", "[::1]:8000", "192.168.1.7:80", ""] {
            assert_eq!(asked("/", &[host], Version::HTTP_11), Ok(()), "{host}");
        }
        assert!(asked("http://localhost:8000/", &["localhost:8000"], Version::HTTP_11).is_ok());
        assert!(asked("http://127.0.0.1/", &[], Version::HTTP_2).is_ok());
        assert!(asked("/", &[], Version::HTTP_10).is_ok());
    }

    #[test]
    fn names_are_not() {
        for host in ["evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "localhost.", "0x7f000001"] {
            assert_eq!(asked("/", &[host], Version::HTTP_11).unwrap_err().code, ErrorCode::PermissionDenied, "{host}");
            assert!(check(&Request::get("/").header("host", host).body(()).unwrap(), false).is_ok(), "{host}");
        }
        assert!(asked("http://evil.example/", &["127.0.0.1"], Version::HTTP_11).is_err());
        assert!(asked("http://127.0.0.1/", &["evil.example"], Version::HTTP_11).is_err());
        assert!(asked("http://evil.example/", &[], Version::HTTP_2).is_err());
    }

    #[test]
    fn a_request_has_one_host_that_is_one() {
        for hosts in [&[][..], &["127.0.0.1", "127.0.0.1"], &["a b"], &["u@127.0.0.1"], &["127.0.0.1/x"], &["127.0.0.1, 127.0.0.2"]] {
            assert_eq!(asked("/", hosts, Version::HTTP_11).unwrap_err().code, ErrorCode::InvalidRequest, "{hosts:?}");
        }
    }
}
