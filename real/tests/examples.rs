//! Each example is one command that ends well.

use std::process::Command;

fn run(name: &str, arguments: &[&str], says: &str) {
    if let Err(skip) = uringspec_real::probe() {
        return eprintln!("skipped: {skip}");
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    // at the root, where this test was built with the same features
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.args(["run", "--quiet", "--example", name, "--"]).args(arguments);
    let output = command.output().expect("cargo is there, as it runs this test");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains(says), "{name} says\n{out}{err}");
}

#[test]
fn request_server() {
    run("request_server", &["4", "40"], "4 clients read");
}

#[test]
fn http_responses() {
    run("http_responses", &["5"], "5 responses");
}

#[test]
fn datagrams() {
    run("datagrams", &["20"], "80 packets to 4 receivers");
}

#[test]
fn tokio_server() {
    run("tokio_server", &["4", "20"], "4 clients read");
}
