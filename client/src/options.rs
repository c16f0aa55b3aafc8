//! How a client connects and waits.

use std::fmt;
use std::time::Duration;

use corelode_net::Role;
use corelode_net::handshake::{ClientConfig, Credentials, Features, Secret, VersionRange};

/// How a client connects and waits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seeds: addresses of nodes of one cluster, `HOST:PORT`.
    pub(crate) addresses: Vec<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) handshake: ClientConfig,
}

/// Why a text is no address of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UrlError {
    text: String,
}

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is no address of a server: it must look like corelode://HOST:PORT[,HOST:PORT…]",
            self.text
        )
    }
}

impl std::error::Error for UrlError {}

impl Options {
    /// A server or cluster by its URL: `corelode://HOST:PORT`, several nodes separated by commas. Any node that lives tells of the others.
    ///
    /// # Errors
    /// If the text is no such URL.
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        let fail = || UrlError { text: url.to_owned() };
        let rest = url.strip_prefix("corelode://").ok_or_else(fail)?;
        let addresses: Vec<String> = rest.trim_end_matches('/').split(',').map(str::to_owned).collect();
        let is_address = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if addresses.iter().all(is_address) { Ok(Self::from_addresses(addresses)) } else { Err(fail()) }
    }

    /// A server, or nodes of a cluster, by their addresses, `HOST:PORT`.
    #[must_use]
    pub fn from_addresses(addresses: Vec<String>) -> Self {
        let handshake = ClientConfig {
            versions: VersionRange::CURRENT,
            features: Features::RECEIPTS.with(Features::SESSIONS),
            client_name: concat!("corelode-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: None,
        };
        Self {
            addresses,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_millis(500),
            handshake,
        }
    }

    /// How long an operation may take, retries included; 5 seconds unless chosen otherwise.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting to one address and shaking hands may take; 3 seconds unless chosen otherwise.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one node of several is waited for before another is asked: for a read, and for a write that could not be sent; 500 milliseconds unless
    /// chosen otherwise, and twice as long with each attempt. A write that was sent waits 1.5 seconds more for a node that lives. Without
    /// [sessions](Self::without_sessions) it is never sent to another node.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sends writes without sessions: one whose answer is lost is [`OutcomeUnknown`](crate::Error::OutcomeUnknown) at once, and not sent again.
    ///
    /// With sessions, as it is unless this is said, such a write is sent again until its deadline and applied once. That costs 24 bytes a write, one
    /// round trip more for the first write to each partition, and some memory of the server for each partition that the client writes to. One
    /// would do without where nothing is worth repeating: for values in memory on a single node, whose restart loses them anyway.
    #[must_use]
    pub fn without_sessions(mut self) -> Self {
        self.handshake.features = Features::RECEIPTS;
        self
    }

    /// The secret that the server shares with clients of this role.
    #[must_use]
    pub fn with_secret(mut self, role: Role, secret: Secret) -> Self {
        self.handshake.credentials = Some(Credentials { role, secret });
        self
    }

    /// What the client calls itself in the server's logs.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.handshake.client_name);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_one_address_or_several() {
        let addresses = |url| Options::from_url(url).map(|options| options.addresses);
        assert_eq!(addresses("corelode://localhost:7400"), Ok(vec!["localhost:7400".to_owned()]));
        assert_eq!(addresses("corelode://a:1,[::1]:2/"), Ok(vec!["a:1".to_owned(), "[::1]:2".to_owned()]));
        for wrong in ["localhost:7400", "corelode://", "corelode://host", "corelode://host:port", "redis://host:1"] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }
}
