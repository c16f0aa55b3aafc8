//! Hosts on a network of their own, whose links can be cut: network namespaces of the kernel, joined by a bridge.
//!
//! The namespaces have no names, so that they are gone with the last process in them, however that ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::requirements::{Requirement, find_program};

/// What a test needs that makes a network.
pub const REQUIREMENTS: [Requirement; 3] = [Requirement::Root, Requirement::Program("ip"), Requirement::Program("nft")];

/// Hosts that reach each other, but for the [cuts](Network::set_cuts). They count from 0.
pub struct Network {
    hosts: Vec<Host>,
    /// Where the other ends of the hosts' cables are.
    _switch: Host,
}

struct Host {
    namespace: File,
}

/// What goes from one host to another does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Who sends.
    pub from: usize,
    /// Who does not receive.
    pub to: usize,
    /// What the sender learns of it.
    pub manner: Manner,
}

/// What a sender learns when its packets do not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Nothing: they are swallowed.
    Lost,
    /// Its connections are reset, and new ones refused.
    Refused,
}

impl Network {
    /// Makes a network of so many hosts.
    ///
    /// # Panics
    /// If the machine does not let it: see [`REQUIREMENTS`].
    #[must_use]
    pub fn new(host_count: usize) -> Self {
        let switch = Host::new();
        switch.run("ip", ["link", "add", "bridge", "type", "bridge"]);
        switch.run("ip", ["link", "set", "bridge", "up"]);
        let hosts: Vec<_> = (0..host_count).map(|_| Host::new()).collect();
        for (number, host) in hosts.iter().enumerate() {
            let port = format!("host{number}");
            let namespace = format!("/proc/{}/fd/{}", std::process::id(), host.namespace.as_raw_fd());
            let cable = ["link", "add", &port, "type", "veth", "peer", "name", "cable", "netns", &namespace];
            switch.run("ip", cable);
            switch.run("ip", ["link", "set", &port, "master", "bridge", "up"]);
            host.run("ip", ["address", "add", &format!("{}/24", address(number)), "dev", "cable"]);
            host.run("ip", ["link", "set", "cable", "up"]);
            host.run("ip", ["link", "set", "lo", "up"]);
        }
        Self { hosts, _switch: switch }
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: usize) -> Ipv4Addr {
        assert!(host < self.hosts.len(), "there are {} hosts", self.hosts.len());
        address(host)
    }

    /// Moves the calling thread to a host for good, with the threads and processes that it starts from now on.
    pub fn enter(&self, host: usize) {
        self.hosts[host].enter();
    }

    /// Does some work on a host; the processes that it starts stay there.
    pub fn on<R: Send>(&self, host: usize, work: impl FnOnce() -> R + Send) -> R {
        self.hosts[host].within(work)
    }

    /// Cuts these links, and no others any more.
    pub fn set_cuts(&self, cuts: &[Cut]) {
        thread::scope(|scope| {
            for (number, host) in self.hosts.iter().enumerate() {
                let rules: String = cuts.iter().filter(|cut| cut.to == number).map(rule).collect();
                let table = format!(
                    "table ip cuts\nflush table ip cuts\n\
                     table ip cuts {{\n chain arriving {{\n  type filter hook input priority 0\n{rules} }}\n}}\n"
                );
                scope.spawn(move || {
                    host.enter();
                    feed("nft", ["-f", "-"], &table);
                });
            }
        });
    }
}

/// It stands where packets arrive, since only there they can be answered with a reset.
fn rule(cut: &Cut) -> String {
    let from = address(cut.from);
    match cut.manner {
        Manner::Lost => format!("  ip saddr {from} drop\n"),
        Manner::Refused => format!("  ip saddr {from} meta l4proto tcp reject with tcp reset\n"),
    }
}

/// Nobody else is on the network, so that addresses may be the same each time.
fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(host + 1).expect("few hosts"))
}

impl Host {
    /// Makes a namespace; it gets a name, since `ip` makes no others, and loses it at once.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corelode-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run("ip", ["netns", "add", &name]);
        let namespace = File::open(Path::new("/run/netns").join(&name)).expect("a namespace was made");
        run("ip", ["netns", "delete", &name]);
        Self { namespace }
    }

    fn enter(&self) {
        let moved = move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network));
        moved.expect("root may enter a namespace");
    }

    fn within<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let run = || {
            self.enter();
            work()
        };
        thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn run<const N: usize>(&self, program: &str, arguments: [&str; N]) {
        self.within(|| run(program, arguments));
    }
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) {
    feed(program, arguments, "");
}

/// Runs a program with some input.
fn feed<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>, input: &str) {
    let path = find_program(program).expect("the test's requirements are met");
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the program reads");
    let output = child.wait_with_output().expect("a child can be waited for");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::requirements;

    #[test]
    fn links_are_cut_one_way_or_both_and_mended_as_root() {
        if !requirements::are_met(&REQUIREMENTS) {
            return;
        }
        let network = Network::new(3);
        let listeners: Vec<_> = (0..3)
            .map(|host| network.on(host, || TcpListener::bind((network.address(host), 7400)).expect("a free port")))
            .collect();
        let connect_within = |from: usize, to: usize, patience| {
            let address = (network.address(to), 7400).into();
            network.on(from, || TcpStream::connect_timeout(&address, patience).map(drop).map_err(|error| error.kind()))
        };
        // The kernel may take a second until a new cable carries anything.
        let connect = |from, to| connect_within(from, to, Duration::from_secs(10));
        let connect_in_vain = |from, to| connect_within(from, to, Duration::from_millis(300));
        let all = || [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)].into_iter();
        assert!(all().all(|(from, to)| connect(from, to).is_ok()));
        let cut = |manner| [Cut { from: 0, to: 1, manner }];
        network.set_cuts(&cut(Manner::Refused));
        assert_eq!(connect(0, 1), Err(ErrorKind::ConnectionRefused));
        network.set_cuts(&cut(Manner::Lost));
        assert_eq!(connect_in_vain(0, 1), Err(ErrorKind::TimedOut));
        // What host 1 asks arrives; what host 0 answers does not.
        assert_eq!(connect_in_vain(1, 0), Err(ErrorKind::TimedOut));
        assert!([(0, 2), (2, 0), (1, 2), (2, 1)].into_iter().all(|(from, to)| connect(from, to).is_ok()));
        network.set_cuts(&[]);
        assert!(all().all(|(from, to)| connect(from, to).is_ok()));
        drop(listeners);
    }
}
