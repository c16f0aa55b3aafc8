//! Figures that tests report, one a line: `CORELODE-FIGURE name=value`.

use std::collections::BTreeMap;

/// Figures that a long run must show, with the least it promises.
const PROMISED: &[(&str, u64)] = &[
    ("kill_cycles", 200),
    // How many kills land in what is left to chance; that some do is not.
    ("kill_in_flush", 1),
    ("kill_in_compaction", 1),
    ("kill_in_manifest", 1),
    ("kill_in_recycling", 1),
    ("kill_batches_acknowledged", 1),
    ("power_cuts_ext4", 1000),
    ("power_cuts_ext4_batches_acknowledged", 1),
    ("power_cuts_xfs", 1000),
    ("power_cuts_xfs_batches_acknowledged", 1),
    ("chaos_rounds", 100),
    // Faults must outlast some of the clients' patience, or no history holds a write of unknown outcome.
    ("chaos_writes_unknown", 1),
    // Disks that the crash enumeration recovers and checks. They follow from its loads; the least is a round number not far below, so that
    // neither a count that was reduced nor a load that does less passes unnoticed.
    ("crash_images", 30_000),
    ("crash_log_images", 7_000),
    ("crash_beside_0_images", 20_000),
    ("crash_beside_1_images", 20_000),
    ("crash_buffered_images", 30_000),
    ("crash_recovery_images", 180_000),
    ("kill_images", 2_500),
    ("kill_reuse_images", 2_500),
];

/// Figures by name. A name that was reported more than once keeps every value, in order.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    by_name: BTreeMap<String, Vec<String>>,
}

impl Figures {
    /// Takes a figure out of a line of a test's output, if it holds one. The marker need not open the line: the test
    /// harness may have begun it with the test's name.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some((_, figure)) = line.split_once("CORELODE-FIGURE ") else { return };
        let Some((name, value)) = figure.split_once('=') else { return };
        self.by_name.entry(name.trim().to_owned()).or_default().push(value.trim().to_owned());
    }

    /// What of the promise is missing or too small, as sentences.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for &(name, least) in PROMISED {
            match self.by_name.get(name).and_then(|values| values.last()) {
                None => missing.push(format!("no test reported {name}; at least {least} was promised")),
                Some(value) => match value.parse::<u64>() {
                    Ok(count) if count >= least => {}
                    Ok(count) => missing.push(format!("{name} is {count}; at least {least} was promised")),
                    Err(_) => missing.push(format!("{name} is {value:?}, which is not a number")),
                },
            }
        }
        missing
    }

    /// The promised figures, in the order of the promise.
    pub(crate) fn promised_rows(&self) -> impl Iterator<Item = (&str, String)> {
        PROMISED.iter().filter_map(|(name, _)| Some((*name, self.by_name.get(*name)?.join(", "))))
    }

    /// The other figures, in order of names.
    pub(crate) fn other_rows(&self) -> impl Iterator<Item = (&str, String)> {
        let is_other = |name: &str| PROMISED.iter().all(|(promised, _)| *promised != name);
        let others = self.by_name.iter().filter(move |(name, _)| is_other(name));
        others.map(|(name, values)| (name.as_str(), values.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Figures {
        let mut figures = Figures::default();
        lines.iter().for_each(|line| figures.read_line(line));
        figures
    }

    #[test]
    fn figures_are_found_wherever_the_harness_puts_them() {
        let figures = read(&[
            "    CORELODE-FIGURE kill_cycles=200",
            "test kill_nine ... CORELODE-FIGURE puts_per_second=12 345",
            "CORELODE-FIGURE kill_cycles=201",
            "nothing here",
        ]);
        let (promised, others): (Vec<_>, Vec<_>) = (figures.promised_rows().collect(), figures.other_rows().collect());
        assert_eq!(promised, [("kill_cycles", "200, 201".to_owned())]);
        assert_eq!(others, [("puts_per_second", "12 345".to_owned())]);
    }

    #[test]
    fn a_promise_that_is_kept_to_the_figure_is_enough() {
        let lines = PROMISED.iter().map(|(name, least)| format!("CORELODE-FIGURE {name}={least}")).collect::<Vec<_>>();
        assert_eq!(read(&lines.iter().map(String::as_str).collect::<Vec<_>>()).missing(), [""; 0]);
    }

    #[test]
    fn a_promise_not_kept_is_named() {
        let missing = read(&[
            "CORELODE-FIGURE kill_cycles=199",
            "CORELODE-FIGURE kill_in_recycling=0",
            "CORELODE-FIGURE power_cuts_xfs=many",
        ])
        .missing();
        for sentence in [
            "kill_cycles is 199; at least 200 was promised",
            "kill_in_recycling is 0; at least 1 was promised",
            "no test reported power_cuts_ext4; at least 1000 was promised",
            "power_cuts_xfs is \"many\", which is not a number",
        ] {
            assert!(missing.iter().any(|one| one == sentence), "{sentence}: {missing:#?}");
        }
        assert_eq!(missing.len(), PROMISED.len(), "nothing is promised twice, and nothing was kept");
    }
}
