//! Which tables to compact next: a pure function of a tree's shape.
//!
//! Leveled compaction as in LevelDB and RocksDB: level 0 holds whole flushes, newest first, which overlap; each deeper level
//! is sorted, without overlap, and may be `level_size_multiplier` times as large as the one above. The level that exceeds its
//! target most is relieved first. Within a level the table goes whose move rewrites least of the next level for what it
//! brings (RocksDB's `kMinOverlappingRatio`), which keeps write amplification low.

use crate::ids::TableId;
use crate::limits::LEVEL_COUNT;
use crate::row::Keyspace;

/// A key with its keyspace, as tables are bounded by.
pub type KeyBound<'a> = (Keyspace, &'a [u8]);

/// What the choice needs to know of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableSummary<'a> {
    /// The table.
    pub id: TableId,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// Its first key.
    pub smallest: KeyBound<'a>,
    /// Its last key.
    pub largest: KeyBound<'a>,
    /// Whether a job works on it already.
    pub is_busy: bool,
}

/// The shape that compaction strives for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CompactionOptions {
    /// Tables in level 0 from which on they are merged into level 1.
    pub level0_table_count_trigger: usize,
    /// The size of level 1, bytes.
    pub level1_size_bytes: u64,
    /// How many times larger each further level may be.
    pub level_size_multiplier: u64,
    /// The size at which an output table is closed, bytes.
    pub table_size_bytes_target: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            level0_table_count_trigger: 4,
            level1_size_bytes: 32 * 1024 * 1024,
            level_size_multiplier: 10,
            table_size_bytes_target: 16 * 1024 * 1024,
        }
    }
}

/// A compaction to carry out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The level the upper inputs are taken from.
    pub input_level: usize,
    /// Tables of the input level; of level 0 newest first.
    pub upper: Vec<TableId>,
    /// Tables of the next level whose keys overlap.
    pub lower: Vec<TableId>,
}

impl Plan {
    /// The level the output goes to.
    #[must_use]
    pub fn output_level(&self) -> usize {
        self.input_level + 1
    }
}

/// Chooses the next compaction of a tree, if one is due. Level 0 is given newest first, the others in key order.
#[must_use]
pub fn pick(levels: &[Vec<TableSummary<'_>>; LEVEL_COUNT], options: &CompactionOptions) -> Option<Plan> {
    let mut scores: Vec<(usize, u64)> =
        (0..LEVEL_COUNT - 1).map(|level| (level, score_percent(levels, level, options))).collect();
    scores.sort_by_key(|&(level, score)| (std::cmp::Reverse(score), level));
    scores.into_iter().take_while(|&(_, score)| score >= 100).find_map(|(level, _)| match level {
        0 => plan_level0(levels),
        _ => plan_level(levels, level),
    })
}

/// Bytes beyond the targets of all levels: what compaction still has to move down, for pacing writers.
#[must_use]
pub fn debt_bytes(levels: &[Vec<TableSummary<'_>>; LEVEL_COUNT], options: &CompactionOptions) -> u64 {
    let level0_excess = levels[0].len().saturating_sub(options.level0_table_count_trigger);
    let level0_bytes: u64 = levels[0].iter().take(level0_excess).map(|table| table.size_bytes).sum();
    let deeper: u64 = (1..LEVEL_COUNT - 1)
        .map(|level| size_bytes(&levels[level]).saturating_sub(level_size_target(level, options)))
        .sum();
    level0_bytes + deeper
}

/// How full a level is in percent of its target; tables that a job works on already count as gone.
fn score_percent(levels: &[Vec<TableSummary<'_>>; LEVEL_COUNT], level: usize, options: &CompactionOptions) -> u64 {
    if level == 0 {
        return levels[0].len() as u64 * 100 / options.level0_table_count_trigger.max(1) as u64;
    }
    let idle: u64 = levels[level].iter().filter(|table| !table.is_busy).map(|table| table.size_bytes).sum();
    idle * 100 / level_size_target(level, options).max(1)
}

fn level_size_target(level: usize, options: &CompactionOptions) -> u64 {
    let exponent = u32::try_from(level - 1).expect("a handful of levels");
    options.level1_size_bytes.saturating_mul(options.level_size_multiplier.saturating_pow(exponent))
}

fn size_bytes(tables: &[TableSummary<'_>]) -> u64 {
    tables.iter().map(|table| table.size_bytes).sum()
}

/// All of level 0 and what it overlaps below. One such compaction runs at a time, since its inputs overlap.
fn plan_level0(levels: &[Vec<TableSummary<'_>>; LEVEL_COUNT]) -> Option<Plan> {
    let upper = &levels[0];
    if upper.iter().any(|table| table.is_busy) {
        return None;
    }
    let smallest = upper.iter().map(|table| table.smallest).min()?;
    let largest = upper.iter().map(|table| table.largest).max()?;
    let lower: Vec<_> = overlapping(&levels[1], smallest, largest).collect();
    if lower.iter().any(|table| table.is_busy) {
        return None;
    }
    Some(Plan { input_level: 0, upper: ids(upper), lower: ids(&lower) })
}

fn plan_level(levels: &[Vec<TableSummary<'_>>; LEVEL_COUNT], level: usize) -> Option<Plan> {
    let candidates = levels[level].iter().filter(|table| !table.is_busy).filter_map(|table| {
        let lower: Vec<_> = overlapping(&levels[level + 1], table.smallest, table.largest).collect();
        if lower.iter().any(|table| table.is_busy) {
            return None;
        }
        // Bytes rewritten below for each KiB brought down.
        let ratio = size_bytes(&lower) * 1024 / table.size_bytes.max(1);
        Some((ratio, table, lower))
    });
    let (_, table, lower) = candidates.min_by_key(|(ratio, table, _)| (*ratio, table.id))?;
    Some(Plan { input_level: level, upper: vec![table.id], lower: ids(&lower) })
}

fn overlapping<'a, 'b>(
    tables: &'a [TableSummary<'b>],
    smallest: KeyBound<'b>,
    largest: KeyBound<'b>,
) -> impl Iterator<Item = TableSummary<'b>> + use<'a, 'b> {
    tables.iter().copied().filter(move |table| table.smallest <= largest && table.largest >= smallest)
}

fn ids(tables: &[TableSummary<'_>]) -> Vec<TableId> {
    tables.iter().map(|table| table.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: u64, smallest: &'static str, largest: &'static str, size_bytes: u64) -> TableSummary<'static> {
        TableSummary {
            id: TableId(id),
            size_bytes,
            smallest: (Keyspace::Data, smallest.as_bytes()),
            largest: (Keyspace::Data, largest.as_bytes()),
            is_busy: false,
        }
    }

    fn options() -> CompactionOptions {
        CompactionOptions {
            level0_table_count_trigger: 2,
            level1_size_bytes: 100,
            level_size_multiplier: 10,
            table_size_bytes_target: 50,
        }
    }

    fn levels(
        level0: &[TableSummary<'static>],
        level1: &[TableSummary<'static>],
        level2: &[TableSummary<'static>],
    ) -> [Vec<TableSummary<'static>>; LEVEL_COUNT] {
        let mut levels: [Vec<_>; LEVEL_COUNT] = Default::default();
        levels[0] = level0.to_vec();
        levels[1] = level1.to_vec();
        levels[2] = level2.to_vec();
        levels
    }

    #[test]
    fn nothing_is_due_below_the_targets() {
        let tree = levels(&[table(1, "a", "z", 10)], &[table(2, "a", "z", 99)], &[]);
        assert_eq!(pick(&tree, &options()), None);
        assert_eq!(debt_bytes(&tree, &options()), 0);
    }

    #[test]
    fn level_0_takes_all_its_tables_and_what_they_overlap() {
        let tree = levels(
            &[table(4, "m", "p", 10), table(3, "c", "f", 10)],
            &[table(1, "a", "b", 10), table(2, "e", "n", 10)],
            &[],
        );
        let plan = pick(&tree, &options()).expect("two tables are the trigger");
        assert_eq!(plan, Plan { input_level: 0, upper: vec![TableId(4), TableId(3)], lower: vec![TableId(2)] });
    }

    #[test]
    fn the_cheapest_table_of_an_overfull_level_goes() {
        let tree = levels(
            &[],
            &[table(1, "a", "c", 60), table(2, "d", "f", 60), table(3, "g", "i", 60)],
            &[table(4, "a", "c", 100), table(5, "g", "h", 10), table(6, "d", "f", 200)],
        );
        let plan = pick(&tree, &options()).expect("level 1 is too large");
        assert_eq!(plan, Plan { input_level: 1, upper: vec![TableId(3)], lower: vec![TableId(5)] });
    }

    #[test]
    fn tables_at_work_are_left_alone() {
        let mut tree = levels(&[table(4, "m", "p", 10), table(3, "c", "f", 10)], &[table(2, "e", "n", 10)], &[]);
        tree[1][0].is_busy = true;
        assert_eq!(pick(&tree, &options()), None);
    }
}
