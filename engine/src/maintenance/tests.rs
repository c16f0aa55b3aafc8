//! The maintenance thread by its promises: order, bounds, panics, and its two ways to end.

use std::sync::mpsc;

use super::*;
use crate::env::Environment;

/// A job that notes its name once for each chunk, and before its first chunk waits for a word if it has to.
struct TestJob {
    name: &'static str,
    chunks: usize,
    gate: Option<Gate>,
}

/// Says that the job has begun, and waits until the test lets it go on.
struct Gate {
    begun: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

/// The test's end of a gate.
struct Gatekeeper {
    begun: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

fn job(name: &'static str, chunks: usize) -> TestJob {
    TestJob { name, chunks, gate: None }
}

fn gated_job(name: &'static str, chunks: usize) -> (TestJob, Gatekeeper) {
    let (begun, has_begun) = mpsc::channel();
    let (let_go_on, go_on) = mpsc::channel();
    let gate = Gate { begun, go_on };
    (TestJob { gate: Some(gate), ..job(name, chunks) }, Gatekeeper { begun: has_begun, go_on: let_go_on })
}

/// A thread whose results are the names of its chunks and jobs, in the order in which they ran.
fn start(options: MaintenanceOptions) -> (MaintenanceThread<TestJob>, mpsc::Receiver<Result<String, JobPanicked>>) {
    let (results, received) = mpsc::channel();
    let chunks = results.clone();
    let run = move |environment: ThreadEnvironment, job: TestJob| {
        let chunks = chunks.clone();
        async move {
            if let Some(gate) = job.gate {
                gate.begun.send(()).unwrap();
                gate.go_on.recv().unwrap();
                environment.yield_now().await;
            }
            for chunk in 0..job.chunks {
                chunks.send(Ok(format!("{} {chunk}", job.name))).unwrap();
                environment.yield_now().await;
            }
            assert_ne!(job.name, "bug", "a job went wrong");
            job.name.to_string()
        }
    };
    let deliver = move |result| results.send(result).unwrap();
    (MaintenanceThread::start(options, run, deliver).unwrap(), received)
}

fn names(received: &mpsc::Receiver<Result<String, JobPanicked>>) -> Vec<String> {
    received.try_iter().map(Result::unwrap).collect()
}

#[test]
fn a_long_job_holds_up_an_urgent_one_for_one_chunk_only() {
    let (thread, received) = start(MaintenanceOptions::new("maintenance"));
    let (compaction, gatekeeper) = gated_job("compaction", 2);
    thread.submit(Lane::Bulk, compaction).unwrap();
    gatekeeper.begun.recv().unwrap();
    thread.submit(Lane::Background, job("scrub", 1)).unwrap();
    thread.submit(Lane::Urgent, job("flush", 2)).unwrap();
    gatekeeper.go_on.send(()).unwrap();
    thread.shutdown(JobsAtShutdown::Finish).unwrap();
    let expected = ["flush 0", "flush 1", "flush", "compaction 0", "compaction 1", "compaction", "scrub 0", "scrub"];
    assert_eq!(names(&received), expected);
}

#[test]
fn a_lane_takes_as_many_jobs_as_it_has_room_for_and_gives_the_rest_back() {
    let options = MaintenanceOptions { queue_length_max: 2, running_max: 1, ..MaintenanceOptions::new("maintenance") };
    let (thread, received) = start(options);
    let (first, gatekeeper) = gated_job("first", 0);
    thread.submit(Lane::Bulk, first).unwrap();
    gatekeeper.begun.recv().unwrap();
    thread.submit(Lane::Bulk, job("second", 1)).unwrap();
    thread.submit(Lane::Bulk, job("third", 1)).unwrap();
    assert_eq!(thread.queue_length(Lane::Bulk), 2);
    let refused = thread.submit(Lane::Bulk, job("fourth", 1)).unwrap_err();
    assert!(matches!(refused, SubmitError::Full(TestJob { name: "fourth", .. })));
    thread.submit(Lane::Urgent, job("urgent", 0)).unwrap();
    gatekeeper.go_on.send(()).unwrap();
    thread.shutdown(JobsAtShutdown::Finish).unwrap();
    assert_eq!(names(&received), ["urgent", "first", "second 0", "second", "third 0", "third"]);
}

#[test]
fn jobs_of_one_lane_take_turns() {
    let (thread, received) = start(MaintenanceOptions::new("maintenance"));
    let (first, gatekeeper) = gated_job("a", 2);
    thread.submit(Lane::Urgent, first).unwrap();
    gatekeeper.begun.recv().unwrap();
    thread.submit(Lane::Urgent, job("b", 2)).unwrap();
    gatekeeper.go_on.send(()).unwrap();
    thread.shutdown(JobsAtShutdown::Finish).unwrap();
    assert_eq!(names(&received), ["a 0", "b 0", "a 1", "b 1", "a", "b"]);
}

#[test]
fn abandoned_jobs_are_dropped_at_their_next_yield() {
    let (thread, received) = start(MaintenanceOptions::new("maintenance"));
    let (running, gatekeeper) = gated_job("running", 1_000_000);
    thread.submit(Lane::Bulk, running).unwrap();
    gatekeeper.begun.recv().unwrap();
    thread.submit(Lane::Urgent, job("waiting", 1)).unwrap();
    thread.phase.advance(Phase::Abandoning);
    gatekeeper.go_on.send(()).unwrap();
    thread.shutdown(JobsAtShutdown::Abandon).unwrap();
    assert_eq!(names(&received), [""; 0]);
    assert_eq!(received.recv(), Err(mpsc::RecvError), "all that the thread held is dropped");
}

#[test]
fn a_panic_of_a_job_is_delivered_and_stops_the_thread() {
    let (thread, received) = start(MaintenanceOptions::new("maintenance"));
    thread.submit(Lane::Urgent, job("bug", 1)).unwrap();
    assert_eq!(received.recv().unwrap(), Ok("bug 0".to_string()));
    let panic = received.recv().unwrap().unwrap_err();
    assert!(panic.message.contains("a job went wrong"), "{panic}");
    let refused = thread.submit(Lane::Urgent, job("late", 1)).unwrap_err();
    assert!(matches!(refused, SubmitError::Stopped(TestJob { name: "late", .. })));
    assert_eq!(thread.shutdown(JobsAtShutdown::Finish), Err(panic));
}

#[test]
fn a_panic_of_a_task_that_a_job_started_is_not_lost() {
    let (results, received) = mpsc::channel();
    let run = |environment: ThreadEnvironment, ()| async move {
        environment.spawn(async { panic!("in a task of its own") });
        for _ in 0..3 {
            environment.yield_now().await;
        }
    };
    let deliver = move |result| results.send(result).unwrap();
    let thread = MaintenanceThread::start(MaintenanceOptions::new("maintenance"), run, deliver).unwrap();
    thread.submit(Lane::Bulk, ()).unwrap();
    assert_eq!(received.recv().unwrap().unwrap_err().message, "in a task of its own");
    drop(thread);
}

#[test]
fn finishing_waits_for_the_tasks_that_jobs_started() {
    let (results, received) = mpsc::channel();
    let done = results.clone();
    let run = move |environment: ThreadEnvironment, ()| {
        let (inner, done) = (environment.clone(), done.clone());
        environment.spawn(async move {
            for _ in 0..10 {
                inner.yield_now().await;
            }
            done.send("task").unwrap();
        });
        async { "job" }
    };
    let deliver = move |result: Result<_, _>| results.send(result.unwrap()).unwrap();
    let thread = MaintenanceThread::start(MaintenanceOptions::new("maintenance"), run, deliver).unwrap();
    thread.submit(Lane::Urgent, ()).unwrap();
    thread.shutdown(JobsAtShutdown::Finish).unwrap();
    assert_eq!(received.try_iter().collect::<Vec<_>>(), ["job", "task"]);
}

#[test]
fn the_thread_is_nicer_than_its_shard_and_not_pinned_with_it() {
    use rustix::process::getpriority_process;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|&processor| all.is_set(processor)).unwrap();
    let mut pinned = CpuSet::new();
    pinned.set(first);
    sched_setaffinity(None, &pinned).unwrap();
    let nice = getpriority_process(None).unwrap();

    let run = |_: ThreadEnvironment, ()| async {
        let name = thread::current().name().map(str::to_string);
        (name, getpriority_process(None).unwrap(), sched_getaffinity(None).unwrap())
    };
    for (processors, expected) in [(None, &all), (Some(vec![first]), &pinned)] {
        let (results, received) = mpsc::channel();
        let deliver = move |result| results.send(result).unwrap();
        let options = MaintenanceOptions { processors, ..MaintenanceOptions::new("core-0-maint") };
        let thread = MaintenanceThread::start(options, run, deliver).unwrap();
        thread.submit(Lane::Urgent, ()).unwrap();
        let (name, nice_of_thread, affinity) = received.recv().unwrap().unwrap();
        assert_eq!(name.as_deref(), Some("core-0-maint"));
        assert_eq!(nice_of_thread, (nice + 10).min(19));
        assert_eq!(&affinity, expected);
    }
}
