//! What was measured, as text and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use corelode_bench::statistics::compare_pairs;

use crate::load::{Case, Figures};
use crate::{Result, System};

#[derive(serde::Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) beside: String,
    pub(crate) seconds: u64,
    pub(crate) cores: u16,
    pub(crate) connections: u16,
    pub(crate) threads: usize,
    pub(crate) settings: Vec<Setting>,
    pub(crate) turns: Vec<Turn>,
}

/// What was run, and what its acknowledgements mean.
#[derive(serde::Serialize)]
pub(crate) struct Setting {
    pub(crate) system: System,
    pub(crate) version: String,
    pub(crate) durability: &'static str,
}

#[derive(serde::Serialize)]
pub(crate) struct Turn {
    pub(crate) repetition: u32,
    pub(crate) system: System,
    pub(crate) case: Case,
    pub(crate) figures: Figures,
}

/// A figure that is compared, and how.
struct Figure {
    name: &'static str,
    of: fn(&Figures) -> f64,
}

const FIGURES: [Figure; 3] = [
    Figure { name: "a second", of: |figures| figures.per_second },
    Figure { name: "p50", of: |figures| figures.p50_us },
    Figure { name: "p99", of: |figures| figures.p99_us },
];

impl Report {
    /// Medians, and ratios with intervals.
    pub(crate) fn text(&self, cases: &[Case]) -> String {
        let mut text = format!("{}; beside it: {}\n", self.machine, self.beside);
        let _ = writeln!(
            text,
            "three nodes each; {} s a turn; {} cores a node of Corelode; {} connections to each rival; {} threads of load\n",
            self.seconds, self.cores, self.connections, self.threads
        );
        for setting in &self.settings {
            let _ = writeln!(text, "{:?}: {}; {}", setting.system, setting.version, setting.durability);
        }
        for case in cases {
            let _ = writeln!(
                text,
                "\n{:?}\n{:10} {:>10} {:>10} {:>10} {:>12} {:>10}",
                case, "", "a second", "p50 us", "p99 us", "server CPUs", "load CPUs"
            );
            for setting in &self.settings {
                let median = |of: fn(&Figures) -> f64| median(self.values(setting.system, *case, of));
                let _ = writeln!(
                    text,
                    "{:10} {:>10.0} {:>10.0} {:>10.0} {:>12.2} {:>10.2}",
                    format!("{:?}", setting.system),
                    median(|figures| figures.per_second),
                    median(|figures| figures.p50_us),
                    median(|figures| figures.p99_us),
                    median(|figures| figures.server_cpus),
                    median(|figures| figures.load_cpus),
                );
            }
            for rival in self.settings.iter().filter(|setting| setting.system != System::Corelode) {
                for figure in &FIGURES {
                    self.tell_ratio(&mut text, rival.system, *case, figure);
                }
            }
        }
        text
    }

    fn tell_ratio(&self, text: &mut String, rival: System, case: Case, figure: &Figure) {
        let ours = self.values(System::Corelode, case, figure.of);
        let theirs = self.values(rival, case, figure.of);
        let Some(compared) = compare_pairs(&ours, &theirs, FIGURES.len(), 0.001) else {
            return;
        };
        let target = if rival == System::Etcd { target(case, figure.name) } else { None };
        let verdict = target.map_or_else(String::new, |(is_least, bound)| {
            let met = if is_least { compared.ratio >= bound } else { compared.ratio <= bound };
            let words = if is_least { "at least" } else { "at most" };
            format!("; target {words} {bound}: {}", if met { "met" } else { "MISSED" })
        });
        let _ = writeln!(
            text,
            "Corelode / {rival:?}, {}: {:.2} ({:.2} to {:.2}){verdict}",
            figure.name, compared.ratio, compared.low, compared.high
        );
    }

    fn values(&self, system: System, case: Case, of: fn(&Figures) -> f64) -> Vec<f64> {
        let turns = self.turns.iter().filter(|turn| turn.system == system && turn.case == case);
        turns.map(|turn| of(&turn.figures)).collect()
    }
}

/// What is promised beside etcd: whether it is a least or a greatest ratio, and which.
fn target(case: Case, figure: &str) -> Option<(bool, f64)> {
    match (case, figure) {
        (Case::Put256 | Case::Get256, "a second") => Some((true, 8.0)),
        (Case::Put256, "p99") => Some((false, 0.2)),
        (Case::Put1, "p50") => Some((false, 0.5)),
        _ => None,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A sync of a file system in memory does nothing, so that nothing measured there tells of durable writes.
pub(crate) fn refuse_memory(directory: &Path) -> Result<()> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    if rustix::fs::statfs(directory)?.f_type == TMPFS_MAGIC {
        return Err(format!("{} is in memory: name a directory on a disk with --directory", directory.display()).into());
    }
    Ok(())
}

pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{processors} processors, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
