//! How many connections one address has: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer gets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::HeaderMap;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts the visits of each address, up to a bound; knows the proxies whose word on where a request comes from is good.
#[derive(Debug)]
pub struct Visitors {
    /// 0: no bound.
    bound: u32,
    proxies: Vec<Network>,
    header: ClientHeader,
    present: Mutex<HashMap<IpAddr, u32, RandomState>>,
}

/// Stands for all clients of trusted proxies whose addresses cannot be read: together they have as many connections as one address.
pub const UNREADABLE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The address from which a request comes, among its extensions: put there by who serves it. A program that serves the broker on its
/// own listeners puts it there itself, if who has no name shall have a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// One visit; over when dropped.
#[derive(Debug)]
pub struct Visit {
    visitors: Arc<Visitors>,
    from: IpAddr,
}

/// The address has as many connections as one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// In which header trusted proxies say for whom they ask. Only one counts: they may pass the other one on as a client wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientHeader {
    /// `X-Forwarded-For`, as nearly all of them do.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Visitors {
    /// At most `bound` at once from one address; 0 for no bound.
    #[must_use]
    pub fn new(bound: u32, proxies: Vec<Network>, header: ClientHeader) -> Arc<Self> {
        Arc::new(Self { bound, proxies, header, present: Mutex::default() })
    }

    /// A connection from this address. None is counted for a trusted proxy, whose clients are.
    ///
    /// # Errors
    /// When it would be one too many.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Result<Option<Visit>, TooMany> {
        if self.bound == 0 || self.is_proxy(from) {
            return Ok(None);
        }
        let from = network_of(from);
        let mut present = self.present.lock();
        let count = present.entry(from).or_default();
        if *count >= self.bound {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Visit { visitors: self.clone(), from }))
    }

    /// How many the address has that has most. Looks at all of them.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.present.lock().values().copied().max().unwrap_or(0)
    }

    /// From where a request comes that `peer` brings: its own address, or what it says if it is a trusted proxy; all from where no one can
    /// read are one, [`UNREADABLE`].
    #[must_use]
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.is_proxy(peer) {
            return peer;
        }
        // Each proxy adds whom it heard it from at the end; what stands before the last stranger may be the stranger's own words.
        let mut nearest = peer;
        for said in self.said(headers).rev() {
            let Some(address) = said else { return UNREADABLE };
            nearest = address;
            if !self.is_proxy(address) {
                break;
            }
        }
        nearest
    }

    /// Whether this address is a proxy's whose word counts.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.has(address))
    }

    /// The addresses in the header, in its order; `None` for what is none.
    fn said<'a>(&self, headers: &'a HeaderMap) -> impl DoubleEndedIterator<Item = Option<IpAddr>> + use<'a> {
        let header = self.header;
        let name = match header {
            ClientHeader::XForwardedFor => "x-forwarded-for",
            ClientHeader::Forwarded => "forwarded",
        };
        // Each element by itself: what a client wrote before it must not make the proxy's own unreadable.
        let elements = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        elements.map(move |element| {
            let element = std::str::from_utf8(element).ok()?;
            match header {
                ClientHeader::XForwardedFor => address(element),
                ClientHeader::Forwarded => {
                    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
                    pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for")).and_then(|(_, value)| address(value))
                }
            }
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut present = self.visitors.present.lock();
        if let Some(count) = present.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.from);
            }
        }
    }
}

/// What counts as one address.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `"[2001:db8::1]:80"`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    }
    text.parse().ok().or_else(|| text.split_once(':')?.0.parse::<Ipv4Addr>().ok().map(IpAddr::from))
}

/// A network: an address, and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits.into(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits.into(),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let what = || format!("`{text}` is no address or network, such as `10.0.0.0/8`, `192.0.2.7` or `fd00::/8`");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| what())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).ok().filter(|bits| *bits <= most).ok_or_else(what)?;
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(Network { address, bits }: Network) -> Self {
        let is_whole = bits == if address.is_ipv4() { 32 } else { 128 };
        if is_whole { address.to_string() } else { format!("{address}/{bits}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_and_a_network_of_64_bits_is_one() {
        let visitors = Visitors::new(2, vec!["10.0.0.0/8".parse().unwrap()], ClientHeader::default());
        let first = visitors.enter(ip("192.0.2.1")).unwrap();
        let _second = visitors.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(visitors.most(), 2);
        assert_eq!(visitors.enter(ip("192.0.2.1")).unwrap_err(), TooMany);
        let _other = visitors.enter(ip("192.0.2.2")).unwrap();
        drop(first);
        let _again = visitors.enter(ip("192.0.2.1")).unwrap();
        let _neighbours = (visitors.enter(ip("2001:db8::1")).unwrap(), visitors.enter(ip("2001:db8::2")).unwrap());
        assert!(visitors.enter(ip("2001:db8::3")).is_err() && visitors.enter(ip("2001:db8:0:1::3")).is_ok());
        assert!((0..9).all(|_| visitors.enter(ip("10.1.2.3")).is_ok_and(|visit| visit.is_none())), "a proxy is not counted");
        let free = Visitors::new(0, Vec::new(), ClientHeader::default());
        assert!(free.enter(ip("192.0.2.1")).unwrap().is_none());
        assert!(free.present.lock().is_empty(), "nothing is kept that is not bounded");
    }

    #[test]
    fn who_left_is_forgotten() {
        let visitors = Visitors::new(5, Vec::new(), ClientHeader::default());
        let visits: Vec<_> = (0..4).map(|_| visitors.enter(ip("192.0.2.1"))).collect();
        drop(visits);
        assert!(visitors.present.lock().is_empty());
    }

    #[test]
    fn only_what_a_trusted_proxy_heard_itself_is_believed() {
        let proxies = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"].map(|text| text.parse().unwrap()).to_vec();
        let visitors = Visitors::new(1, proxies, ClientHeader::XForwardedFor);
        let origin = |peer: &str, said: &[&str]| {
            let mut headers = HeaderMap::new();
            for said in said {
                headers.append("x-forwarded-for", said.parse().unwrap());
            }
            visitors.origin(ip(peer), &headers).to_string()
        };
        assert_eq!(origin("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "a stranger may say what it likes");
        assert_eq!(origin("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(origin("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(origin("10.0.0.1", &["1.1.1.1, 198.51.100.1"]), "198.51.100.1", "what stands before is the client's own");
        assert_eq!(origin("10.0.0.1", &["1.1.1.1", "198.51.100.1, 10.9.9.9"]), "198.51.100.1", "through two proxies");
        assert_eq!(origin("10.0.0.1", &["10.2.2.2, 10.9.9.9"]), "10.2.2.2");
        assert_eq!(origin("10.0.0.1", &["198.51.100.1, unknown"]), UNREADABLE.to_string(), "not what stands before it");
        assert_eq!(origin("fd00::1", &["2001:db8::5"]), "2001:db8::5");
        assert_eq!(origin("192.0.2.7", &["198.51.100.1:4711"]), "198.51.100.1");
        let visitors = Visitors::new(1, vec!["10.0.0.1".parse().unwrap()], ClientHeader::Forwarded);
        for said in ["for=198.51.100.1", "for=1.1.1.1, For=\"198.51.100.1:80\";proto=https;by=10.0.0.1"] {
            let headers = HeaderMap::from_iter([
                (http::header::FORWARDED, said.parse().unwrap()),
                (http::HeaderName::from_static("x-forwarded-for"), "9.9.9.9".parse().unwrap()),
            ]);
            assert_eq!(visitors.origin(ip("10.0.0.1"), &headers), ip("198.51.100.1"), "{said}");
        }
        let headers = HeaderMap::from_iter([(http::header::FORWARDED, "for=\"[2001:db8::7]:80\"".parse().unwrap())]);
        assert_eq!(visitors.origin(ip("10.0.0.1"), &headers), ip("2001:db8::7"));
    }

    #[test]
    fn what_a_client_writes_before_the_proxys_word_hides_nothing() {
        let proxy = || vec!["10.0.0.1".parse().unwrap()];
        for (header, name, said) in
            [(ClientHeader::XForwardedFor, "x-forwarded-for", "198.51.100.1"), (ClientHeader::Forwarded, "forwarded", "for=198.51.100.1")]
        {
            let visitors = Visitors::new(1, proxy(), header);
            for before in [&b"\xff"[..], b"\xc3\xa4, \xff\xfe", b"\t", b""] {
                let value = http::HeaderValue::from_bytes(&[before, b", ", said.as_bytes()].concat()).unwrap();
                let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value)]);
                assert_eq!(visitors.origin(ip("10.0.0.1"), &headers), ip("198.51.100.1"), "{before:?}");
            }
            let unreadable = http::HeaderValue::from_bytes(b"198.51.100.1, \xff").unwrap();
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), unreadable)]);
            let _first = visitors.enter(visitors.origin(ip("10.0.0.1"), &headers)).unwrap().expect("it is counted");
            assert_eq!(visitors.enter(visitors.origin(ip("10.0.0.1"), &headers)).unwrap_err(), TooMany, "all together are one");
        }
    }

    #[test]
    fn networks_are_read_and_written_as_people_do() {
        for text in ["10.0.0.0/8", "192.0.2.7", "fd00::/8", "::1", "0.0.0.0/0"] {
            assert_eq!(String::from(text.parse::<Network>().unwrap()), text);
        }
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "host", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().has(ip("8.8.8.8")) && !"::/0".parse::<Network>().unwrap().has(ip("8.8.8.8")));
    }
}
