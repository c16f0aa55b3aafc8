//! A write on its way: stamped where there are sessions, and then sent until it is answered or its time is over.
//!
//! | what came | what follows |
//! |---|---|
//! | an answer, or a refusal that says that nothing was executed | the caller has it |
//! | no answer, or one that leaves it open | the write is sent again with its stamp, to whoever leads then |
//! | `SESSION_EXPIRED`, and the write was surely not executed before | another session, and then without one |
//! | `SESSION_EXPIRED`, and it may have been | the outcome is unknown |
//! | the deadline | the outcome is unknown if the write may have been executed |

use std::sync::Arc;

use corelode_net::{ErrorCode, Slot};
use tokio::time::Instant;

use super::Stamp;
use crate::directory::Directory;
use crate::error::{AttemptError, Result};
use crate::request::{Reply, Request};
use crate::routes::Target;
use crate::trail::Trail;

/// A write that meets so many sessions in a row that the server does not know goes without: there are too many clients for sessions to last.
const EXPIRED_MAX: u32 = 2;

impl Directory {
    /// Carries out a PUT or DELETE of a key in `slot`.
    pub(crate) async fn write(self: &Arc<Self>, slot: Slot, request: Request<'_>, deadline: Instant) -> Result<Reply> {
        let mut expired = 0;
        let mut goes_stamped = true;
        loop {
            let stamp = if goes_stamped { self.stamp_of_slot(slot, deadline).await? } else { None };
            let request = match &stamp {
                Some(stamp) => Request::Stamped { prefix: stamp.prefix, request: &request },
                None => request,
            };
            let mut trail = Trail::default();
            let outcome = self.call_along(Target::Slot(slot), request, deadline, &mut trail).await;
            let Some(stamp) = stamp.filter(|_| outcome.is_err()) else { return outcome };
            match trail.last().and_then(AttemptError::code) {
                Some(ErrorCode::SessionExpired) => {
                    stamp.forget_session();
                    expired += 1;
                    if expired == EXPIRED_MAX {
                        stamp.pause_sessions();
                        goes_stamped = false;
                    }
                }
                // A bug of this client: what else the session would say is not to be relied on.
                Some(ErrorCode::SequenceReused) => {
                    stamp.forget_session();
                    return outcome;
                }
                // A node that is older than the others: it refuses what it does not know, and serves the rest.
                Some(ErrorCode::Unsupported) => goes_stamped = false,
                _ => return outcome,
            }
            // Another stamp, or none, would make another write of it.
            if trail.may_be_executed() {
                return outcome;
            }
        }
    }

    /// A stamp for a write to the partition that has the slot; `None` if it is to go without.
    async fn stamp_of_slot(self: &Arc<Self>, slot: Slot, deadline: Instant) -> Result<Option<Stamp>> {
        let routes = self.routes(deadline).await?;
        match routes.partition_of(slot) {
            Some(partition) if self.map.has_sessions() => self.stamp(partition, deadline).await,
            _ => Ok(None),
        }
    }
}
