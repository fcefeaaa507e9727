//! What safe code cannot do with memory that is lent: the compiler says so, in the words that stand beside each.
//!
//! `TRYBUILD=overwrite cargo test --test lent` writes them again.

#[test]
fn lent_memory_cannot_be_touched() {
    trybuild::TestCases::new().compile_fail("tests/lent/*.rs");
}
