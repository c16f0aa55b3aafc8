//! Waking one task of this thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A flag that one task waits for and any other task of the same thread raises. Raising it twice wakes once.
#[derive(Default)]
pub(crate) struct Notify {
    is_raised: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// Wakes the waiting task, now or when it comes to wait.
    pub(crate) fn raise(&self) {
        if !self.is_raised.replace(true)
            && let Some(waker) = self.waiter.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Waits for the flag and lowers it. One task at a time waits.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
