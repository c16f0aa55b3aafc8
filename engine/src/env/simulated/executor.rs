//! Simulated time and tasks, on one thread: everything that happens, happens in an order that the seed decides.
//!
//! One [`Simulation`] may hold several environments, which share its clock and its tasks: the machines of a cluster. Time
//! stands still while a task runs, moves a little from poll to poll, and jumps to the next timer when no task is ready. It fails
//! by panicking where the program would hang: no task is ready, no timer is set, and the future it runs is not done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::random::Random;
use crate::env::tasks::Tasks;

/// What a poll costs in simulated time, so that a task that spins does not stop the clock.
const POLL_TIME: Duration = Duration::from_micros(1);

/// Whose task it is. When a machine crashes its tasks are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner(pub(super) u64);

/// The owner of the future that is run.
const NOBODY: Owner = Owner(0);

/// A clock and an executor. Clones are the same one.
#[derive(Clone)]
pub struct Simulation {
    shared: Rc<Shared>,
}

struct Shared {
    tasks: Tasks<Owner>,
    now: Cell<Duration>,
    /// By deadline, then by the order of their making.
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    timer_next: Cell<u64>,
    owner_next: Cell<u64>,
    /// None if tasks run in the order in which they become ready.
    order: Option<RefCell<Random>>,
    running: Cell<bool>,
}

impl Simulation {
    /// Tasks that are ready run in an order decided by the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_order(Some(RefCell::new(Random::new(seed))))
    }

    /// Tasks run in the order in which they become ready.
    #[must_use]
    pub fn in_order() -> Self {
        Self::with_order(None)
    }

    fn with_order(order: Option<RefCell<Random>>) -> Self {
        Self {
            shared: Rc::new(Shared {
                tasks: Tasks::new(),
                now: Cell::new(Duration::ZERO),
                timers: RefCell::default(),
                timer_next: Cell::new(0),
                owner_next: Cell::new(NOBODY.0 + 1),
                order,
                running: Cell::new(false),
            }),
        }
    }

    /// Time since the start of the simulation.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.now.get()
    }

    /// Moves the clock on. Timers that fall due fire when the simulation runs next.
    pub fn advance(&self, duration: Duration) {
        self.shared.now.set(self.now() + duration);
    }

    /// Waits for a simulated time.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        Sleep { simulation: self.clone(), deadline: self.now() + duration, timer: None }
    }

    /// How many tasks have not finished.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Runs a future, and all tasks beside it, until it is done. Tasks that are left over wait for the next call.
    ///
    /// # Panics
    /// If the future waits for something that nothing will bring, or if the simulation is already running.
    pub fn run_until<T>(&self, future: impl Future<Output = T>) -> T {
        self.run_unless(future, || false).expect("nothing ends this run but its future")
    }

    /// As [`run_until`](Self::run_until), but ends without a result as soon as `is_over`.
    pub(super) fn run_unless<T>(&self, future: impl Future<Output = T>, is_over: impl Fn() -> bool) -> Option<T> {
        assert!(!self.shared.running.replace(true), "a simulation was run from within itself");
        let mut future = pin!(future);
        let main = self.shared.tasks.insert_foreign(NOBODY);
        let result = loop {
            if is_over() {
                break None;
            }
            self.fire_timers();
            let ready = self.shared.tasks.take_ready(|queue| match &self.shared.order {
                Some(random) => random.borrow_mut().position(queue.len()),
                None => 0,
            });
            match ready {
                Some(task) if main.is(task) => {
                    let polled = future.as_mut().poll(&mut Context::from_waker(&main.start_poll()));
                    self.advance(POLL_TIME);
                    if let (Poll::Ready(output), false) = (polled, is_over()) {
                        break Some(output);
                    }
                }
                Some(task) => {
                    self.shared.tasks.poll(task.number);
                    self.advance(POLL_TIME);
                }
                None => self.jump_to_next_timer(),
            }
        };
        self.shared.running.set(false);
        result
    }

    fn fire_timers(&self) {
        let later = self.shared.timers.borrow_mut().split_off(&(self.now() + Duration::from_nanos(1), 0));
        let due = self.shared.timers.replace(later);
        for waker in due.into_values() {
            waker.wake();
        }
    }

    fn jump_to_next_timer(&self) {
        let next = self.shared.timers.borrow().keys().next().map(|&(deadline, _)| deadline);
        match next {
            Some(deadline) => self.shared.now.set(self.now().max(deadline)),
            None => panic!("deadlock: no task is ready and no timer is set, with {} tasks waiting", self.task_count()),
        }
    }

    pub(super) fn new_owner(&self) -> Owner {
        let owner = self.shared.owner_next.get();
        self.shared.owner_next.set(owner + 1);
        Owner(owner)
    }

    pub(super) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + 'static) {
        self.shared.tasks.insert(owner, task);
    }

    /// Drops the tasks of an owner.
    pub(super) fn kill(&self, owner: Owner) {
        self.shared.tasks.remove_where(|task_owner| task_owner == owner);
    }
}

struct Sleep {
    simulation: Simulation,
    deadline: Duration,
    /// The key of the timer, once it is set.
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.simulation.now() >= self.deadline {
            return Poll::Ready(());
        }
        let shared = Rc::clone(&self.simulation.shared);
        let deadline = self.deadline;
        let timer = *self.timer.get_or_insert_with(|| {
            let number = shared.timer_next.get();
            shared.timer_next.set(number + 1);
            (deadline, number)
        });
        shared.timers.borrow_mut().insert(timer, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.simulation.shared.timers.borrow_mut().remove(&timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::thread::YieldNow;

    /// Five tasks of three chunks each; says in which order the chunks ran.
    fn order_of_chunks(simulation: &Simulation) -> Vec<usize> {
        let order = Rc::new(RefCell::new(Vec::new()));
        let owner = simulation.new_owner();
        for task in 0..5 {
            let order = Rc::clone(&order);
            simulation.spawn(owner, async move {
                for _ in 0..3 {
                    order.borrow_mut().push(task);
                    YieldNow::default().await;
                }
            });
        }
        simulation.run_until(simulation.sleep(Duration::from_millis(1)));
        assert_eq!(simulation.task_count(), 0);
        order.take()
    }

    #[test]
    fn the_seed_decides_the_order_of_tasks() {
        let orders: Vec<_> = (0..4).map(|seed| order_of_chunks(&Simulation::new(seed))).collect();
        for (seed, order) in (0..4).zip(&orders) {
            assert_eq!(order, &order_of_chunks(&Simulation::new(seed)));
        }
        assert!(orders.iter().any(|order| order != &orders[0]));
        assert_eq!(order_of_chunks(&Simulation::in_order()), [0, 1, 2, 3, 4].repeat(3));
    }

    #[test]
    fn the_clock_jumps_to_the_next_timer_and_a_dropped_timer_is_gone() {
        let simulation = Simulation::new(1);
        simulation.run_until(async {
            {
                let mut forgotten = pin!(simulation.sleep(Duration::from_secs(1)));
                let polled = std::future::poll_fn(|context| Poll::Ready(forgotten.as_mut().poll(context))).await;
                assert_eq!(polled, Poll::Pending);
            }
            simulation.sleep(Duration::from_secs(3600)).await;
        });
        assert_eq!(simulation.now().as_secs(), 3600);
        assert!(simulation.shared.timers.borrow().is_empty());
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_future_that_nothing_wakes_is_a_deadlock() {
        Simulation::new(1).run_until(std::future::pending::<()>());
    }

    #[test]
    fn tasks_of_a_dead_machine_do_not_run() {
        let simulation = Simulation::new(1);
        let (alive, dead) = (simulation.new_owner(), simulation.new_owner());
        let runs = Rc::new(RefCell::new(Vec::new()));
        for owner in [alive, dead] {
            let runs = Rc::clone(&runs);
            simulation.spawn(owner, async move { runs.borrow_mut().push(owner) });
        }
        simulation.kill(dead);
        simulation.run_until(simulation.sleep(Duration::from_millis(1)));
        assert_eq!(*runs.borrow(), [alive]);
    }
}
