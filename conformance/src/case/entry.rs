//! One entry of a `submit` block as the 64 bytes that the kernel reads.

use uringspec_model::abi::{op, sqe_flag};
use uringspec_model::sqe::Sqe;
use winnow::Result;

use super::error::Refusal;
use super::names::Names;
use super::place::Memory;
use super::{Data, RawField, SqeLine, Target, mixed};

/// A descriptor above all that a program opens.
pub const CLOSED_FD: i32 = 999;

/// The entry that a line stands for. Headers and arrays go to `memory`.
pub(super) fn sqe(line: &SqeLine, names: &Names, memory: &mut Memory) -> Result<Sqe, Refusal> {
    let mut sqe = Sqe {
        opcode: line.opcode,
        flags: line.flags,
        ioprio: line.zc,
        op_flags: line.msg,
        user_data: line.user_data,
        buf_index: line.index.unwrap_or(0),
        ..Sqe::default()
    };
    match &line.target {
        Target::None => {}
        Target::Socket(name) => sqe.fd = names.fd(name)?,
        Target::Closed => sqe.fd = CLOSED_FD,
        Target::File(index) => {
            sqe.fd = *index as i32;
            sqe.flags |= sqe_flag::FIXED_FILE;
        }
    }
    match &line.data {
        Data::None => {}
        Data::Request(user_data) => sqe.addr = *user_data,
        Data::Flat(segment) => {
            let iovec = memory.iovec(segment)?;
            sqe.addr = iovec.addr;
            sqe.len = u32::try_from(iovec.len_bytes).map_err(|_| {
                Refusal::new(segment.at, format!("{} bytes are too many for a length field", iovec.len_bytes))
                    .expecting([format!("at most {} bytes", u32::MAX)])
            })?;
        }
        Data::Mixed(parts) => {
            sqe.addr = memory.msghdr(&mixed::elements(parts, memory)?, &line.raw);
            sqe.len = 1;
        }
        Data::Vector(segments) => {
            let iovecs = segments.iter().map(|s| memory.iovec(s)).collect::<Result<Vec<_>, _>>()?;
            if matches!(line.opcode, op::SENDMSG | op::SENDMSG_ZC) {
                sqe.addr = memory.msghdr(&iovecs, &line.raw);
                // liburing writes 1 here; nothing reads it but the check of its sign.
                sqe.len = 1;
            } else {
                sqe.addr = memory.array(&iovecs);
                sqe.len = iovecs.len() as u32;
            }
        }
    }
    for (field, value) in &line.raw {
        set_raw(&mut sqe, *field, *value);
    }
    Ok(sqe)
}

/// Sets a field; the parser kept the value within its width.
fn set_raw(sqe: &mut Sqe, field: RawField, value: u64) {
    match field {
        RawField::Opcode => sqe.opcode = value as u8,
        RawField::Flags => sqe.flags = value as u8,
        RawField::Ioprio => sqe.ioprio = value as u16,
        RawField::Fd => sqe.fd = value as u32 as i32,
        RawField::Off => sqe.off = value,
        RawField::Addr => sqe.addr = value,
        RawField::Len => sqe.len = value as u32,
        RawField::OpFlags => sqe.op_flags = value as u32,
        RawField::UserData => sqe.user_data = value,
        RawField::BufIndex => sqe.buf_index = value as u16,
        RawField::Personality => sqe.personality = value as u16,
        RawField::FileIndex => sqe.file_index = value as u32,
        RawField::Addr3 => sqe.addr3 = value,
        RawField::Pad2 => sqe.pad2 = value,
        // These stand in the message header, which was written with the data.
        RawField::MsgName
        | RawField::NameLen
        | RawField::IovLen
        | RawField::Control
        | RawField::ControlLen => {}
    }
}
