//! The maintenance thread beside a shard: it runs the jobs that take long, and reports each as one message.
//!
//! A shard hands jobs over and never waits: a full queue is refused at once. The jobs run as futures on a plain thread with a
//! [`ThreadEnvironment`] of its own, the more urgent [`Lane`] first whenever a job yields, so that a long compaction holds up a
//! flush for one chunk of its work. Results go to a callback, on the maintenance thread: the way into the shard's mailbox.
//!
//! What bounds it: each lane has a queue of fixed length and a number of jobs that run side by side; the rest wait in the queue.
//! How it fails: a job that panics stops the thread, and the panic is the last thing it delivers. State may be half done by
//! then, so whoever receives it ends the process.

#[cfg(test)]
mod tests;
mod thread_attributes;
mod worker;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, TrySendError, bounded};

pub use crate::env::thread::Lane;
use crate::env::thread::ThreadEnvironment;
use worker::Worker;

/// How a maintenance thread runs.
#[derive(Clone, Debug)]
pub struct MaintenanceOptions {
    /// The name of the thread; the kernel shows the first 15 bytes.
    pub name: String,
    /// How much nicer than the thread that starts it. Not the idle class: beside a busy shard a thread of that class got 3% of
    /// the core and the log would fill, at 10 it got 12%.
    pub nice: u8,
    /// The processors it may run on; those of the process's first thread if not given. Never just those of the shard that starts it.
    pub processors: Option<Vec<usize>>,
    /// How many jobs of a lane wait to be started, at most.
    pub queue_length_max: usize,
    /// How many jobs of a lane run side by side, at most. With one, a lane's jobs end in the order in which they came.
    pub running_max: usize,
}

impl MaintenanceOptions {
    /// The usual manner of running.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), nice: 10, processors: None, queue_length_max: 64, running_max: 4 }
    }
}

/// A running maintenance thread, as the shard holds it. Dropping it abandons the jobs.
pub struct MaintenanceThread<J> {
    queues: [Sender<J>; Lane::ALL.len()],
    phase: Arc<SharedPhase>,
    /// None once it was joined.
    thread: Option<JoinHandle<Result<(), JobPanicked>>>,
}

impl<J: Send + 'static> MaintenanceThread<J> {
    /// Starts a thread on which `run` turns each job into a future, and `deliver` gets each result.
    ///
    /// # Errors
    /// If the operating system starts no thread.
    pub fn start<R, F, O>(
        options: MaintenanceOptions,
        run: R,
        deliver: impl Fn(Result<O, JobPanicked>) + Send + 'static,
    ) -> io::Result<Self>
    where
        R: Fn(ThreadEnvironment, J) -> F + Send + 'static,
        F: Future<Output = O> + 'static,
        O: 'static,
    {
        let channels = Lane::ALL.map(|_| bounded(options.queue_length_max));
        let queues = channels.each_ref().map(|(sender, _)| sender.clone());
        let phase = Arc::new(SharedPhase::default());
        let phase_of_worker = Arc::clone(&phase);
        let thread = thread::Builder::new().name(options.name.clone()).spawn(move || {
            thread_attributes::apply(&options);
            let jobs = channels.map(|(_, receiver)| receiver);
            Worker::new(jobs, phase_of_worker, options.running_max, run, deliver).run()
        })?;
        Ok(Self { queues, phase, thread: Some(thread) })
    }

    /// Hands a job over. Never waits.
    ///
    /// # Errors
    /// If the lane's queue is full or the thread has stopped; the job comes back.
    pub fn submit(&self, lane: Lane, job: J) -> Result<(), SubmitError<J>> {
        if self.phase.get() == Phase::Stopped {
            return Err(SubmitError::Stopped(job));
        }
        self.queues[lane.index()].try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => SubmitError::Full(job),
            TrySendError::Disconnected(job) => SubmitError::Stopped(job),
        })?;
        self.unpark();
        Ok(())
    }

    /// How many jobs of a lane wait to be started.
    #[must_use]
    pub fn queue_length(&self, lane: Lane) -> usize {
        self.queues[lane.index()].len()
    }

    /// Stops the thread and waits for its end, which is that of the last job or of the chunk at hand.
    ///
    /// # Errors
    /// If a job panicked, now or before.
    pub fn shutdown(mut self, jobs: JobsAtShutdown) -> Result<(), JobPanicked> {
        self.stop(match jobs {
            JobsAtShutdown::Finish => Phase::Finishing,
            JobsAtShutdown::Abandon => Phase::Abandoning,
        })
    }
}

impl<J> MaintenanceThread<J> {
    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn stop(&mut self, phase: Phase) -> Result<(), JobPanicked> {
        self.phase.advance(phase);
        self.unpark();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            // Not a job but the delivery of its panic.
            Some(Err(panic)) => Err(JobPanicked::new(&*panic)),
        }
    }
}

impl<J> Drop for MaintenanceThread<J> {
    fn drop(&mut self) {
        // A panic was delivered when it happened; this handle is not the one to act on it.
        let _ = self.stop(Phase::Abandoning);
    }
}

/// What becomes of the jobs that are not done when the thread stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobsAtShutdown {
    /// All that were submitted end first.
    Finish,
    /// They are dropped at their next yield, as a crash would drop them. Nothing is delivered for them.
    Abandon,
}

/// Why a job was not taken.
#[derive(PartialEq, Eq)]
pub enum SubmitError<J> {
    /// The lane has as many jobs waiting as it may: the shard is ahead of its maintenance and must slow its writers.
    Full(J),
    /// The thread has stopped, by a panic that was delivered.
    Stopped(J),
}

impl<J> SubmitError<J> {
    /// The job that was not taken.
    pub fn into_job(self) -> J {
        match self {
            Self::Full(job) | Self::Stopped(job) => job,
        }
    }
}

impl<J> fmt::Debug for SubmitError<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "Full",
            Self::Stopped(_) => "Stopped",
        })
    }
}

impl<J> fmt::Display for SubmitError<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "the maintenance queue is full",
            Self::Stopped(_) => "the maintenance thread has stopped",
        })
    }
}

impl<J> std::error::Error for SubmitError<J> {}

/// A job panicked: a bug of ours, after which nothing of the store's state is certain. Whoever receives it ends the process.
#[must_use = "a panic of a job ends the process"]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobPanicked {
    /// What the panic said.
    pub message: String,
}

impl JobPanicked {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        Self { message: message.unwrap_or_else(|| "a panic without words".to_string()) }
    }
}

impl fmt::Display for JobPanicked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a maintenance job panicked: {}", self.message)
    }
}

impl std::error::Error for JobPanicked {}

/// Where a maintenance thread is on its way; it never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
enum Phase {
    Running,
    Finishing,
    Abandoning,
    Stopped,
}

/// The phase, set by either side: the holder asks for the end, the thread says that it has come.
#[derive(Default)]
struct SharedPhase(AtomicU8);

impl SharedPhase {
    fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Finishing,
            2 => Phase::Abandoning,
            _ => Phase::Stopped,
        }
    }

    fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}
