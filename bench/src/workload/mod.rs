//! What is asked of a store: kinds of operations, and the keys they are about.
