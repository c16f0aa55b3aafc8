//! A write that is sent again with its session and sequence is answered as the first time, and applied once: after a flush, a restart, and on a replica that was
//! sent tables.

mod harness;

use harness::repeated::repeated_writes_are_applied_once;

/// PITFALL 18.
#[test]
fn a_write_that_is_sent_again_is_applied_once_wherever_it_arrives() {
    repeated_writes_are_applied_once().expect("all is well");
}
