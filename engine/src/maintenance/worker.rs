//! What runs on a maintenance thread: it takes jobs in, polls the most urgent, and delivers what they return.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::Receiver;

use super::{JobPanicked, Lane, Phase, SharedPhase};
use crate::env::thread::ThreadEnvironment;

pub(super) struct Worker<J, R, D> {
    environment: ThreadEnvironment,
    jobs: [Receiver<J>; Lane::ALL.len()],
    phase: Arc<SharedPhase>,
    running_max: usize,
    /// How many jobs run, by lane.
    running: Rc<[Cell<usize>; Lane::ALL.len()]>,
    run: Rc<R>,
    deliver: Rc<D>,
}

impl<J, R, D, F, O> Worker<J, R, D>
where
    J: 'static,
    R: Fn(ThreadEnvironment, J) -> F + 'static,
    D: Fn(Result<O, JobPanicked>) + 'static,
    F: Future<Output = O> + 'static,
    O: 'static,
{
    pub(super) fn new(
        jobs: [Receiver<J>; Lane::ALL.len()],
        phase: Arc<SharedPhase>,
        running_max: usize,
        run: R,
        deliver: D,
    ) -> Self {
        Self {
            environment: ThreadEnvironment::new(),
            jobs,
            phase,
            running_max: running_max.max(1),
            running: Rc::default(),
            run: Rc::new(run),
            deliver: Rc::new(deliver),
        }
    }

    /// Runs jobs until it is told to stop or one panics.
    pub(super) fn run(self) -> Result<(), JobPanicked> {
        let executor = self.environment.executor();
        let result = loop {
            let phase = self.phase.get();
            if phase >= Phase::Abandoning {
                break Ok(());
            }
            self.start_jobs();
            // Whatever a panic leaves half done is never looked at again: the tasks are dropped and the process ends.
            match catch_unwind(AssertUnwindSafe(|| executor.run_one())) {
                Ok(true) => {}
                // All queues are empty as well, or a job would have been started.
                Ok(false) if phase == Phase::Finishing && executor.task_count() == 0 => break Ok(()),
                Ok(false) => thread::park(),
                Err(panic) => break Err(JobPanicked::new(&*panic)),
            }
        };
        self.phase.advance(Phase::Stopped);
        executor.clear();
        if let Err(panic) = &result {
            tracing::error!(message = %panic.message, "a maintenance job panicked");
            (self.deliver)(Err(panic.clone()));
        }
        result
    }

    /// Starts as many of the waiting jobs as may run.
    fn start_jobs(&self) {
        for lane in Lane::ALL {
            while self.running[lane.index()].get() < self.running_max {
                let Ok(job) = self.jobs[lane.index()].try_recv() else { break };
                self.start_job(lane, job);
            }
        }
    }

    fn start_job(&self, lane: Lane, job: J) {
        let (run, deliver, running) = (Rc::clone(&self.run), Rc::clone(&self.deliver), Rc::clone(&self.running));
        let environment = self.environment.clone();
        running[lane.index()].update(|count| count + 1);
        self.environment.executor().spawn(lane, async move {
            let output = run(environment, job).await;
            running[lane.index()].update(|count| count - 1);
            deliver(Ok(output));
        });
    }
}
