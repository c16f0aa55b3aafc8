//! Each planted bug is caught by the checks that the engine passes without it.

mod harness;

use std::panic::{AssertUnwindSafe, catch_unwind};

use corelode_engine::bugs::{self, Bug};
use corelode_engine::env::simulated::SimulationOptions;
use harness::Jobs;
use harness::ahead::what_is_applied_from_memory_may_be_taken_back;
use harness::crashes::Extent;
use harness::damage::{disk_at_rest, flip_everywhere};
use harness::load::{crash_the_load, recovers};
use harness::repeated::repeated_writes_are_applied_once;
use harness::workload::Workload;

/// The checks: requests that are repeated, loads that crash, with maintenance between and beside the writes, and damage.
fn all_checks() -> Result<(), String> {
    repeated_writes_are_applied_once()?;
    what_is_applied_from_memory_may_be_taken_back()?;
    let extent = Extent { stride: 11, first: 4, seeds: 3 };
    let workload = Workload { turns: 60, ..Workload::default() };
    crash_the_load(SimulationOptions::in_order(), Jobs::Inline, Workload::of_the_log(), extent, recovers)?;
    crash_the_load(SimulationOptions::in_order(), Jobs::Inline, workload, extent, recovers)?;
    crash_the_load(SimulationOptions::new(1), Jobs::Beside, Workload { seed: 3, ..workload }, extent, recovers)?;
    let (image, history) = disk_at_rest(Workload { turns: 20, ..workload });
    flip_everywhere(&image, &history, 1021).map(drop)
}

fn checks_fail_with(bug: Bug) {
    bugs::plant(Some(bug));
    let outcome = catch_unwind(AssertUnwindSafe(all_checks));
    bugs::plant(None);
    match outcome {
        Ok(Ok(())) => panic!("{} is not noticed by any check", bug.name()),
        #[allow(clippy::print_stdout, reason = "which check noticed it is worth reading")]
        Ok(Err(message)) => println!("{}: {message}", bug.name()),
        // An assert of the engine or of the checks noticed it.
        Err(_) => {}
    }
}

#[test]
fn without_a_bug_all_checks_pass() {
    all_checks().expect("nothing is planted");
}

macro_rules! each_is_caught {
    ($($test:ident: $bug:ident,)*) => {
        $(#[test] fn $test() { checks_fail_with(Bug::$bug); })*

        #[test]
        fn no_bug_is_without_a_test() {
            let tested = [$(Bug::$bug),*];
            assert!(Bug::ALL.iter().all(|bug| tested.contains(bug)), "{:?}", Bug::ALL);
        }
    };
}

each_is_caught! {
    a_flush_leaves_sessions_out: SessionsLeftOut,
    a_repeated_request_is_applied_again: SessionsApplyRepeated,
    the_log_acknowledges_before_it_is_durable: LogAcknowledgesBeforeSync,
    the_log_writes_a_block_with_acknowledged_records_again: LogRewritesTailBlock,
    the_log_reuses_a_segment_with_unflushed_entries: LogRecyclesUnflushed,
    recovery_takes_corruption_for_a_torn_tail: RecoveryCutsCorruption,
    a_manifest_is_renamed_before_its_bytes_are_durable: ManifestSkipsSync,
    a_manifest_counts_before_its_name_is_durable: ManifestSkipsDirectorySync,
    a_flush_ends_before_its_bytes_are_durable: FlushSkipsTableSync,
    a_flush_ends_before_its_name_is_durable: FlushSkipsDirectorySync,
    a_flush_claims_an_entry_that_it_does_not_hold: FlushClaimsTooMuch,
    a_compaction_drops_a_tombstone_that_hides_something: CompactionDropsTombstones,
    a_read_tells_what_is_only_in_memory: ReadsTellWhatIsAhead,
    a_compaction_removes_its_inputs_early: CompactionRemovesInputsEarly,
}
