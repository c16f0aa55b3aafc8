//! Which store is driven: `corelode://HOST:PORT[,HOST:PORT…]` or `redis://USER:PASSWORD@HOST:PORT`.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::driver::native::{NativeOptions, NativeStore};
use crate::driver::resp::{Login, RespStore};
use crate::driver::{Broken, Store};

const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Where a store is, and how to speak with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TargetUrl {
    /// A Corelode server, or nodes of a cluster, of which one must live.
    Native { hosts: Vec<String> },
    /// A server that speaks RESP.
    Resp { host: String, login: Option<Login> },
}

impl TargetUrl {
    /// Whether anything listens there.
    pub(crate) fn is_taken(&self) -> bool {
        let is_there = |host: &String| {
            address_of(host).is_ok_and(|address| TcpStream::connect_timeout(&address, CONNECT_PATIENCE).is_ok())
        };
        match self {
            Self::Native { hosts } => hosts.iter().any(is_there),
            Self::Resp { host, .. } => is_there(host),
        }
    }

    /// Asks the store who it is.
    pub(crate) fn find(&self, native: &NativeOptions) -> Result<Box<dyn Store>, Broken> {
        match self {
            Self::Native { hosts } => {
                let addresses: Vec<_> = hosts.iter().map(|host| address_of(host)).collect::<Result<_, _>>()?;
                Ok(Box::new(NativeStore::find(&addresses, native)?))
            }
            Self::Resp { host, login } => Ok(Box::new(RespStore::find(address_of(host)?, login.as_ref())?)),
        }
    }
}

fn address_of(host: &str) -> Result<SocketAddr, Broken> {
    let mut addresses = host.to_socket_addrs().map_err(|error| Broken::new(format!("{host}: {error}")))?;
    addresses.next().ok_or_else(|| Broken::new(format!("{host}: the name has no address")))
}

impl FromStr for TargetUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail =
            || format!("{text:?} is no store: give corelode://HOST:PORT[,…] or redis://[[USER]:PASSWORD@]HOST:PORT");
        let (scheme, rest) = text.split_once("://").ok_or_else(fail)?;
        let rest = rest.trim_end_matches('/');
        let (login, host) = rest.rsplit_once('@').map_or((None, rest), |(login, host)| (Some(login), host));
        let is_host = |host: &str| {
            host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
        };
        match (scheme, login) {
            ("corelode", None) if host.split(',').all(is_host) => {
                Ok(Self::Native { hosts: host.split(',').map(str::to_owned).collect() })
            }
            ("redis" | "valkey" | "resp", _) if is_host(host) => {
                let login = login.map(|login| {
                    let (user, password) = login.split_once(':').unwrap_or(("", login));
                    Login { user: (!user.is_empty()).then(|| user.to_owned()), password: password.to_owned() }
                });
                Ok(Self::Resp { host: host.to_owned(), login })
            }
            _ => Err(fail()),
        }
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native { hosts } => write!(formatter, "corelode://{}", hosts.join(",")),
            Self::Resp { host, .. } => write!(formatter, "redis://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_driver_and_the_address() {
        let native = |hosts: &[&str]| TargetUrl::Native { hosts: hosts.iter().map(ToString::to_string).collect() };
        assert_eq!("corelode://127.0.0.1:7400".parse(), Ok(native(&["127.0.0.1:7400"])));
        assert_eq!("corelode://one:1,[::2]:2/".parse(), Ok(native(&["one:1", "[::2]:2"])));
        let resp = |login: Option<(Option<&str>, &str)>| TargetUrl::Resp {
            host: "[::1]:6379".to_owned(),
            login: login.map(|(user, password)| Login { user: user.map(str::to_owned), password: password.to_owned() }),
        };
        assert_eq!("redis://[::1]:6379/".parse(), Ok(resp(None)));
        assert_eq!("valkey://:b@c@[::1]:6379".parse(), Ok(resp(Some((None, "b@c")))));
        assert_eq!("redis://b@[::1]:6379".parse(), Ok(resp(Some((None, "b")))));
        assert_eq!("redis://a:b:c@[::1]:6379".parse(), Ok(resp(Some((Some("a"), "b:c")))));
        for wrong in ["", "127.0.0.1:7400", "corelode://x@host:1", "http://host:1", "redis://host", "redis://:1"] {
            assert!(wrong.parse::<TargetUrl>().is_err(), "{wrong}");
        }
    }
}
