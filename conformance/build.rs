//! Builds the library again when a case is added: the cases are read when it is compiled.

fn main() {
    println!("cargo:rerun-if-changed=cases");
}
