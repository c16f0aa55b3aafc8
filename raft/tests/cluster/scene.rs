//! A cluster that does what commands say and tells what happens: the transcripts in `testdata`. Nothing moves by itself but with `run`.
//!
//! | Command | What it does |
//! |---|---|
//! | `nodes 3 [learner=4] [lease] [silent] [window=2]` | begins, with that many voters |
//! | `campaign 1`, `propose 1 100 [memory]`, `read 1 7`, `transfer 1 2`, `members 1 2,3,4 [learners=1]` | a wish to a node |
//! | `down 1 2`, `up 1 2`, `truncate 1 5`, `committed 1 2@1`, `snapshot 1>2`, `snapshot failed 1>2` | what its driver reports |
//! | `deliver [1>2]` | what was sent so far arrives, in order; what it causes waits |
//! | `settle` | messages arrive until there are none |
//! | `drop [1>2]`, `double 1>2`, `hold 1>2`, `release` | messages are lost, doubled, or kept back |
//! | `cut 1>2`, `cut 1`, `heal` | links, from then on |
//! | `slow 1`, `stored 1`, `fast 1` | its disk finishes writes when told |
//! | `crash 1`, `restart 1` | loses what is not on the disk |
//! | `wait 1s` | time passes, and all who have waited for it act once |
//! | `sleep 1s` | time passes, and nobody has noticed yet |
//! | `run 1s` | time passes and everything goes on by itself; only changes of leaders are told |
//! | `status`, `logs`, `followers 1` | how things stand |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use corelode_raft::{
    Append, AppendOutcome, AppendReply, Config, Input, Lease, LogIndex, LogPosition, Membership, Message, NodeId,
    ReadId, Refused, RoleKind, Status, Term, Time, VoteKind, VoteReply, VoteRequest,
};

use super::history::{Before, History, Replicas};
use super::node::{Disk, Envelope, Node, describe_entry};

const STEP: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Scene {
    now: Time,
    nodes: BTreeMap<NodeId, Node>,
    disks: BTreeMap<NodeId, Disk>,
    slow: BTreeSet<NodeId>,
    sent: Vec<Envelope>,
    held: Vec<Envelope>,
    cut: BTreeSet<(NodeId, NodeId)>,
    history: History,
    lease: Option<Lease>,
    silent: bool,
    window: Option<usize>,
    payloads: u64,
    told: BTreeMap<NodeId, Status>,
    is_mute: bool,
    out: String,
}

impl Replicas for Scene {
    fn disk(&self, node: NodeId) -> Option<&Disk> {
        self.nodes.get(&node).map(|node| &node.disk).or(self.disks.get(&node))
    }

    fn running(&self) -> Box<dyn Iterator<Item = (NodeId, &Node)> + '_> {
        Box::new(self.nodes.iter().map(|(id, node)| (*id, node)))
    }
}

fn node_of(text: &str) -> NodeId {
    NodeId(text.parse().unwrap_or_else(|_| panic!("{text} is no node")))
}

fn nodes_of(text: &str) -> Vec<NodeId> {
    text.split(',').filter(|part| !part.is_empty()).map(node_of).collect()
}

fn link_of(text: &str) -> (NodeId, NodeId) {
    let (from, to) = text.split_once('>').unwrap_or_else(|| panic!("{text} is no link, like 1>2"));
    (node_of(from), node_of(to))
}

fn duration_of(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(milliseconds) => Duration::from_millis(milliseconds.parse().unwrap()),
        None => Duration::from_secs(text.strip_suffix('s').expect("a time ends with s or ms").parse().unwrap()),
    }
}

impl Scene {
    /// Carries out a command; what happened.
    pub(crate) fn command(&mut self, command: &str) -> String {
        let words: Vec<_> = command.split_whitespace().collect();
        match words.as_slice() {
            ["nodes", count, options @ ..] => self.begin(count.parse().unwrap(), options),
            ["campaign", node] => self.wish(node, Input::Campaign),
            ["read", node, id] => self.read(node_of(node), ReadId(id.parse().unwrap())),
            ["propose", node, bytes] => self.propose(node_of(node), bytes.parse().unwrap(), false),
            ["propose", node, bytes, "memory"] => self.propose(node_of(node), bytes.parse().unwrap(), true),
            ["transfer", node, to] => self.wish(node, Input::Transfer { to: node_of(to) }),
            ["members", node, voters, learners @ ..] => {
                let learners = learners.first().and_then(|text| text.strip_prefix("learners=")).unwrap_or("");
                let membership = Membership::new(nodes_of(voters), nodes_of(learners)).unwrap();
                self.wish(node, Input::ChangeMembership(membership));
            }
            ["down", node, peer] => self.wish(node, Input::PeerDown(node_of(peer))),
            ["up", node, peer] => self.wish(node, Input::PeerUp(node_of(peer))),
            ["truncate", node, index] => {
                let through = LogIndex(index.parse().unwrap());
                self.turn(node_of(node), |node, now| {
                    node.truncate(now, through);
                    Ok(())
                });
            }
            ["committed", node, position] => {
                let (index, term) = position.split_once('@').expect("a position is INDEX@TERM");
                let position =
                    LogPosition { index: LogIndex(index.parse().unwrap()), term: Term(term.parse().unwrap()) };
                self.wish(node, Input::Committed(position));
            }
            ["snapshot", "failed", link] => self.snapshot_ends(link_of(link)),
            ["snapshot", link] => {
                let (from, to) = link_of(link);
                let snapshot = self.nodes[&from].snapshot();
                self.turn(to, |node, now| node.install(now, snapshot));
                self.snapshot_ends((from, to));
            }
            ["deliver"] => self.deliver(|_| true),
            ["deliver", link] => {
                let link = link_of(link);
                self.deliver(|envelope| (envelope.from, envelope.to) == link);
            }
            ["settle"] => self.settle(),
            ["drop"] => self.sent.clear(),
            ["drop", link] => drop(self.take(link_of(link))),
            ["double", link] => {
                let doubled: Vec<_> = self.take(link_of(link)).into_iter().flat_map(|one| [one.clone(), one]).collect();
                self.sent.extend(doubled);
            }
            ["hold", link] => {
                let held = self.take(link_of(link));
                self.held.extend(held);
            }
            ["release"] => self.sent.append(&mut self.held),
            ["cut", link] if link.contains('>') => drop(self.cut.insert(link_of(link))),
            ["cut", node] => {
                let node = node_of(node);
                let others: Vec<_> = self.ids().into_iter().filter(|other| *other != node).collect();
                self.cut.extend(others.iter().flat_map(|other| [(node, *other), (*other, node)]));
            }
            ["heal"] => self.cut.clear(),
            ["slow", node] => drop(self.slow.insert(node_of(node))),
            ["fast", node] => {
                self.slow.remove(&node_of(node));
                self.finish_writes(node_of(node), usize::MAX);
            }
            ["stored", node] => self.finish_writes(node_of(node), 1),
            ["crash", node] => {
                let node = node_of(node);
                self.told.remove(&node);
                let crashed = self.nodes.remove(&node).expect("it runs");
                self.history.crashed();
                self.disks.insert(node, crashed.crash(0, None));
            }
            ["restart", node] => self.start(node_of(node)),
            ["wait", time] => self.wait(duration_of(time)),
            ["run", time] => self.run(duration_of(time)),
            ["sleep", time] => self.now = self.now.after(duration_of(time)),
            ["status"] => self.status(),
            ["logs"] => self.logs(),
            ["followers", node] => self.followers(node_of(node)),
            _ => panic!("no such command: {command}"),
        }
        std::mem::take(&mut self.out)
    }

    fn tell(&mut self, text: &str) {
        if !self.is_mute {
            writeln!(self.out, "{text}").unwrap();
        }
    }

    fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().chain(self.disks.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn begin(&mut self, count: u64, options: &[&str]) {
        let mut learners = Vec::new();
        let mut others = 0;
        for option in options {
            match option.split_once('=') {
                None if *option == "lease" => self.lease = Some(Lease { drift_max: Duration::from_millis(100) }),
                None if *option == "silent" => self.silent = true,
                Some(("window", window)) => self.window = Some(window.parse().unwrap()),
                Some(("learner", node)) => learners.push(node_of(node)),
                Some(("others", number)) => others = number.parse().unwrap(),
                _ => panic!("no such option: {option}"),
            }
        }
        self.now = Time(1_000_000_000);
        let membership = Membership::new((1..=count).map(NodeId), learners.clone()).unwrap();
        for id in (1..=count + learners.len() as u64 + others).map(NodeId) {
            self.disks.insert(id, Disk::new(membership.clone()));
            self.start(id);
        }
    }

    fn start(&mut self, id: NodeId) {
        let mut config = Config::new(id, id.0);
        config.lease = self.lease;
        config.may_fall_silent = self.silent;
        config.append_bytes_max = 200;
        config.in_flight_messages_max = self.window.unwrap_or(config.in_flight_messages_max);
        let disk = self.disks.remove(&id).expect("it is down");
        let node = Node::start(config, disk, self.now);
        self.told.insert(id, node.raft.status());
        self.nodes.insert(id, node);
    }

    fn wish(&mut self, node: &str, input: Input) {
        self.turn(node_of(node), |node, now| node.input(now, input).map(drop));
    }

    fn read(&mut self, id: NodeId, read: ReadId) {
        self.history.read_begins(read);
        self.turn(id, |node, now| node.input(now, Input::Read(read)).map(drop));
    }

    fn propose(&mut self, id: NodeId, bytes: u32, is_receipt_awaited: bool) {
        self.payloads += 1;
        let payload = self.payloads;
        self.turn(id, |node, now| node.propose(now, payload, bytes, is_receipt_awaited).map(drop));
    }

    fn snapshot_ends(&mut self, (from, to): (NodeId, NodeId)) {
        self.turn(from, |node, now| node.input(now, Input::SnapshotEnded { to }).map(drop));
    }

    /// A turn with one step in it, and another for each write that is done at once.
    fn turn(&mut self, id: NodeId, step: impl FnOnce(&mut Node, Time) -> Result<(), Refused>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let before = Before::of(node);
        let refused = step(node, self.now).err();
        let turn = node.end_turn(self.now);
        let status = node.raft.status();
        let written = node.writes.back().filter(|_| turn.is_written).map(ToString::to_string);
        let mut history = std::mem::take(&mut self.history);
        history.check(self, id, before, &turn);
        self.history = history;
        if let Some(refused) = refused {
            self.tell(&format!("{id}: refused, {refused}"));
        }
        if self.told.insert(id, status) != Some(status) {
            // Who runs wants to know who leads; the rest is a matter of detail.
            let was_mute = self.is_mute;
            self.is_mute = was_mute && status.role != RoleKind::Leader;
            self.tell(&format!("{id}: {}", describe_status(status)));
            self.is_mute = was_mute;
        }
        if let Some(written) = written {
            let verb = if self.slow.contains(&id) { "writes" } else { "stores" };
            self.tell(&format!("{id}: {verb} {written}"));
        }
        if let Some((last, _)) = turn.applied.last() {
            self.tell(&format!("{id}: applies up to {last}"));
        }
        if let Some(received) = turn.received {
            self.tell(&format!("{id}: a quorum has received up to {received}"));
        }
        for read in &turn.reads {
            self.tell(&format!("{id}: read {} may be answered once {} is applied", read.id, read.index));
        }
        for to in &turn.snapshots {
            self.tell(&format!("{id}: node {to} needs a snapshot"));
        }
        for envelope in turn.envelopes {
            let (to, message) = (envelope.to, describe_message(&envelope.message));
            let is_cut = self.cut.contains(&(id, to));
            self.tell(&format!("{id} -> {to}: {message}{}", if is_cut { " (lost)" } else { "" }));
            if !is_cut {
                self.sent.push(Envelope { from: id, ..envelope });
            }
        }
        if !self.slow.contains(&id) {
            self.finish_writes(id, usize::MAX);
        }
    }

    fn finish_writes(&mut self, id: NodeId, count: usize) {
        for _ in 0..count {
            if self.nodes.get(&id).is_none_or(|node| node.writes.is_empty()) {
                return;
            }
            self.turn(id, |node, now| {
                let write = node.finish_write().expect("there is one");
                node.input(now, Input::Stored(write)).map(drop)
            });
        }
    }

    fn take(&mut self, link: (NodeId, NodeId)) -> Vec<Envelope> {
        let (taken, left) = std::mem::take(&mut self.sent).into_iter().partition(|one| (one.from, one.to) == link);
        self.sent = left;
        taken
    }

    fn deliver(&mut self, is_chosen: impl Fn(&Envelope) -> bool) {
        let (chosen, left): (Vec<_>, _) = std::mem::take(&mut self.sent).into_iter().partition(is_chosen);
        self.sent = left;
        for envelope in chosen {
            self.turn(envelope.to, |node, now| {
                node.receive(now, envelope);
                Ok(())
            });
        }
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            if self.sent.is_empty() {
                return;
            }
            self.deliver(|_| true);
        }
        panic!("they never stop talking");
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        for id in self.ids() {
            let Some(node) = self.nodes.get(&id) else { continue };
            if node.raft.next_tick().is_some_and(|tick| tick <= self.now) {
                self.turn(id, |node, now| node.input(now, Input::Tick).map(drop));
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        self.is_mute = true;
        while self.now < end {
            self.settle();
            self.wait(STEP);
        }
        self.settle();
        self.is_mute = false;
    }

    fn status(&mut self) {
        for id in self.ids() {
            let text = match self.nodes.get(&id) {
                None => "down".to_owned(),
                Some(node) => {
                    let log = node.raft.log();
                    let silent =
                        if node.raft.is_silent() && node.raft.membership().is_voter(id) { ", silent" } else { "" };
                    let stored = Some(log.stored()).filter(|stored| *stored < log.last().index);
                    let stored = stored.map_or_else(String::new, |stored| format!(", stored {stored}"));
                    format!(
                        "{}, log up to {}, committed {}{stored}, members {}{silent}",
                        describe_status(node.raft.status()),
                        log.last(),
                        log.committed(),
                        node.raft.membership()
                    )
                }
            };
            self.tell(&format!("{id}: {text}"));
        }
    }

    fn logs(&mut self) {
        for id in self.ids() {
            let Some(node) = self.nodes.get(&id) else { continue };
            let mut parts = Vec::new();
            if node.log.base.index > LogIndex(0) {
                parts.push(format!("snapshot {}", node.log.base));
            }
            let indexes = (node.log.base.index.0 + 1..=node.log.last().index.0).map(LogIndex);
            parts.extend(indexes.map(|index| describe_entry(index, &node.log.entry(index).unwrap().info)));
            self.tell(&format!("{id}: {}", parts.join(" ")));
        }
    }

    fn followers(&mut self, id: NodeId) {
        let followers: Vec<_> = self.nodes[&id]
            .raft
            .followers()
            .map(|(follower, progress)| {
                let (state, matched, next) = (progress.state(), progress.matched(), progress.next());
                format!(
                    "{follower}: {state:?}, has {matched}, next {next}, {} bytes under way",
                    progress.in_flight_bytes()
                )
            })
            .collect();
        for follower in followers {
            self.tell(&follower);
        }
    }
}

fn describe_status(status: Status) -> String {
    let Status { role, term, leader } = status;
    match (role, leader) {
        (RoleKind::Leader, _) => format!("leads term {term}"),
        (RoleKind::Follower, Some(leader)) => format!("follows {leader} in term {term}"),
        (RoleKind::Follower, None) => format!("follows nobody in term {term}"),
        (RoleKind::PreCandidate, _) => format!("asks for pre-votes in term {term}"),
        (RoleKind::Candidate, _) => format!("stands in term {term}"),
    }
}

fn describe_message(message: &Message) -> String {
    match message {
        Message::VoteRequest(VoteRequest { kind, term, last }) => {
            let kind = match kind {
                VoteKind::Pre => "pre-vote?",
                VoteKind::Real => "vote?",
                VoteKind::Transfer => "vote, as the leader wishes?",
            };
            format!("{kind} term {term}, log up to {last}")
        }
        Message::VoteReply(VoteReply { is_pre, term, is_granted }) => {
            let kind = if *is_pre { "pre-vote" } else { "vote" };
            format!("{kind} {}, term {term}", if *is_granted { "given" } else { "refused" })
        }
        Message::Append(append) => describe_append(append),
        Message::AppendReply(AppendReply { term, round, outcome, is_quiet }) => {
            let outcome = match outcome {
                AppendOutcome::Stored(index) => format!("stored {index}"),
                AppendOutcome::Received(index) => format!("received {index}"),
                AppendOutcome::Rejected { previous, hint } => format!("rejected behind {previous}, hint {hint}"),
            };
            format!("{outcome}, term {term}, round {round}{}", if *is_quiet { ", silent" } else { "" })
        }
        Message::TimeoutNow { term } => format!("campaign now, term {term}"),
    }
}

fn describe_append(append: &Append) -> String {
    let Append { term, previous, entries, committed, round, is_round_awaited, is_receipt_awaited, is_quiet } = append;
    let what = match entries.infos.len() {
        0 => format!("heartbeat at {previous}"),
        1 => format!("append {} behind {previous}", entries.first),
        _ => format!("append {} to {} behind {previous}", entries.first, entries.last()),
    };
    let awaited = if *is_round_awaited { " awaited" } else { "" };
    let receipt = if *is_receipt_awaited { ", receipt awaited" } else { "" };
    let quiet = if *is_quiet { ", fall silent" } else { "" };
    format!("{what}, term {term}, committed {committed}, round {round}{awaited}{receipt}{quiet}")
}
