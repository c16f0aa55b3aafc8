//! A request on its way through the cluster: sent to the leader of its partition, and again where that is safe, until its deadline.
//!
//! A node that does not lead names the leader if it knows, and the request goes there at once, [`HOPS_MAX`] times in a row at most: two nodes that
//! name each other cost a few hops and then a delay. Without a name, and where a node cannot be reached, another replica is asked after a delay
//! that grows and varies, and another map is fetched beside, once for all.
//!
//! Where there are other nodes, none is waited for without limit. An attempt that was not sent, and a read, go elsewhere after the
//! [attempt's time](crate::Options::with_attempt_timeout), which doubles with each. A write that was sent stays where it is: until its answer, its connection's end,
//! or its deadline. The latter two leave it unknown, and with that it ends, unless its session tells it apart: then it is sent again, to whoever leads
//! then, and before that if the node is silent, or slow for long.

use std::sync::Arc;
use std::time::Duration;

use corelode_net::{ErrorCode, MapEpoch, NodeId, RetryClass};
use tokio::time::Instant;

use crate::directory::Directory;
use crate::error::{AttemptError, Error, Result};
use crate::lane::Limits;
use crate::random;
use crate::request::{Reply, Request};
use crate::retry::{Decision, Kind, decide, jittered};
use crate::routes::{Destination, Routes, Target};
use crate::trail::Trail;

/// How many leaders a request follows in a row without a delay.
const HOPS_MAX: u32 = 3;
/// An attempt's time doubles so often.
const DOUBLINGS_MAX: u32 = 4;

/// What follows from a failed attempt.
pub(crate) enum Next {
    AtOnce,
    Within(Duration),
    GiveUp,
}

impl Directory {
    /// Calls until an attempt succeeds, or must not or need not be repeated.
    pub(crate) async fn call(
        self: &Arc<Self>,
        target: Target,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Reply> {
        self.call_along(target, request, deadline, &mut Trail::default()).await
    }

    /// As [`call`](Self::call), with the trail that the attempts leave.
    pub(crate) async fn call_along(
        self: &Arc<Self>,
        target: Target,
        request: Request<'_>,
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<Reply> {
        let kind = request.kind();
        loop {
            let routes = match self.routes(deadline).await {
                Ok(routes) => routes,
                // What was met before says whether the write may have been executed.
                Err(_) if kind.is_write() && trail.may_be_executed() => return Err(trail.error(kind)),
                Err(error) => return Err(error),
            };
            let turn = usize::try_from(trail.turn()).expect("32 bits");
            let Some(destination) = routes.choose(target, turn) else { return Err(unknown(target)) };
            let error = match self.attempt(&routes, &destination, request, deadline, trail.turn()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let next = self.consider(&routes, &destination, &error, kind, trail);
            trail.note(&destination.node, error);
            trail.next_turn();
            match next {
                Next::AtOnce => {}
                Next::GiveUp => return Err(trail.error(kind)),
                Next::Within(within) => {
                    let wake_at = Instant::now() + jittered(within, random::number());
                    if wake_at >= deadline {
                        return Err(trail.error(kind));
                    }
                    tokio::time::sleep_until(wake_at).await;
                }
            }
        }
    }

    /// Sends a request once. `turn` counts its attempts.
    pub(crate) async fn attempt(
        &self,
        routes: &Routes,
        destination: &Destination,
        request: Request<'_>,
        deadline: Instant,
        turn: u32,
    ) -> std::result::Result<Reply, AttemptError> {
        let Destination { node, core, .. } = destination;
        let transport = node.transport(*core, &self.options, &self.map);
        let patience = match routes.has_several_nodes() {
            true => {
                let time = self.options.attempt_timeout.saturating_mul(1 << turn.min(DOUBLINGS_MAX));
                Instant::now().checked_add(time).map_or(deadline, |until| until.min(deadline))
            }
            false => deadline,
        };
        let map_epoch = if core.is_some() { routes.topology.map_epoch } else { MapEpoch(0) };
        transport.call(request, map_epoch, Limits { deadline, patience }).await
    }

    /// What follows from a failed attempt, and what it teaches about leaders.
    pub(crate) fn consider(
        &self,
        routes: &Routes,
        destination: &Destination,
        error: &AttemptError,
        kind: Kind,
        trail: &mut Trail,
    ) -> Next {
        if let AttemptError::Server { code: Some(ErrorCode::NotLeader), retry: RetryClass::Safe, leader, .. } = error
            && self.follow(routes, destination, *leader)
            && trail.may_hop(HOPS_MAX)
        {
            return Next::AtOnce;
        }
        trail.rest();
        match decide(error, kind, trail.turn()) {
            Decision::GiveUp => Next::GiveUp,
            Decision::RetryWithin(within) => Next::Within(within),
            Decision::RefreshAndRetryWithin(within) => {
                routes.outdate();
                Next::Within(within)
            }
            Decision::ElsewhereWithin(within) => {
                if let Some(number) = destination.led {
                    routes.disbelieve(number, destination.member);
                }
                self.map.doubt();
                Next::Within(within)
            }
        }
    }

    /// Believes a node that names another as the leader; answers whether there is a point in asking that one at once.
    fn follow(&self, routes: &Routes, destination: &Destination, leader: Option<NodeId>) -> bool {
        let named = leader.and_then(|node_id| routes.member_of(node_id));
        match (destination.led, named) {
            (Some(number), Some(named)) if named != destination.member && !routes.is_in_trouble(number, named) => {
                routes.believe(number, named);
                // Where one partition has another leader, more may.
                self.map.doubt();
                true
            }
            _ => false,
        }
    }
}

/// The map knows no such node or partition.
fn unknown(target: Target) -> Error {
    let message = match target {
        Target::Node(node_id) => format!("the cluster has no node {node_id}"),
        other => format!("the cluster's map knows nothing of {other:?}"),
    };
    Error::Invalid { message }
}
