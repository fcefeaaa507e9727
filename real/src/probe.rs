//! What this kernel can do, found out by harmless tries.
//!
//! A try is one request on a descriptor that cannot exist: a kernel that knows a flag gets as far as
//! looking the descriptor up (`EBADF`), one that does not refuses the entry before (`EINVAL`). Nothing is
//! sent, and nothing can wait.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::mem::zeroed;
use std::time::Duration;

use io_uring::{IoUring, Probe};
use uringspec_model::abi::{cqe_flag, errno, op, send_flag, setup};
use uringspec_model::profile::{Feature, KernelVersion, Profile};
use uringspec_model::program::{RingSetup, Want};
use uringspec_model::sqe::Sqe;

use crate::ring::Ring;
use crate::skip::Skip;

/// A `struct msghdr` without name, iovecs and control messages.
static EMPTY_MESSAGE: [u64; 7] = [0; 7];
/// An iovec without bytes.
static EMPTY_IOVEC: [u64; 2] = [0; 2];
/// How long one try may take; a kernel answers within the call.
const PATIENCE: Duration = Duration::from_secs(1);
/// The fence's user data, which no try uses.
const FENCE: u64 = u64::MAX;

/// Finds out what this kernel can do. It changes nothing in the calling process.
pub fn probe() -> Result<Profile, Skip> {
    let opcodes = opcodes()?;
    let mut features = BTreeSet::new();
    for feature in Feature::ALL {
        if has(*feature, opcodes)? {
            features.insert(*feature);
        }
    }
    let (release, version) = release();
    Ok(Profile { release, version, opcodes, features })
}

/// The first opcode that the kernel does not know.
pub(crate) fn opcodes() -> Result<u8, Skip> {
    let ring = IoUring::new(1).map_err(|error| Skip::of_ring_setup(&error))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|_| Skip::Missing("IORING_REGISTER_PROBE, which kernels have since 5.6".into()))?;
    let known = (0..u8::MAX).rev().find(|opcode| probe.is_supported(*opcode));
    Ok(known.map_or(0, |last| last + 1))
}

fn has(feature: Feature, opcodes: u8) -> Result<bool, Skip> {
    let send = Sqe { opcode: op::SEND, fd: -1, user_data: 1, ..Sqe::default() };
    let send_zc = Sqe { opcode: op::SEND_ZC, ..send };
    let message = EMPTY_MESSAGE.as_ptr().expose_provenance() as u64;
    let sendmsg_zc = Sqe { opcode: op::SENDMSG_ZC, addr: message, ..send };
    match feature {
        Feature::SendZc => Ok(op::SEND_ZC < opcodes),
        Feature::SendmsgZc => Ok(op::SENDMSG_ZC < opcodes),
        Feature::ReportUsage => accepts(Sqe { ioprio: send_flag::REPORT_USAGE, ..send_zc }, opcodes),
        Feature::PrepCopies => prep_copies(),
        // Trying would block where it is not so.
        Feature::UnregisterReturns => Ok(release().1 >= KernelVersion(6, 13, 0)),
        // Trying would take another user and another limit.
        Feature::PrepLocks => Ok(release().1 >= KernelVersion(6, 15, 0)),
        Feature::RingsLocked => Ok((KernelVersion(6, 14, 0)..KernelVersion(7, 2, 0)).contains(&release().1)),
        // An index without a table is refused only once the descriptor was looked up.
        Feature::SendmsgZcFixed => accepts(Sqe { ioprio: send_flag::FIXED_BUF, ..sendmsg_zc }, opcodes),
        Feature::SendVectorized => {
            let addr = EMPTY_IOVEC.as_ptr().expose_provenance() as u64;
            accepts(Sqe { ioprio: send_flag::VECTORIZED, addr, len: 1, ..send }, opcodes)
        }
        // no kernel has it, whatever one may come to do with the flag
        Feature::PerIovec => Ok(false),
        Feature::NotifUserData => accepts(Sqe { addr3: 2, ..send_zc }, opcodes),
        Feature::SendFixed => accepts(Sqe { ioprio: send_flag::FIXED_BUF, ..send }, opcodes),
        Feature::LenSignChecked => Ok(!accepts(Sqe { len: 1 << 31, ..send }, opcodes)?),
        Feature::DeferTaskrun => {
            let flags = setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
            Ok(Ring::new(&RingSetup { entries: 1, flags, ..RingSetup::default() }, FENCE).is_ok())
        }
    }
}

fn plain_ring() -> Result<Ring, Skip> {
    let setup = RingSetup { entries: 2, ..RingSetup::default() };
    Ring::new(&setup, FENCE).map_err(|error| Skip::of_ring_setup(&error))
}

/// Whether an entry gets as far as its descriptor.
fn accepts(sqe: Sqe, opcodes: u8) -> Result<bool, Skip> {
    if sqe.opcode >= opcodes {
        return Ok(false);
    }
    let mut ring = plain_ring()?;
    ring.submit(&[sqe]);
    let mut result = None;
    let want = Want { user_data: sqe.user_data, count: 1, last: true };
    ring.reap(&|tally| tally.progress(want.user_data).reaches(&want), PATIENCE, &mut |cqe| {
        if cqe.flags & cqe_flag::NOTIF == 0 {
            result = Some(cqe.res);
        }
    });
    Ok(result == Some(-i32::from(errno::EBADF)))
}

/// Whether a message header is read while its entry is prepared: an unreadable one then ends the batch.
fn prep_copies() -> Result<bool, Skip> {
    let mut ring = plain_ring()?;
    let unreadable = Sqe { opcode: op::SENDMSG, fd: -1, addr: 8, user_data: 1, ..Sqe::default() };
    Ok(ring.submit(&[unreadable, Sqe::default()]) == 1)
}

/// The release as `uname -r` prints it, and the version that it stands for.
fn release() -> (String, KernelVersion) {
    // SAFETY: the structure is plain bytes, for which zeros are a value.
    let mut uts: libc::utsname = unsafe { zeroed() };
    // SAFETY: `uts` has room for the one structure that the call writes.
    unsafe { libc::uname(&raw mut uts) };
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field.iter().map(|c| *c as u8).chain([0]).collect();
        CStr::from_bytes_until_nul(&bytes).map_or(String::new(), |s| s.to_string_lossy().into_owned())
    };
    let release = text(&uts.release);
    let signature = fs::read_to_string("/proc/version_signature").unwrap_or_default();
    let version = full_version(&release, &[&text(&uts.version), &signature]);
    (release, version)
}

/// The version in a release. Distributions keep the last number at zero there and write the full version
/// elsewhere.
fn full_version(release: &str, elsewhere: &[&str]) -> KernelVersion {
    let plain = leading_version(release).unwrap_or(KernelVersion(0, 0, 0));
    if plain.2 != 0 {
        return plain;
    }
    let words = elsewhere.iter().flat_map(|text| text.split_whitespace());
    let same_series = |v: &KernelVersion| (v.0, v.1) == (plain.0, plain.1);
    words.filter_map(leading_version).filter(same_series).max().unwrap_or(plain)
}

fn leading_version(word: &str) -> Option<KernelVersion> {
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(KernelVersion(major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_kernel_can_do_fits_together() {
        let profile = match probe() {
            Ok(profile) => profile,
            Err(skip) => return eprintln!("skipped: {skip}"),
        };
        assert_eq!(profile.has(Feature::SendZc), profile.opcodes > op::SEND_ZC);
        // What came with one release is there if something younger is.
        let by_age = [
            Feature::SendFixed,
            Feature::NotifUserData,
            Feature::SendVectorized,
            Feature::SendmsgZcFixed,
            Feature::UnregisterReturns,
            Feature::PrepCopies,
            Feature::ReportUsage,
            Feature::SendmsgZc,
            Feature::SendZc,
        ];
        let found = by_age.map(|feature| profile.has(feature));
        assert!(found.is_sorted(), "{profile:?}");
    }

    #[test]
    fn releases_of_distributions_name_their_full_version() {
        let check = |release, elsewhere, expected| {
            assert_eq!(full_version(release, &[elsewhere]).to_string(), expected);
        };
        check("6.18.44-fc-v657", "#1 SMP PREEMPT_DYNAMIC @0", "6.18.44");
        check("6.1.0-40-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1 (2025-09-20)", "6.1.153");
        check("6.8.0-45-generic", "Ubuntu 6.8.0-45.45-generic 6.8.12", "6.8.12");
        check("6.12-rc1", "#1 SMP", "6.12.0");
        check("nonsense", "", "0.0.0");
    }
}
