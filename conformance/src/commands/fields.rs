//! `uringspec fields`: what each field of an entry may hold.

use serde::Serialize;
use uringspec_model::abi::{name_of, op, value_of};

use super::{complain, profile};
use crate::case::near;
use crate::cli::exit;
use crate::fields::{FIELDS, OPCODES, Outcome, outcome};
use crate::output::Output;

/// Prints what comes of a good entry of each operation when one of its bits is another, as the model has it.
///
/// The bits of a field with the same outcome are one line. The entry is for a connected TCP socket with room.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec fields                      every operation that the model covers
  uringspec fields SEND_ZC              one
  uringspec fields SEND --profile 6.1   on another kernel
  uringspec fields --format json | jq 'select(.field == \"ioprio\")'

Exit codes: 0 printed, 64 usage.")]
pub struct Args {
    /// Operations, as `linux/io_uring.h` names them without their prefix; none: all.
    #[arg(value_name = "OPCODE")]
    opcodes: Vec<String>,
    /// The kernel that the model plays: `6.18`, or a file with a profile line.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
}

/// Bits with the same outcome.
#[derive(Serialize)]
struct Row<'a> {
    opcode: &'a str,
    field: &'a str,
    /// Counted from the lowest of the field.
    bits: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let mut opcodes = Vec::new();
    for name in &args.opcodes {
        let asked = value_of(op::NAMES, &name.to_uppercase()).filter(|opcode| OPCODES.contains(opcode));
        let Some(opcode) = asked else {
            let known = OPCODES.iter().filter_map(|opcode| name_of(op::NAMES, *opcode)).map(str::to_string);
            complain(&format!(
                "there is no entry of {name}, expected one of: {}",
                near(name, known).join(", ")
            ));
            return exit::USAGE;
        };
        opcodes.push(opcode);
    }
    let profile = match profile(args.profile.as_deref()) {
        Ok(profile) => profile,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    for &opcode in if opcodes.is_empty() { OPCODES } else { &opcodes } {
        let name = name_of(op::NAMES, opcode).unwrap_or("?");
        for field in FIELDS {
            let mut rows: Vec<(Outcome, Vec<u32>)> = Vec::new();
            for bit in 0..field.bits {
                let what = outcome(opcode, field.first + bit, &profile)
                    .unwrap_or_else(|many| Outcome::Unclaimed(many.to_string()));
                match rows.iter_mut().find(|(known, _)| *known == what) {
                    Some((_, bits)) => bits.push(bit),
                    None => rows.push((what, vec![bit])),
                }
            }
            for (what, bits) in &rows {
                let (words, outcomes, other) = match what {
                    Outcome::Posts(posts) => (posts.join(" or "), Some(&posts[..]), None),
                    Outcome::Unclaimed(why) => {
                        let words = format!("nothing is said: {why}");
                        (words.clone(), None, Some(words))
                    }
                    Outcome::OtherOpcode(name) => (format!("it is {name}"), None, Some((*name).to_string())),
                };
                out.line(&format!("{name:<13} {:<12} {:<20} {words}", field.name, ranges(bits)));
                out.object(&Row { opcode: name, field: field.name, bits, outcomes, other });
            }
        }
    }
    0
}

/// Numbers that rise, as ranges.
fn ranges(bits: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &bit in bits {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == bit => *last = bit,
            _ => parts.push((bit, bit)),
        }
    }
    let part = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}
