//! The clients, each the one that its users take, behind two calls.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use corelode_client::Options;
use etcd_client::ConnectOptions;

use crate::servers::Servers;
use crate::{Result, System};

const BUCKET: &str = "rivals";
/// How long a new cluster may take to elect and serve.
const START_MAX: Duration = Duration::from_secs(60);

/// A client of one cluster, or one connection of it.
#[derive(Clone)]
pub(crate) enum Handle {
    Corelode(corelode_client::Client),
    Etcd(etcd_client::KvClient),
    Nats(jetstream::kv::Store),
}

/// All connections to a cluster.
pub(crate) struct Client(Vec<Handle>);

impl Client {
    /// Connects once the cluster serves: a write and a read of it have been answered.
    pub(crate) async fn connect(servers: &Servers, connections: u16) -> Result<Self> {
        let started = Instant::now();
        loop {
            let attempt = tokio::time::timeout(Duration::from_secs(10), Self::attempt(servers, connections)).await;
            let error = match attempt {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => error,
                Err(_) => "no answer within 10 s".into(),
            };
            if started.elapsed() > START_MAX {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn attempt(servers: &Servers, connections: u16) -> Result<Self> {
        let handles = match servers.system {
            // One pipelined connection to each core of each node; it finds the leaders by itself.
            System::Corelode => {
                let options = Options::from_addresses(servers.addresses.clone()).with_timeout(Duration::from_secs(10));
                vec![Handle::Corelode(corelode_client::Client::new(options))]
            }
            System::Etcd => etcd(&servers.addresses, connections).await?,
            System::Nats => nats(&servers.addresses, connections).await?,
        };
        let mut first = handles[0].clone();
        first.put("ready", vec![1]).await?;
        match first.get("ready").await? {
            Some(value) if value == [1] => Ok(Self(handles)),
            other => Err(format!("what was put is not what is got: {other:?}").into()),
        }
    }

    /// The connection that a task uses.
    pub(crate) fn handle(&self, task: usize) -> Handle {
        self.0[task % self.0.len()].clone()
    }
}

/// Channels of HTTP/2 to the leader, each of which carries the requests of many tasks at once. A request to another node would only be passed on.
async fn etcd(addresses: &[String], connections: u16) -> Result<Vec<Handle>> {
    let options = || {
        ConnectOptions::new()
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
            .with_keep_alive_while_idle(true)
    };
    for address in addresses {
        let mut client = etcd_client::Client::connect([address], Some(options())).await?;
        let status = client.status().await?;
        let identity = status.header().map(etcd_client::ResponseHeader::member_id);
        if identity != Some(status.leader()) {
            continue;
        }
        let mut handles = Vec::new();
        for _ in 0..connections {
            handles.push(Handle::Etcd(etcd_client::Client::connect([address], Some(options())).await?.kv_client()));
        }
        return Ok(handles);
    }
    Err("etcd has no leader".into())
}

/// Connections to the leader of the bucket's stream.
async fn nats(addresses: &[String], connections: u16) -> Result<Vec<Handle>> {
    let context = jetstream::new(async_nats::connect(&addresses[0]).await?);
    let configuration = jetstream::kv::Config {
        bucket: BUCKET.to_owned(),
        history: 1,
        storage: jetstream::stream::StorageType::File,
        num_replicas: addresses.len(),
        ..Default::default()
    };
    let made = context.create_key_value(configuration).await?;
    let info = made.stream.get_info().await?;
    let leader = info.cluster.and_then(|cluster| cluster.leader).ok_or("the stream has no leader")?;
    let number: usize = leader.trim_start_matches('n').parse()?;
    let mut handles = Vec::new();
    for _ in 0..connections {
        let context = jetstream::new(async_nats::connect(&addresses[number]).await?);
        handles.push(Handle::Nats(context.get_key_value(BUCKET).await?));
    }
    Ok(handles)
}

impl Handle {
    pub(crate) async fn put(&mut self, key: &str, value: Vec<u8>) -> Result<()> {
        match self {
            Self::Corelode(client) => drop(client.put(key.as_bytes(), &value).await?),
            Self::Etcd(client) => drop(client.put(key, value, None).await?),
            Self::Nats(store) => drop(store.put(key, value.into()).await?),
        }
        Ok(())
    }

    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(match self {
            Self::Corelode(client) => client.get(key.as_bytes()).await?.map(|found| found.value.to_vec()),
            Self::Etcd(client) => client.get(key, None).await?.kvs().first().map(|pair| pair.value().to_vec()),
            // Not the store's own `get`, which any replica may answer.
            Self::Nats(store) => {
                let subject = format!("{}{key}", store.prefix);
                Some(store.stream.get_last_raw_message_by_subject(&subject).await?.payload.to_vec())
            }
        })
    }
}
