//! Each bug that can be planted is found by the simulator within 200 seeds: what would not be found here would not be found in earnest either.

use std::panic::{AssertUnwindSafe, catch_unwind};

use corelode_engine::bugs as engine;
use corelode_raft::bugs as raft;
use corelode_simulator::run::Scenario;

const SEEDS: u64 = 200;

/// Runs seeds until one fails; answers which and why.
fn hunt() -> Option<(u64, String)> {
    let hook = std::panic::take_hook();
    // A panic is what is wanted here: it need not be told in full.
    std::panic::set_hook(Box::new(|_| {}));
    let found = (1..=SEEDS).find_map(|seed| {
        let outcome = catch_unwind(AssertUnwindSafe(|| Scenario::of_seed(seed).run().map(drop)));
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!("panicked: {}", text.unwrap_or_default()))
        };
        outcome.unwrap_or_else(panicked).err().map(|message| (seed, message))
    });
    std::panic::set_hook(hook);
    found
}

#[allow(clippy::print_stdout, reason = "at which seed it was found is worth reading")]
fn must_be_found(name: &str) {
    let (seed, message) = hunt().unwrap_or_else(|| panic!("{name} was not found within {SEEDS} seeds"));
    println!("{name}: found at seed {seed}: {message}");
}

macro_rules! planted {
    ($($test:ident: $owner:ident $bug:ident,)*) => {
        $(#[test]
        fn $test() {
            $owner::plant(Some($owner::Bug::$bug));
            must_be_found($owner::Bug::$bug.name());
        })*
    };
}

planted! {
    vote_forgotten: raft VoteForgotten,
    vote_ignores_log: raft VoteIgnoresLog,
    append_acknowledged_before_stored: raft AppendAcknowledgedBeforeStored,
    leader_counts_itself_early: raft LeaderCountsItselfEarly,
    no_entry_of_the_term: raft NoEntryOfTheTerm,
    commit_beyond_matched: raft CommitBeyondMatched,
    append_skips_previous: raft AppendSkipsPrevious,
    conflict_kept: raft ConflictKept,
    read_without_round: raft ReadWithoutRound,
    read_before_own_term: raft ReadBeforeOwnTerm,
    membership_skips_joint: raft MembershipSkipsJoint,
    handover_never_given_up: raft HandoverNeverGivenUp,
    log_rewrites_tail_block: engine LogRewritesTailBlock,
    log_recycles_unflushed: engine LogRecyclesUnflushed,
    manifest_skips_sync: engine ManifestSkipsSync,
    manifest_skips_directory_sync: engine ManifestSkipsDirectorySync,
    flush_skips_table_sync: engine FlushSkipsTableSync,
    flush_skips_directory_sync: engine FlushSkipsDirectorySync,
    flush_claims_too_much: engine FlushClaimsTooMuch,
    reads_tell_what_is_ahead: engine ReadsTellWhatIsAhead,
    receipts_not_counted: raft ReceiptsNotCounted,
    sessions_left_out: engine SessionsLeftOut,
    sessions_apply_repeated: engine SessionsApplyRepeated,
    compaction_removes_inputs_early: engine CompactionRemovesInputsEarly,
}
