//! The client against a server that misbehaves: what it tells its caller, what it sends again, and what it must never do.

#![allow(clippy::unwrap_used, reason = "what a script does not expect fails its test")]

mod breaks;
mod damage;
mod fake_cluster;
mod fake_server;
mod leaders;
mod moves;
mod refusals;
mod replies;
mod sessions;
mod silence;

use corelode_client::{Client, Error};

use fake_server::PATIENCE;

/// The result of something that must end.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the client answers in time")
}

/// The value of a key, which is there.
async fn value(client: &Client, key: &str) -> Result<Vec<u8>, Error> {
    let found = in_time(client.get(key.as_bytes())).await?;
    Ok(found.expect("the key has a value").value.to_vec())
}

/// Gives a key a value; answers the revision.
async fn put(client: &Client, key: &str) -> Result<u64, Error> {
    in_time(client.put(key.as_bytes(), b"value")).await
}

fn is_unknown<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::OutcomeUnknown { .. }))
}
