//! What a quorum has in memory is applied before it is committed, and may be taken back.

mod harness;

use harness::ahead::what_is_applied_from_memory_may_be_taken_back;

#[test]
fn what_is_applied_ahead_is_told_apart_and_leaves_no_trace_if_it_is_cut() {
    what_is_applied_from_memory_may_be_taken_back().expect("all is well");
}
