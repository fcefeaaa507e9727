//! Kernels by name: what each release of Linux has of what sends can tell, as data.
//!
//! Source: the first release of each feature as `profile::Feature` names it; opcodes from
//! `enum io_uring_op` of the releases.

use crate::profile::{Feature, KernelVersion, Profile};

/// A release: its name, its version, how many opcodes it has, and what is new in it.
struct Release {
    name: &'static str,
    version: KernelVersion,
    opcodes: u8,
    gains: &'static [Feature],
    loses: &'static [Feature],
}

/// Releases in which something changed, or that stayed in use for long, oldest first.
const RELEASES: &[Release] = {
    use Feature::*;
    const fn release(
        name: &'static str,
        version: KernelVersion,
        opcodes: u8,
        gains: &'static [Feature],
        loses: &'static [Feature],
    ) -> Release {
        Release { name, version, opcodes, gains, loses }
    }
    &[
        release("5.10", KernelVersion(5, 10, 0), 34, &[], &[]),
        release("5.15", KernelVersion(5, 15, 0), 40, &[], &[]),
        release("5.19", KernelVersion(5, 19, 0), 47, &[], &[]),
        release("6.0", KernelVersion(6, 0, 0), 48, &[SendZc], &[]),
        release("6.1", KernelVersion(6, 1, 0), 49, &[SendmsgZc, DeferTaskrun], &[]),
        release("6.2", KernelVersion(6, 2, 0), 49, &[ReportUsage], &[]),
        release("6.6", KernelVersion(6, 6, 0), 49, &[], &[]),
        release("6.10", KernelVersion(6, 10, 0), 56, &[PrepCopies], &[]),
        release("6.12", KernelVersion(6, 12, 0), 58, &[], &[]),
        release("6.13", KernelVersion(6, 13, 0), 58, &[UnregisterReturns], &[]),
        release("6.14", KernelVersion(6, 14, 0), 58, &[RingsLocked], &[]),
        release("6.15", KernelVersion(6, 15, 0), 62, &[SendmsgZcFixed, PrepLocks], &[]),
        release("6.16", KernelVersion(6, 16, 0), 63, &[], &[]),
        release("6.17", KernelVersion(6, 17, 0), 63, &[SendVectorized], &[]),
        release("6.18", KernelVersion(6, 18, 44), 63, &[LenSignChecked], &[]),
        release("6.19", KernelVersion(6, 19, 0), 65, &[], &[]),
        release("7.0", KernelVersion(7, 0, 0), 65, &[], &[]),
        release("7.1", KernelVersion(7, 1, 0), 65, &[NotifUserData], &[]),
        release("7.2", KernelVersion(7, 2, 11), 65, &[SendFixed], &[RingsLocked]),
        release("7.3", KernelVersion(7, 3, 0), 65, &[], &[]),
    ]
};

/// The name of a kernel that takes mixed sends, of which there is none.
pub const PROPOSAL: &str = "proposal";

/// Every name, oldest release first and the proposal last.
pub fn names() -> impl Iterator<Item = &'static str> {
    RELEASES.iter().map(|release| release.name).chain([PROPOSAL])
}

/// The kernel with this name.
pub fn named(name: &str) -> Option<Profile> {
    if name == PROPOSAL {
        return Some(Profile::proposal());
    }
    let last = RELEASES.iter().position(|release| release.name == name)?;
    let mut features = std::collections::BTreeSet::new();
    for release in &RELEASES[..=last] {
        features.extend(release.gains);
        features.retain(|feature| !release.loses.contains(feature));
    }
    let Release { version, opcodes, .. } = RELEASES[last];
    Some(Profile { release: format!("{name} (named)"), version, opcodes, features })
}

impl Profile {
    /// The newest release, and mixed sends as `mixed/PROPOSAL.md` has them.
    pub fn proposal() -> Profile {
        let newest = RELEASES.last().map_or("6.18", |release| release.name);
        let mut profile = named(newest).unwrap_or_else(Profile::v6_18);
        profile.release = format!("{newest} with the proposal (named)");
        profile.features.insert(Feature::PerIovec);
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_that_is_assumed_is_one_of_them() {
        assert_eq!(named("6.18"), Some(Profile::v6_18()));
        assert_eq!(named("6.18.1"), None);
    }

    #[test]
    fn every_name_names_a_kernel_and_versions_grow() {
        let all: Vec<Profile> = names().map(|name| named(name).expect("it was listed")).collect();
        assert!(all.windows(2).all(|pair| pair[0].version <= pair[1].version));
        let has = |name: &str, feature| named(name).is_some_and(|profile| profile.has(feature));
        assert!(has("6.1", Feature::SendmsgZc) && !has("6.0", Feature::SendmsgZc));
        assert!(has("7.3", Feature::SendVectorized) && !has("7.3", Feature::PerIovec));
        assert!(has(PROPOSAL, Feature::PerIovec) && has(PROPOSAL, Feature::SendmsgZcFixed));
    }
}
