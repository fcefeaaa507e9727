//! The table of registered buffers, and what may be named in it.
//!
//! Source: `io_uring_register(2)`, `IORING_REGISTER_BUFFERS`; `io_sqe_buffer_register` and
//! `io_import_fixed` in `io_uring/rsrc.c`.

use crate::abi::{PAGE_BYTES, errno};
use crate::cqe::Errno;
use crate::program::Iovec;
use crate::rules::Rule;
use crate::space::Space;

/// The most buffers one table holds (`IORING_MAX_REG_BUFFERS`).
pub const TABLE_MAX: usize = 16384;
/// The most bytes of one buffer up to 6.18 (1 GiB).
pub const BUFFER_BYTES_MAX: u64 = 1 << 30;

/// How much may be locked for a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Pages; `None`: any number.
    pub pages: Option<u64>,
    /// A slot that is replaced gives its pages back at once.
    pub gives_back: bool,
}

/// The registered buffers of one ring. `None`: no table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Buffers(Option<Vec<Slot>>);

impl Buffers {
    /// What `IORING_REGISTER_BUFFERS` returns, and the table afterwards.
    pub fn register(
        &mut self,
        iovecs: &[Iovec],
        space: Space<'_>,
        mut budget: Budget,
    ) -> Result<(), (Errno, Rule)> {
        if self.0.is_some() {
            return Err((Errno(errno::EBUSY), Rule::BufRegisterOnce));
        }
        if iovecs.is_empty() || iovecs.len() > TABLE_MAX {
            return Err((Errno(errno::EINVAL), Rule::BufTableSize));
        }
        let table = iovecs.iter().map(|iovec| budget.lock(entry(*iovec, space)));
        self.0 = Some(table.collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }

    /// What registering `count` empty entries returns (`IORING_RSRC_REGISTER_SPARSE`).
    pub fn register_sparse(&mut self, count: u32) -> Result<(), (Errno, Rule)> {
        if count == 0 {
            return Err((Errno(errno::EINVAL), Rule::BufTableSize));
        }
        if self.0.is_some() {
            return Err((Errno(errno::EBUSY), Rule::BufRegisterOnce));
        }
        if count as usize > TABLE_MAX {
            return Err((Errno(errno::EINVAL), Rule::BufTableSize));
        }
        self.0 = Some(vec![None; count as usize]);
        Ok(())
    }

    /// What `IORING_REGISTER_BUFFERS_UPDATE` returns: how many entries were replaced before the first
    /// that was refused, or that one's error if it was the first.
    pub fn update(
        &mut self,
        offset: u32,
        iovecs: &[Iovec],
        space: Space<'_>,
        mut budget: Budget,
    ) -> Result<i64, (Errno, Rule)> {
        if iovecs.is_empty() {
            return Err((Errno(errno::EINVAL), Rule::BufUpdateInTable));
        }
        let Some(table) = &mut self.0 else {
            return Err((Errno(errno::ENXIO), Rule::BufUpdateNeedsTable));
        };
        let from = offset as usize;
        if from + iovecs.len() > table.len() {
            return Err((Errno(errno::EINVAL), Rule::BufUpdateInTable));
        }
        for (i, iovec) in iovecs.iter().enumerate() {
            match budget.lock(entry(*iovec, space)) {
                Ok(slot) => budget.give_back(std::mem::replace(&mut table[from + i], slot)),
                Err(refusal) if i == 0 => return Err(refusal),
                Err(_) => return Ok(i as i64),
            }
        }
        Ok(iovecs.len() as i64)
    }

    /// What `IORING_UNREGISTER_BUFFERS` returns, and the table afterwards.
    pub fn unregister(&mut self) -> Result<(), (Errno, Rule)> {
        match self.0.take() {
            Some(_) => Ok(()),
            None => Err((Errno(errno::ENXIO), Rule::BufUnregisterNeedsTable)),
        }
    }

    /// Address and size of the buffer at `index`; the error and its rule where there is none.
    pub fn lookup(&self, index: u16) -> Result<(u64, u64), (Errno, Rule)> {
        let slot = self.0.as_ref().and_then(|table| table.get(usize::from(index)).copied().flatten());
        slot.ok_or((Errno(errno::EFAULT), Rule::BufIndexFilled))
    }

    /// Pages of all entries, each for itself.
    pub fn pages(&self) -> u64 {
        self.0.iter().flatten().copied().map(pages_of).sum()
    }

    /// Pages of `count` slots from `offset` on.
    pub fn pages_of_slots(&self, offset: u32, count: i64) -> u64 {
        let slots = self.0.iter().flatten().skip(offset as usize);
        slots.take(usize::try_from(count).unwrap_or(0)).copied().map(pages_of).sum()
    }

    /// Whether `addr..addr + len` lies in the buffer at `index`; the error and its rule otherwise. An
    /// element of a vector must not be empty.
    pub fn check(&self, index: u16, addr: u64, len: u64, is_vector: bool) -> Result<(), (Errno, Rule)> {
        let fault = Errno(errno::EFAULT);
        let (base, size) = self.lookup(index)?;
        if is_vector && len == 0 {
            return Err((fault, Rule::BufVectorNoEmpty));
        }
        let inside = addr >= base
            && addr.checked_add(len).is_some_and(|end| end <= base.saturating_add(size))
            && len <= crate::abi::MAX_RW_COUNT;
        if inside { Ok(()) } else { Err((fault, Rule::BufRangeInside)) }
    }
}

/// An entry of a table.
type Slot = Option<(u64, u64)>;

/// Pages that an entry touches.
fn pages_of(slot: Slot) -> u64 {
    slot.map_or(0, |(addr, len)| (addr + len).div_ceil(PAGE_BYTES) - addr / PAGE_BYTES)
}

impl Budget {
    /// Locks the pages of an entry that is valid, if they fit.
    fn lock(&mut self, entry: Result<Slot, Errno>) -> Result<Slot, (Errno, Rule)> {
        let slot = entry.map_err(|error| (error, Rule::BufEntryValid))?;
        if let Some(left) = &mut self.pages {
            let refusal = (Errno(errno::ENOMEM), Rule::MemlockTables);
            *left = left.checked_sub(pages_of(slot)).ok_or(refusal)?;
        }
        Ok(slot)
    }

    fn give_back(&mut self, slot: Slot) {
        if let Some(left) = self.pages.as_mut().filter(|_| self.gives_back) {
            *left += pages_of(slot);
        }
    }
}

/// Checks one entry of a table (`io_buffer_validate`, then pinning with write permission).
fn entry(iovec: Iovec, space: Space<'_>) -> Result<Slot, Errno> {
    let Iovec { addr, len_bytes: len } = iovec;
    if addr == 0 && len == 0 {
        return Ok(None);
    }
    if len > i64::MAX as u64 {
        return Err(Errno(errno::EINVAL));
    }
    if addr == 0 || len == 0 || len > BUFFER_BYTES_MAX {
        return Err(Errno(errno::EFAULT));
    }
    if addr.checked_add(len).is_none_or(|end| end > u64::MAX - 4095) {
        return Err(Errno(errno::EOVERFLOW));
    }
    if space.is_mapped(addr, len, true) { Ok(Some((addr, len))) } else { Err(Errno(errno::EFAULT)) }
}
