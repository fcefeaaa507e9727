//! Every bit of a good entry changed, one at a time, on this kernel: the model allows what comes of it.

use uringspec::fields::{BITS, FIELDS, Field, OPCODES, other_opcode, program};
use uringspec::kernel::{Kernel, NoTrace};
use uringspec_model::abi::{name_of, op};
use uringspec_model::check::check;
use uringspec_model::verdict::Verdict;

/// Of which the model says nothing yet: operations, field, and its bits.
const UNCLAIMED: &[(&[u8], &str, &[u32])] = &[
    // a drain of what is lent, of a cancel or of a read
    (&[op::SEND_ZC, op::SENDMSG_ZC, op::ASYNC_CANCEL, op::READV], "flags", &[1]),
    // the peer's end of the connection
    (SENDS, "fd", &[0]),
    // a nop with a file, a registered buffer, or by way of task work
    (&[op::NOP], "op_flags", &[1, 3, 4]),
    // bundles, and bytes out of band
    (&[op::SEND], "ioprio", &[4]),
    (&[op::SEND, op::SENDMSG, op::SEND_ZC, op::SENDMSG_ZC], "op_flags", &[0]),
    // what is read as a header then has a name
    (&[op::SENDMSG, op::SENDMSG_ZC], "addr", &[4]),
    // a real-time priority, for which one has to be allowed
    (&[op::WRITE, op::WRITEV, op::WRITE_FIXED, op::READV], "ioprio", &[13]),
    // reads in a chain, that post nothing, or that never wait
    (&[op::READV], "flags", &[2, 3, 6]),
    (&[op::READV], "op_flags", &[3]),
];

const SENDS: &[u8] =
    &[op::SEND, op::SENDMSG, op::SEND_ZC, op::SENDMSG_ZC, op::WRITE, op::WRITEV, op::WRITE_FIXED];

fn is_unclaimed(opcode: u8, field: &Field, bit: u32) -> bool {
    let named = |(opcodes, name, bits): &(&[u8], &str, &[u32])| {
        opcodes.contains(&opcode) && *name == field.name && bits.contains(&bit)
    };
    UNCLAIMED.iter().any(named)
}

#[test]
fn every_changed_bit_is_allowed() {
    let mut kernel = match Kernel::open(Some(env!("CARGO_BIN_EXE_uringspec").into())) {
        Ok(kernel) => kernel,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (mut wrong, mut ran, mut others) = (Vec::new(), 0, 0);
    for &opcode in OPCODES {
        let name = name_of(op::NAMES, opcode).unwrap_or("?");
        for (field, bit) in FIELDS.iter().flat_map(|field| (0..field.bits).map(move |bit| (field, bit))) {
            if other_opcode(opcode, field.first + bit).is_some() {
                others += 1;
                continue;
            }
            let program = program(opcode, Some(field.first + bit));
            let verdict = match kernel.run(&program) {
                Ok(trace) => check(&program, kernel.profile(), &trace),
                Err(NoTrace::Skip(reason) | NoTrace::Broken(reason)) => {
                    wrong.push(format!("{name} {} bit {bit}: {reason}", field.name));
                    continue;
                }
            };
            ran += 1;
            let said = matches!(verdict, Verdict::Unclaimed { .. });
            let fits = if is_unclaimed(opcode, field, bit) { said } else { verdict.is_accepted() };
            if !fits {
                wrong.push(format!("{name} {} bit {bit}: {verdict:?}", field.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(ran + others, OPCODES.len() * BITS as usize, "each bit is run, or names another operation");
}
