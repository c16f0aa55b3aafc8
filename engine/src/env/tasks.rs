//! Tasks of one thread: their futures, the wakers that make them ready, and nothing about the order they run in.
//!
//! Both executors of the engine are built on it, the one of a maintenance thread and the one of the simulator; they differ in
//! which ready task they take. Only the wakers may travel to other threads; the futures stay with the thread that made them.
//! What bounds it: whoever spawns. A task that was dropped while a waker of it lives is simply never found again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// A task that may be polled: its number, and the tag its owner gave it, by which an executor chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReadyTask<T> {
    pub(crate) number: u64,
    pub(crate) tag: T,
}

/// The tasks of one thread.
pub(crate) struct Tasks<T: Tag> {
    ready: Arc<Ready<T>>,
    /// A task is absent while it is being polled.
    table: RefCell<BTreeMap<u64, Task<T>>>,
    number_next: Cell<u64>,
}

/// What an executor orders its tasks by.
pub(crate) trait Tag: Copy + Send + Sync + 'static {}
impl<T: Copy + Send + Sync + 'static> Tag for T {}

/// The place in the queue of a future that is not kept in [`Tasks`]: the one an executor blocks on.
pub(crate) struct ForeignTask<T: Tag> {
    waker: Arc<TaskWaker<T>>,
}

struct Task<T: Tag> {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Arc<TaskWaker<T>>,
}

struct Ready<T> {
    queue: Mutex<VecDeque<ReadyTask<T>>>,
    /// The thread that polls, woken if it parked.
    thread: Thread,
}

struct TaskWaker<T: Tag> {
    task: ReadyTask<T>,
    /// Invariant: true exactly while the task is in the queue, so that it is there once at most.
    queued: AtomicBool,
    ready: Arc<Ready<T>>,
}

impl<T: Tag> Tasks<T> {
    /// No tasks, on this thread.
    pub(crate) fn new() -> Self {
        Self {
            ready: Arc::new(Ready { queue: Mutex::new(VecDeque::new()), thread: thread::current() }),
            table: RefCell::new(BTreeMap::new()),
            number_next: Cell::new(0),
        }
    }

    /// Takes a task in, ready for its first poll.
    pub(crate) fn insert(&self, tag: T, future: impl Future<Output = ()> + 'static) {
        let waker = self.new_waker(tag);
        let number = waker.task.number;
        let queued = waker.clone();
        self.table.borrow_mut().insert(number, Task { future: Box::pin(future), waker });
        queued.wake();
    }

    /// A task, ready for its first poll, whose future the executor keeps and polls itself.
    pub(crate) fn insert_foreign(&self, tag: T) -> ForeignTask<T> {
        let waker = self.new_waker(tag);
        waker.wake_by_ref();
        ForeignTask { waker }
    }

    fn new_waker(&self, tag: T) -> Arc<TaskWaker<T>> {
        let number = self.number_next.get();
        self.number_next.set(number + 1);
        let task = ReadyTask { number, tag };
        Arc::new(TaskWaker { task, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) })
    }

    /// Takes one ready task out of the queue: `pick` sees those that are ready, oldest first and at least one, and names a position.
    ///
    /// The caller polls what it gets: with [`poll`](Self::poll), or itself if it is a [`ForeignTask`].
    pub(crate) fn take_ready(&self, pick: impl FnOnce(&VecDeque<ReadyTask<T>>) -> usize) -> Option<ReadyTask<T>> {
        let mut queue = self.ready.lock();
        if queue.is_empty() {
            return None;
        }
        let position = pick(&queue);
        queue.remove(position)
    }

    /// Polls a task that was ready. One that is gone by now is skipped.
    pub(crate) fn poll(&self, number: u64) {
        let Some(mut task) = self.table.borrow_mut().remove(&number) else { return };
        // From here on a wake queues it again, even one during this very poll.
        task.waker.queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.waker));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
            self.table.borrow_mut().insert(number, task);
        }
    }

    /// Drops the tasks whose tag is chosen, wherever they stand.
    pub(crate) fn remove_where(&self, mut chosen: impl FnMut(T) -> bool) {
        let removed: Vec<_> = {
            let mut table = self.table.borrow_mut();
            let numbers: Vec<u64> = table
                .values()
                .map(|task| task.waker.task)
                .filter(|task| chosen(task.tag))
                .map(|task| task.number)
                .collect();
            numbers.iter().filter_map(|number| table.remove(number)).collect()
        };
        // Dropped outside the borrow: a destructor may spawn or wake.
        drop(removed);
    }

    /// How many tasks have not finished; the one being polled is not among them.
    pub(crate) fn len(&self) -> usize {
        self.table.borrow().len()
    }
}

impl<T: Tag> ForeignTask<T> {
    /// Whether a ready task is this one.
    pub(crate) fn is(&self, task: ReadyTask<T>) -> bool {
        task.number == self.waker.task.number
    }

    /// The waker for the poll that follows; from here on a wake queues it again.
    pub(crate) fn start_poll(&self) -> Waker {
        self.waker.queued.store(false, Ordering::Release);
        Waker::from(Arc::clone(&self.waker))
    }
}

impl<T> Ready<T> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<ReadyTask<T>>> {
        // Nothing that can panic runs under the lock but `pick`, which only reads.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Tag> Wake for TaskWaker<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.lock().push_back(self.task);
            self.ready.thread.unpark();
        }
    }
}
