//! The engine on real files, its jobs on a maintenance thread beside the writes, under a random load with restarts.

mod harness;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use corelode_engine::env::thread::ThreadEnvironment;
use corelode_engine::ids::PartitionId;
use corelode_engine::job::{self, Job, JobDone};
use corelode_engine::maintenance::{JobPanicked, JobsAtShutdown, Lane, MaintenanceOptions, MaintenanceThread};
use harness::workload::{Workload, open_options, sentence};
use harness::{History, Node};

type Ended = (usize, JobDone<ThreadEnvironment>);

/// A maintenance thread for each core, and what comes back from them.
struct Maintenance {
    threads: Vec<MaintenanceThread<(usize, Job<ThreadEnvironment>)>>,
    ended: mpsc::Receiver<Result<Ended, JobPanicked>>,
    under_way: usize,
}

impl Maintenance {
    fn start(cores: usize) -> Self {
        let (sender, ended) = mpsc::channel();
        let start = |core: usize| {
            let sender = sender.clone();
            let run = |environment, (core, job)| async move { (core, job::run(environment, job).await) };
            // The node may have ended before the job.
            let deliver = move |result| drop(sender.send(result));
            let options = MaintenanceOptions::new(format!("maintenance-{core}"));
            MaintenanceThread::start(options, run, deliver).expect("a thread starts")
        };
        Self { threads: (0..cores).map(start).collect(), ended, under_way: 0 }
    }

    /// Hands over what is due and takes in what has ended; waits for something to end if asked to.
    fn turn(&mut self, node: &mut Node<ThreadEnvironment>, waits: bool) -> Result<(), String> {
        for (core, store) in node.stores.iter_mut().enumerate() {
            while let Some(job) = store.next_job() {
                self.threads[core].submit(Lane::Urgent, (core, job)).map_err(|error| error.to_string())?;
                self.under_way += 1;
            }
        }
        let patience = if waits && self.under_way > 0 { Duration::from_secs(60) } else { Duration::ZERO };
        let first = self.ended.recv_timeout(patience).ok();
        if patience > Duration::ZERO && first.is_none() {
            return Err(format!("{} jobs do not end", self.under_way));
        }
        for result in first.into_iter().chain(std::iter::from_fn(|| self.ended.try_recv().ok())) {
            let (core, done) = result.map_err(|panic| panic.to_string())?;
            self.under_way -= 1;
            node.stores[core].job_done(done).map_err(sentence)?;
        }
        Ok(())
    }

    /// Until nothing is under way any more.
    async fn settle(&mut self, node: &mut Node<ThreadEnvironment>) -> Result<(), String> {
        loop {
            let wrote = node.write_logs().await.map_err(sentence)?;
            self.turn(node, true)?;
            let is_idle = node.stores.iter().all(|store| store.is_maintenance_idle() && store.is_log_idle());
            if !wrote && is_idle && self.under_way == 0 {
                return Ok(());
            }
        }
    }
}

async fn load_and_restart(environment: &ThreadEnvironment, directory: &Path) -> Result<(), String> {
    let history = History::default();
    for (round, cores) in (0_u64..).zip([1, 2, 3, 2]) {
        let mut node =
            Node::open_with(environment, directory, open_options(cores), &history).await.map_err(sentence)?;
        history.check(&mut node).await?;
        let mut maintenance = Maintenance::start(usize::from(cores));
        let workload = Workload { seed: round, turns: 400, ..Workload::default() };
        let mut load = workload.begin();
        while load.propose_turn(&mut node) {
            node.write_logs().await.map_err(sentence)?;
            node.tick().await.map_err(sentence)?;
            let is_busy = (0..node.partition_count).map(PartitionId).any(|partition| node.is_busy(partition));
            maintenance.turn(&mut node, is_busy)?;
        }
        // Every second time the process ends with jobs and entries under way.
        if round % 2 == 0 {
            maintenance.settle(&mut node).await?;
            history.check(&mut node).await?;
            for thread in maintenance.threads {
                thread.shutdown(JobsAtShutdown::Finish).map_err(|panic| panic.to_string())?;
            }
        }
        let counters = node.counters();
        assert!(counters.iter().any(|counters| counters.flushes > 0 && counters.compactions > 0), "{counters:?}");
    }
    let mut node = Node::open_with(environment, directory, open_options(2), &history).await.map_err(sentence)?;
    history.check(&mut node).await
}

#[test]
fn a_random_load_with_restarts_on_a_disk() {
    let environment = ThreadEnvironment::new();
    let directory = tempfile::tempdir().expect("a directory for the test");
    environment.block_on(load_and_restart(&environment, directory.path())).expect("all data is found");
}

#[test]
fn a_random_load_with_restarts_in_memory() {
    let environment = ThreadEnvironment::new();
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory for the test");
    environment.block_on(load_and_restart(&environment, directory.path())).expect("all data is found");
}
