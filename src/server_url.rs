//! Where a server or a cluster is: `corelode://HOST:PORT`, several nodes separated by commas.

use std::{fmt, str::FromStr};

const SCHEME: &str = "corelode://";

/// The port that `corelode serve` listens on unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 7400;

/// Where a server is, or nodes of a cluster, any of which may be down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// At least one.
    nodes: Vec<NodeAddress>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeAddress {
    /// A name or an address; an IPv6 address without its brackets.
    host: String,
    /// The common port.
    port: u16,
}

impl ServerUrl {
    /// The addresses, `HOST:PORT`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(ToString::to_string).collect()
    }
}

/// Why a text is no URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerUrlError {
    /// It begins with another scheme than `corelode://`.
    Scheme,
    /// The host is missing.
    HostMissing,
    /// An IPv6 address without brackets, or with one bracket only.
    Brackets,
    /// The port is no number from 1 to 65535.
    Port(String),
    /// Something follows the port, or a name and password come before the host.
    Extra(char),
}

impl fmt::Display for ServerUrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => write!(formatter, "it must look like corelode://HOST:PORT[,HOST:PORT…]"),
            Self::HostMissing => write!(formatter, "the host is missing: write corelode://HOST:PORT"),
            Self::Brackets => write!(formatter, "write an IPv6 address in brackets: corelode://[::1]:{DEFAULT_PORT}"),
            Self::Port(port) => write!(formatter, "{port:?} is no port: write a number from 1 to 65535"),
            Self::Extra(letter) => write!(formatter, "{letter:?} has no place in corelode://HOST:PORT"),
        }
    }
}

impl std::error::Error for ServerUrlError {}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let addresses = text.strip_prefix(SCHEME).unwrap_or(text);
        if addresses.contains("://") {
            return Err(ServerUrlError::Scheme);
        }
        // One slash at the end is how many tools complete a URL.
        let addresses = addresses.strip_suffix('/').unwrap_or(addresses);
        let nodes = addresses.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { nodes })
    }
}

impl FromStr for NodeAddress {
    type Err = ServerUrlError;

    fn from_str(address: &str) -> Result<Self, ServerUrlError> {
        if let Some(letter) = address.chars().find(|&letter| "/?#@".contains(letter) || letter.is_whitespace()) {
            return Err(ServerUrlError::Extra(letter));
        }
        let (host, port) = if let Some(bracketed) = address.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']').ok_or(ServerUrlError::Brackets)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(ServerUrlError::Brackets),
            }
        } else {
            match address.split_once(':') {
                Some((_, rest)) if rest.contains(':') => return Err(ServerUrlError::Brackets),
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            }
        };
        if host.is_empty() {
            return Err(ServerUrlError::HostMissing);
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(number) if number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
                _ => return Err(ServerUrlError::Port(port.to_owned())),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}", self.addresses().join(","))
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(formatter, "[{host}]:{port}") } else { write!(formatter, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_host_and_port_of_each_node() {
        for (text, shown) in [
            ("corelode://127.0.0.1:7400", "corelode://127.0.0.1:7400"),
            ("127.0.0.1:7400", "corelode://127.0.0.1:7400"),
            ("corelode://db.example:1", "corelode://db.example:1"),
            ("corelode://db.example", "corelode://db.example:7400"),
            ("corelode://db.example:7401/", "corelode://db.example:7401"),
            ("corelode://[::1]:7400", "corelode://[::1]:7400"),
            ("corelode://[fe80::1]", "corelode://[fe80::1]:7400"),
            ("corelode://one:1,[::2]:2,three", "corelode://one:1,[::2]:2,three:7400"),
            ("one,two:7401", "corelode://one:7400,two:7401"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        for (text, expected) in [
            ("http://127.0.0.1:7400", ServerUrlError::Scheme),
            ("corelode://one:1,corelode://two:2", ServerUrlError::Scheme),
            ("", ServerUrlError::HostMissing),
            ("corelode://one:1,", ServerUrlError::HostMissing),
            ("corelode://", ServerUrlError::HostMissing),
            ("corelode://:7400", ServerUrlError::HostMissing),
            ("corelode://::1:7400", ServerUrlError::Brackets),
            ("corelode://[::1:7400", ServerUrlError::Brackets),
            ("corelode://[::1]7400", ServerUrlError::Brackets),
            ("corelode://a:", ServerUrlError::Port(String::new())),
            ("corelode://a:0", ServerUrlError::Port("0".into())),
            ("corelode://a:+1", ServerUrlError::Port("+1".into())),
            ("corelode://a:65536", ServerUrlError::Port("65536".into())),
            ("corelode://a:7400/path", ServerUrlError::Extra('/')),
            ("corelode://user@a:7400", ServerUrlError::Extra('@')),
            ("corelode://a b:7400", ServerUrlError::Extra(' ')),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(expected), "{text}");
        }
    }
}
