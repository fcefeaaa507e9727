//! Tables of a ring: registered buffers and files.

use std::collections::BTreeMap;

use uringspec_model::program::{End, Iovec, Register as Call};
use winnow::Result;

use super::error::Refusal;
use super::names::Names;
use super::place::Memory;
use super::{Register, Slot, Table};

/// The call that a line stands for, and what it returns if nothing else is said.
pub(super) fn call(register: &Register, names: &Names, memory: &Memory) -> Result<(Call, i64), Refusal> {
    let iovec = |slot: &Slot| match &slot.name {
        Some(name) => memory.inside(name, slot.range, slot.at),
        None => Ok(Iovec::default()),
    };
    Ok(match &register.what {
        Table::Buffers(slots) => {
            let table = slots.iter().map(|s| Ok((s.index, iovec(s)?))).collect::<Result<_, Refusal>>()?;
            (Call::Buffers(filled(&table)), 0)
        }
        Table::Sparse(slots) => (Call::SparseBuffers(*slots), 0),
        Table::Update(slots) => {
            let first = slots.first().map_or(0, |slot| slot.index);
            for (slot, index) in slots.iter().zip(first..) {
                if slot.index != index {
                    return Err(Refusal::new(slot.at, "the slots of an update follow one another")
                        .expecting([format!("{index}=")]));
                }
            }
            let iovecs = slots.iter().map(iovec).collect::<Result<_, Refusal>>()?;
            (Call::UpdateBuffers { offset: first, iovecs }, slots.len() as i64)
        }
        Table::Files(slots) => {
            let mut table = BTreeMap::new();
            for slot in slots {
                let socket = slot.name.as_ref().map(|name| names.socket(name, End::Near)).transpose()?;
                table.insert(slot.index, socket.map(|id| id.0));
            }
            (Call::Files(filled(&table)), 0)
        }
        Table::NoBuffers => (Call::UnregisterBuffers, 0),
        Table::NoFiles => (Call::UnregisterFiles, 0),
        Table::Enable => (Call::Enable, 0),
        Table::Cancel(user_data) => (Call::Cancel(*user_data), 0),
        Table::Restrict(list) => (Call::Restrict(list.clone()), 0),
    })
}

/// A table from its slots; those that are left out are empty.
pub(super) fn filled<T: Copy + Default>(table: &BTreeMap<u32, T>) -> Vec<T> {
    let slots = table.keys().next_back().map_or(0, |last| last + 1);
    (0..slots).map(|index| table.get(&index).copied().unwrap_or_default()).collect()
}
