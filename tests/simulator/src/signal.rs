//! A flag that a task waits for.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use corelode_engine::env::simulated::Simulation;

/// Raised by anybody, taken by the one who waits.
#[derive(Default)]
pub(crate) struct Signal {
    is_raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.is_raised.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until it is raised, and takes it.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_raised.replace(false) {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Waits until it is raised, or so much time has passed.
    pub(crate) async fn wait_for(&self, simulation: &Simulation, duration: Option<Duration>) {
        match duration {
            None => self.wait().await,
            Some(duration) => drop(first(self.wait(), simulation.sleep(duration)).await),
        }
    }
}

/// Waits for the first of two: `None` if it is the second.
pub(crate) async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        if let Poll::Ready(value) = one.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        other.as_mut().poll(context).map(|()| None)
    })
    .await
}
