//! The same random elections, proposals and partitions for TiKV's Raft and for ours, and whether terms, logs and commits are the same wherever all
//! messages have arrived.
//!
//! `cargo run --release [SEEDS]`. What is left out is what the two do differently by intent: check-quorum, transfers, membership, reads, snapshots.

use std::collections::BTreeSet;

mod ours;
mod theirs;

/// What both can be asked to do. Nodes count from 1.
trait Group {
    fn new(nodes: u64) -> Self;
    /// Nobody has heard of a leader for long, and this one stands. All messages arrive, but for those on links that are cut.
    fn campaign(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>);
    fn propose(&mut self, node: u64, cut: &BTreeSet<(u64, u64)>);
    /// The leader speaks, twice, so that what is committed is known.
    fn beat(&mut self, cut: &BTreeSet<(u64, u64)>);
    fn leads(&self, node: u64) -> bool;
    fn state(&self, node: u64) -> State;
}

#[derive(PartialEq, Eq, Debug)]
struct State {
    term: u64,
    /// The term of each entry.
    log: Vec<u64>,
    committed: u64,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Cuts the nodes into two parts that do not hear each other.
fn partition(random: &mut Random, nodes: u64) -> BTreeSet<(u64, u64)> {
    let side: Vec<bool> = (0..=nodes).map(|_| random.below(3) == 0).collect();
    let links = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
    links.filter(|(from, to)| side[*from as usize] != side[*to as usize]).collect()
}

fn compare(seed: u64, entries: &mut u64) {
    let mut random = Random(seed);
    let nodes = 3 + 2 * random.below(2);
    let (mut ours, mut theirs) = (ours::Cluster::new(nodes), theirs::Cluster::new(nodes));
    let mut cut = BTreeSet::new();
    let mut done = Vec::new();
    for _ in 0..60 {
        let node = 1 + random.below(nodes);
        match random.below(10) {
            0 => {
                cut = partition(&mut random, nodes);
                done.push(format!("cut {cut:?}"));
            }
            1 => {
                cut.clear();
                done.push("heal".to_owned());
            }
            2..5 => {
                ours.campaign(node, &cut);
                theirs.campaign(node, &cut);
                done.push(format!("campaign {node}"));
            }
            _ if ours.leads(node) && theirs.leads(node) => {
                ours.propose(node, &cut);
                theirs.propose(node, &cut);
                done.push(format!("propose {node}"));
            }
            _ => continue,
        }
        if !cut.is_empty() {
            continue;
        }
        ours.beat(&cut);
        theirs.beat(&cut);
        for node in 1..=nodes {
            let (our, their) = (ours.state(node), theirs.state(node));
            assert_eq!(our, their, "seed {seed}, node {node} (left: ours), after {done:#?}");
            *entries += our.committed;
        }
    }
}

fn main() {
    let seeds = std::env::args().nth(1).map_or(1000, |text| text.parse().expect("the number of seeds"));
    let mut entries = 0;
    for seed in 0..seeds {
        compare(seed, &mut entries);
    }
    println!("{seeds} seeds, {entries} committed entries compared: the same terms, logs and commits");
}
