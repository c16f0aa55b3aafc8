//! Messages between threads: bounded single-producer single-consumer rings from every shard to every other, one from the
//! maintenance thread to its shard, and one wake-up per receiver and turn, only if it sleeps.
//!
//! A shard's [`Mailbox`] is read by that shard alone. Senders push into rings of their own and then [`wake`](Bell::ring) the receiver.
//! A full ring pushes back: the sender keeps its message and tries again at its next turn.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Poll, Waker};

/// Wakes a thread's runtime out of its sleep, from any thread.
///
/// The receiver announces that it is about to sleep, looks into its rings once more, and sleeps; the sender pushes, and then rings if a
/// sleep was announced. With a full fence on both sides one of them sees the other (Dekker).
#[derive(Clone, Default)]
pub(crate) struct Bell {
    shared: Arc<BellShared>,
}

#[derive(Default)]
struct BellShared {
    is_sleeping: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Wakes the receiver if it sleeps or is about to.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.shared.is_sleeping.load(Ordering::Relaxed) && self.shared.is_sleeping.swap(false, Ordering::SeqCst) {
            let waker = self.shared.waker.lock().expect("nobody panics while holding it").take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// For the receiver: announces a sleep unless `has_mail` finds something.
    pub(crate) fn poll_sleep(&self, context: &Context<'_>, has_mail: impl Fn() -> bool) -> Poll<()> {
        *self.shared.waker.lock().expect("nobody panics while holding it") = Some(context.waker().clone());
        self.shared.is_sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if has_mail() {
            self.shared.is_sleeping.store(false, Ordering::SeqCst);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// The sending end of a ring into another thread's mailbox.
pub(crate) struct Sender<T> {
    ring: rtrb::Producer<T>,
    bell: Bell,
    has_pushed: bool,
}

impl<T> Sender<T> {
    /// Puts a message into the ring; gives it back if the ring is full. The receiver is not woken before [`flush`](Self::flush).
    pub(crate) fn push(&mut self, message: T) -> Result<(), T> {
        self.ring.push(message).map_err(|rtrb::PushError::Full(message)| message)?;
        self.has_pushed = true;
        Ok(())
    }

    /// Wakes the receiver if anything was pushed since the last time.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.has_pushed) {
            self.bell.ring();
        }
    }
}

/// The receiving end: the rings of all senders, and the bell that they ring.
pub(crate) struct Mailbox<T> {
    rings: Vec<rtrb::Consumer<T>>,
    bell: Bell,
}

impl<T> Mailbox<T> {
    /// A mailbox without senders.
    pub(crate) fn new() -> Self {
        Self { rings: Vec::new(), bell: Bell::default() }
    }

    /// Adds a ring of `capacity` messages; the answer is its sending end.
    pub(crate) fn add_sender(&mut self, capacity: usize) -> Sender<T> {
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        self.rings.push(consumer);
        Sender { ring: producer, bell: self.bell.clone(), has_pushed: false }
    }

    /// The next message, from each ring in turn.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.rings.iter_mut().find_map(|ring| ring.pop().ok())
    }

    /// Waits until a message is there.
    pub(crate) fn poll_mail(&self, context: &Context<'_>) -> Poll<()> {
        let has_mail = || self.rings.iter().any(|ring| !ring.is_empty());
        if has_mail() { Poll::Ready(()) } else { self.bell.poll_sleep(context, has_mail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct CountWakes(AtomicUsize);

    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn many_pushes_wake_a_sleeper_once() {
        let mut mailbox = Mailbox::new();
        let mut sender = mailbox.add_sender(8);
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let context = Context::from_waker(&waker);
        assert!(mailbox.poll_mail(&context).is_pending());
        for message in 0..3 {
            sender.push(message).expect("there is room");
        }
        sender.flush();
        sender.flush();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(mailbox.poll_mail(&context).is_ready());
        assert_eq!(std::iter::from_fn(|| mailbox.pop()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(mailbox.poll_mail(&context).is_pending());
    }

    #[test]
    fn a_full_ring_gives_the_message_back() {
        let mut mailbox = Mailbox::new();
        let mut sender = mailbox.add_sender(1);
        sender.push(1).expect("there is room");
        assert_eq!(sender.push(2), Err(2));
        assert_eq!(mailbox.pop(), Some(1));
        sender.push(2).expect("there is room again");
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        const MESSAGES: usize = 20_000;
        let mut mailbox = Mailbox::new();
        let mut sender = mailbox.add_sender(16);
        let producer = std::thread::spawn(move || {
            for message in 0..MESSAGES {
                let mut message = message;
                while let Err(back) = sender.push(message) {
                    message = back;
                    sender.flush();
                    std::thread::yield_now();
                }
                sender.flush();
            }
        });
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let context = Context::from_waker(&waker);
        let mut expected = 0;
        while expected < MESSAGES {
            while let Some(message) = mailbox.pop() {
                assert_eq!(message, expected);
                expected += 1;
            }
            if expected < MESSAGES && mailbox.poll_mail(&context).is_pending() {
                std::thread::park();
            }
        }
        producer.join().expect("the producer ends");
    }
}
