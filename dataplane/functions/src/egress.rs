//! The way of functions to the network: resolves, pins and filters addresses.
//!
//! A worker has no network. It asks its broker for `host:port`, one connection each, and gets `+` and the bytes
//! of that connection, or `-` and why not. The address that was judged is the address that is connected to, so a
//! name cannot answer differently the second time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections of one worker at once.
const CONNECTIONS_MAX: usize = 64;
const TARGET_BYTES_MAX: usize = 300;
const TARGET_SECS_MAX: u64 = 5;
const CONNECT_SECS_MAX: u64 = 10;
/// Mail is sent by mailboxes, never past them.
const PORTS_REFUSED: [u16; 1] = [25];

/// Our own gateway, which functions reach wherever it is.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Host of the API's public URL, without its port.
    pub host: String,
    pub port: u16,
    /// Sites are the hosts below it.
    pub apex: String,
    /// Where to connect to instead of resolving; none when TLS ends somewhere else.
    pub address: Option<SocketAddr>,
}

impl Gateway {
    fn is(&self, host: &str, port: u16) -> bool {
        let below =
            |host: &str| host.strip_suffix(self.apex.as_str()).is_some_and(|rest| rest.ends_with('.'));
        port == self.port && (host == self.host || host == self.apex || below(host))
    }
}

/// The rules, and whose connections to the gateway are open.
pub struct Egress {
    gateway: Gateway,
    /// Nothing but the gateway is reached.
    is_closed: bool,
    /// Our side of each connection to the gateway, with the depth of the calls behind it. A connection is kept
    /// and used by later calls, so it is asked for with each request.
    calls: Mutex<HashMap<SocketAddr, Depth>>,
}

/// How deep the calls are that a worker answers right now.
pub(crate) type Depth = Arc<dyn Fn() -> u32 + Send + Sync>;

impl Egress {
    pub fn new(gateway: Gateway) -> Self {
        Self { gateway, is_closed: false, calls: Mutex::default() }
    }

    /// To one registry of packages, and nowhere else.
    pub(crate) fn to_registry(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        let gateway = Gateway { apex: host.clone(), host, port, address: None };
        Self { gateway, is_closed: true, calls: Mutex::default() }
    }

    /// How many functions called one another up to the request of this peer; none for other peers.
    ///
    /// A function cannot forge it: we made the connection.
    pub fn depth_of(&self, peer: SocketAddr) -> Option<u32> {
        self.calls().get(&peer).map(|depth| depth())
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Depth>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one worker's requests until the listener's task is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener, depth: Depth) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = tokio::task::JoinSet::new();
        loop {
            let place = places.clone().acquire_owned();
            let (Ok(place), Ok((stream, _))) = (place.await, listener.accept().await) else { return };
            let (egress, depth) = (self.clone(), depth.clone());
            open.spawn(async move {
                let _place = place;
                if let Err(e) = egress.connection(stream, &depth).await {
                    tracing::debug!(error = %e, "a function's connection ended");
                }
            });
            while open.try_join_next().is_some() {}
        }
    }

    async fn connection(&self, mut worker: UnixStream, depth: &Depth) -> io::Result<()> {
        let target = tokio::time::timeout(Duration::from_secs(TARGET_SECS_MAX), target(&mut worker)).await;
        let Ok(Some((host, port))) = target else { return refuse(&mut worker, "no host and port").await };
        let mut far = match self.reach(&host, port).await {
            Ok(far) => far,
            Err(why) => return refuse(&mut worker, &format!("{host}:{port}: {why}")).await,
        };
        let _ = far.set_nodelay(true);
        let own = far.local_addr()?;
        let counted = self.gateway.is(&host, port).then(|| Counted::new(self, own, depth.clone()));
        worker.write_all(b"+").await?;
        let copied = copy_bidirectional(&mut worker, &mut far).await;
        drop(counted);
        copied.map(drop)
    }

    async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let ours = self.gateway.is(host, port);
        if self.is_closed && !ours {
            return Err("only the registry is reached from here".to_owned());
        }
        let addresses = match self.gateway.address.filter(|_| ours) {
            Some(address) => vec![address],
            None => {
                let found =
                    tokio::net::lookup_host((host, port)).await.map_err(|_| "no such host".to_owned())?;
                let all: Vec<SocketAddr> = found.collect();
                let open = all.iter().copied().filter(|to| ours || is_public(to.ip()));
                let open: Vec<SocketAddr> = open.collect();
                if open.is_empty() && !all.is_empty() {
                    return Err("a private address, which functions do not reach".to_owned());
                }
                open
            }
        };
        if !ours && PORTS_REFUSED.contains(&port) {
            return Err("this port is closed to functions".to_owned());
        }
        let connecting = async {
            for address in addresses {
                if let Ok(stream) = TcpStream::connect(address).await {
                    return Ok(stream);
                }
            }
            Err("it does not answer".to_owned())
        };
        let limit = Duration::from_secs(CONNECT_SECS_MAX);
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
    }
}

/// A connection to the gateway while it is open.
struct Counted<'a>(&'a Egress, SocketAddr);

impl<'a> Counted<'a> {
    fn new(egress: &'a Egress, own: SocketAddr, depth: Depth) -> Self {
        egress.calls().insert(own, depth);
        Self(egress, own)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.calls().remove(&self.1);
    }
}

/// `host:port` and a newline.
async fn target(from: &mut UnixStream) -> Option<(String, u16)> {
    let mut line = Vec::new();
    loop {
        // One byte at a time: what follows belongs to the connection.
        match from.read_u8().await.ok()? {
            b'\n' => break,
            byte if line.len() < TARGET_BYTES_MAX => line.push(byte),
            _ => return None,
        }
    }
    let line = String::from_utf8(line).ok()?;
    let (host, port) = line.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Some((host, port.parse().ok()?))
}

async fn refuse(worker: &mut UnixStream, why: &str) -> io::Result<()> {
    worker.write_all(format!("-{why}\n").as_bytes()).await
}

/// Addresses of the internet: no private, local, shared, documentation, multicast or reserved one, nor one of
/// those behind a translation to IPv6.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, documentation, benchmarks and other assignments for protocols.
        [0x2001, low, ..] if low < 0x0200 || low == 0x0db8 => false,
        // Only what is handed out for the internet.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F10: while packages are installed nothing but their registry is reached, however public another address is.
    #[tokio::test]
    async fn the_broker_of_a_registry_reaches_nothing_else() {
        let closed = Egress::to_registry("registry.test", 443);
        // At a port that nobody reaches: without the rule it would be told about that.
        for (host, port) in [("1.1.1.1", 25), ("registry.test", 25), ("notregistry.test", 25)] {
            let refused = closed.reach(host, port).await.err();
            assert_eq!(refused.as_deref(), Some("only the registry is reached from here"), "{host}:{port}");
        }
    }

    // F08: metadata services, loopback and private networks, in every spelling.
    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for good in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1"] {
            assert!(is_public(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::7f00:1",
        ] {
            assert!(!is_public(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn the_gateway_is_its_own_name_and_its_sites() {
        let gateway =
            Gateway { host: "127.0.0.1".into(), port: 4020, apex: "localhost".into(), address: None };
        assert!(gateway.is("127.0.0.1", 4020) && gateway.is("shop.localhost", 4020));
        assert!(!gateway.is("127.0.0.1", 5432) && !gateway.is("evillocalhost", 4020));
    }
}
