//! The tables of a ring, as far as a draft has to know them to name what is there.

use uringspec_model::program::{Iovec, Register};

use super::memory::Memory;

/// The tables of one ring.
#[derive(Default)]
pub(super) struct Tables {
    /// The registered buffers; absent: no table.
    pub(super) buffers: Option<Vec<Option<Iovec>>>,
    /// The registered files, by socket.
    pub(super) files: Option<Vec<Option<u16>>>,
}

/// Entries of a sparse table.
const SPARSE: &[u32] = &[1, 4, 16, 16_384];

impl Tables {
    /// The buffers that can be named.
    pub(super) fn filled(&self) -> impl Iterator<Item = (u16, Iovec)> {
        let slots = self.buffers.iter().flatten().enumerate();
        slots.filter_map(|(i, slot)| Some((i as u16, (*slot)?)))
    }

    /// A table of buffers is asked for; `odd` if it may be refused.
    pub(super) fn register(&mut self, choice: u8, odd: bool, memory: &Memory) -> Register {
        let (all, more) = (memory.whole(0), memory.whole(1));
        let half = Iovec { addr: all.addr + 100, len_bytes: all.len_bytes / 2 };
        let (iovecs, valid) = match choice % 16 {
            1 => (vec![more, half], true),
            2 => (vec![all, Iovec::default(), more], true),
            3 => (vec![half], true),
            9 if odd => (vec![], false),
            10..=15 if odd => (vec![bad(choice, memory), all], false),
            _ => (vec![all, more], true),
        };
        if valid && self.buffers.is_none() {
            self.buffers = Some(iovecs.iter().map(|iovec| Some(*iovec).filter(is_filled)).collect());
        }
        Register::Buffers(iovecs)
    }

    /// A table of empty entries is asked for.
    pub(super) fn register_sparse(&mut self, choice: u8, odd: bool) -> Register {
        let count = match choice % 8 {
            6 if odd => 0,
            7 if odd => 16_385,
            other => SPARSE[usize::from(other) % SPARSE.len()],
        };
        if (1..=16_384).contains(&count) && self.buffers.is_none() {
            self.buffers = Some(vec![None; count as usize]);
        }
        Register::SparseBuffers(count)
    }

    /// Entries of the table are replaced.
    pub(super) fn update(&mut self, target: u8, choice: u8, odd: bool, memory: &Memory) -> Register {
        let (all, more) = (memory.whole(0), memory.whole(1));
        let iovecs = match choice % 8 {
            1 => vec![Iovec::default()],
            2 => vec![all, Iovec::default(), more],
            3 => vec![more],
            4 if odd => vec![],
            5 if odd => vec![bad(target, memory)],
            6 if odd => vec![all, bad(target, memory)],
            _ => vec![all],
        };
        let len = self.buffers.as_ref().map_or(0, Vec::len);
        let room = (len + 1).saturating_sub(iovecs.len()).max(1);
        // one behind the last place now and then, where faults are wanted
        let offset = usize::from(target) % (room + usize::from(odd));
        if let Some(buffers) = self.buffers.as_mut().filter(|_| offset + iovecs.len() <= len) {
            let sound = iovecs.iter().take_while(|iovec| !is_filled(iovec) || memory.holds(**iovec));
            for (i, iovec) in sound.enumerate() {
                buffers[offset + i] = Some(*iovec).filter(is_filled);
            }
        }
        Register::UpdateBuffers { offset: offset as u32, iovecs }
    }

    /// A table of files is asked for, with sockets below `sockets`.
    pub(super) fn register_files(&mut self, choice: u8, open: &[bool]) -> Register {
        let count = open.len() as u16;
        let files: Vec<Option<u16>> = match choice % 8 {
            1 => vec![None, Some(0)],
            2 => (0..count).rev().map(Some).collect(),
            3 => vec![Some(0); 3],
            7 => vec![],
            _ => (0..count).map(Some).collect(),
        };
        let valid = !files.is_empty() && files.iter().flatten().all(|file| open[usize::from(*file)]);
        if valid && self.files.is_none() {
            self.files = Some(files.clone());
        }
        Register::Files(files)
    }
}

fn is_filled(iovec: &Iovec) -> bool {
    *iovec != Iovec::default()
}

/// An entry that is refused.
fn bad(choice: u8, memory: &Memory) -> Iovec {
    let all = memory.whole(0);
    match choice % 6 {
        0 => Iovec { addr: 0, len_bytes: 1 },
        1 => memory.whole(2),
        2 => memory.whole(3),
        3 => Iovec { len_bytes: (1 << 30) + 1, ..all },
        4 => Iovec { addr: 1 << 47, len_bytes: 4096 },
        _ => Iovec { len_bytes: 0, ..all },
    }
}
