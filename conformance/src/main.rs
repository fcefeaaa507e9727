//! uringspec
fn main() {}
