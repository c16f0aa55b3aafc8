//! Programs that run no longer than a command does: however it ends, they are ended.
//!
//! | the command | and they |
//! |---|---|
//! | ends, or panics | are asked to end when [`EndAtLast`] is dropped, and killed if they take too long |
//! | is asked to end a second time | are ended at once, by the thread that looks after signals |
//! | is killed | are killed by the kernel, which was asked for that before they began |
//!
//! Each is a process group of its own: what it starts itself ends with it, and a Ctrl-C in the terminal, which goes to all processes of the
//! command's own group, does not take a store away from a load that is about to report.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long what was asked to end may take: a store may have much to write.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(30);
/// The same, for somebody who asks twice.
pub(super) const END_PATIENCE_SHORT: Duration = Duration::from_secs(1);
/// How long a killed process may take until the kernel has cleared it away.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The programs that were started and have not been ended.
#[derive(Default)]
pub(super) struct Children {
    started: Mutex<Vec<Started>>,
}

struct Started {
    name: String,
    child: Child,
    /// The process group that it leads.
    group: Pid,
}

impl Children {
    /// Starts a program. It must be called by the main thread: the kernel ends the program with the thread that started it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&self, name: &str, program: &str, words: &[String]) -> io::Result<()> {
        let parent = rustix::process::getpid();
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        // SAFETY: between fork and exec only two system calls are made, and an error without memory of its own.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // A parent that died before that sends no signal.
                if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
            })
        };
        let mut started = self.lock();
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        started.push(Started { name: name.to_owned(), child, group });
        Ok(())
    }

    /// How the program of this name ended, if it did by itself.
    pub(super) fn ended(&self, name: &str) -> Option<ExitStatus> {
        let mut started = self.lock();
        started.iter_mut().find(|started| started.name == name)?.child.try_wait().ok().flatten()
    }

    /// Whether a program of this name was started.
    pub(super) fn has(&self, name: &str) -> bool {
        self.lock().iter().any(|started| started.name == name)
    }

    /// Ends all: asks them to, and kills those that have not done so in time. Two threads may do that at the same time.
    pub(super) fn end(&self, patience: Duration) {
        self.signal(Signal::TERM);
        if self.wait(patience) {
            return;
        }
        for started in self.lock().iter() {
            eprintln!("{} did not end when it was asked to, and is killed", started.name);
        }
        self.signal(Signal::KILL);
        self.wait(KILL_PATIENCE);
    }

    fn signal(&self, signal: Signal) {
        for started in self.lock().iter() {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(started.group, signal);
        }
    }

    /// Waits until all are gone; answers whether they are. The lock is free between two looks.
    fn wait(&self, patience: Duration) -> bool {
        let began = Instant::now();
        loop {
            let mut started = self.lock();
            started.retain_mut(|started| !started.is_gone());
            if started.is_empty() || began.elapsed() >= patience {
                return started.is_empty();
            }
            drop(started);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Started>> {
        // A panic elsewhere is no reason to leave them running.
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Started {
    /// Whether it has ended, and all of its group.
    fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None)) && rustix::process::test_kill_process_group(self.group).is_err()
    }
}

/// Ends all children when it goes out of scope.
pub(super) struct EndAtLast<'a>(pub(super) &'a Children);

impl Drop for EndAtLast<'_> {
    fn drop(&mut self) {
        self.0.end(END_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(children: &Children, script: &str) {
        children.start("a", "sh", &["-c".to_owned(), script.to_owned()]).expect("every system has a shell");
    }

    #[test]
    fn what_a_child_started_ends_with_it() {
        let children = Children::default();
        start(&children, "sleep 1000 & sleep 1000; true");
        let group = children.lock()[0].group;
        drop(EndAtLast(&children));
        assert!(rustix::process::test_kill_process_group(group).is_err());
        assert!(!children.has("a"));
    }

    #[test]
    fn a_child_is_ended_by_a_panic_and_killed_if_it_does_not_want_to() {
        let children = Children::default();
        start(&children, "trap '' TERM; while :; do sleep 0.05; done");
        let group = children.lock()[0].group;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _end = EndAtLast(&children);
            std::thread::scope(|scope| {
                // Somebody asks twice meanwhile.
                scope.spawn(|| children.end(Duration::from_millis(100)));
                panic!("as any bug does");
            })
        }));
        assert!(panicked.is_err());
        assert!(rustix::process::test_kill_process_group(group).is_err());
    }
}
