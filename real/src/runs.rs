//! Received bytes as runs: which memory they came from.
//!
//! Eight stamped bytes name their origin, so one aligned word is enough to find a run, which then grows
//! byte by byte to both sides. Nothing is lost: a run is only ever claimed where each byte equals the
//! stamp, and everything else stays as bytes. A claim may still be wrong about where a short piece came
//! from, when two regions hold the same bytes there.

use uringspec_model::memory::{Generation, HexBytes, Region, RegionId, stamp, stamp_origin, stamp_word};
use uringspec_model::trace::Run;

use crate::targets::Aim;

/// A piece without a whole aligned word has fewer bytes than this.
const SHORT_BYTES: usize = 15;
/// Longer pieces between runs are not searched for short stretches of stamps.
const PIECE_BYTES_MAX: usize = 256;

/// What received bytes may have come from.
#[derive(Clone, Copy, Debug)]
pub struct Origins<'a> {
    /// The program's regions.
    pub regions: &'a [Region],
    /// How often each was rewritten.
    pub generations: &'a [Generation],
    /// What requests send; tried on pieces that are too short to name their origin.
    pub aims: &'a [Aim],
}

/// A stretch of bytes that equal stamps.
#[derive(Clone, Copy)]
struct Found {
    region: RegionId,
    generation: Generation,
    offset: u64,
    /// Where it begins and ends in the received bytes.
    start: usize,
    end: usize,
}

impl Origins<'_> {
    /// Writes `bytes` as runs, whose bytes in order are exactly `bytes`.
    pub fn runs(&self, bytes: &[u8]) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut done = 0;
        while let Some(found) = self.next(bytes, done) {
            self.piece(&bytes[done..found.start], &mut runs);
            runs.push(found.run());
            done = found.end;
        }
        self.piece(&bytes[done..], &mut runs);
        runs
    }

    /// The first run at or behind `from` that holds an aligned word.
    fn next(&self, bytes: &[u8], from: usize) -> Option<Found> {
        for at in from..(bytes.len().saturating_sub(7)).max(from) {
            let word = u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
            let (region, generation, index) = stamp_origin(word);
            let len_bytes = self.stamped_len(region, generation);
            if index * 8 + 8 <= len_bytes {
                let origin = (region, generation, index * 8);
                return Some(grow(bytes, from, at, origin, len_bytes));
            }
        }
        None
    }

    /// Bytes of a stamped region that has had this generation; otherwise zero.
    fn stamped_len(&self, region: RegionId, generation: Generation) -> u64 {
        let index = usize::from(region.0);
        match (self.regions.get(index), self.generations.get(index)) {
            (Some(r), Some(latest)) if generation <= *latest && r.contents.is_stamped() => r.len_bytes,
            _ => 0,
        }
    }

    /// Bytes between runs: short stretches that some request sends, or else bytes.
    fn piece(&self, piece: &[u8], runs: &mut Vec<Run>) {
        let mut plain = 0;
        let mut at = 0;
        while at < piece.len() && piece.len() <= PIECE_BYTES_MAX {
            match self.aimed(piece, at) {
                Some(found) => {
                    push_bytes(&piece[plain..at], runs);
                    runs.push(found.run());
                    at = found.end;
                    plain = at;
                }
                None => at += 1,
            }
        }
        push_bytes(&piece[plain..], runs);
    }

    /// The longest stretch at `at` that begins as some aim does, and is all of it or three bytes.
    fn aimed(&self, piece: &[u8], at: usize) -> Option<Found> {
        let mut best: Option<Found> = None;
        for aim in self.aims {
            let latest = self.generations.get(usize::from(aim.region.0)).map_or(0, |g| g.0);
            for generation in (0..=latest).rev().map(Generation) {
                let room = self.stamped_len(aim.region, generation).saturating_sub(aim.offset);
                let most = room.min(SHORT_BYTES as u64) as usize;
                let same = |(i, byte): &(usize, &u8)| {
                    stamp(aim.region, generation, aim.offset + *i as u64) == **byte
                };
                let len = piece[at..].iter().take(most).enumerate().take_while(same).count();
                let enough = len >= 3 || len > 0 && len as u64 >= aim.len_bytes;
                if enough && best.is_none_or(|b| len > b.end - b.start) {
                    let (region, offset) = (aim.region, aim.offset);
                    best = Some(Found { region, generation, offset, start: at, end: at + len });
                }
            }
        }
        best
    }
}

impl Found {
    fn run(self) -> Run {
        let Found { region, generation, offset, start, end } = self;
        Run::Stamped { region, generation, offset, len_bytes: (end - start) as u64 }
    }
}

/// Grows the aligned word at `at`, which equals the stamp of `origin`, to both sides.
fn grow(
    bytes: &[u8],
    from: usize,
    at: usize,
    (region, generation, offset): (RegionId, Generation, u64),
    len_bytes: u64,
) -> Found {
    let mut start = at;
    let mut first = offset;
    while start > from && first > 0 && bytes[start - 1] == stamp(region, generation, first - 1) {
        start -= 1;
        first -= 1;
    }
    let mut end = at + 8;
    let mut next = offset + 8;
    while end + 8 <= bytes.len()
        && next + 8 <= len_bytes
        && bytes[end..end + 8] == stamp_word(region, generation, next / 8).to_le_bytes()
    {
        end += 8;
        next += 8;
    }
    while end < bytes.len() && next < len_bytes && bytes[end] == stamp(region, generation, next) {
        end += 1;
        next += 1;
    }
    Found { region, generation, offset: first, start, end }
}

fn push_bytes(bytes: &[u8], runs: &mut Vec<Run>) {
    if !bytes.is_empty() {
        runs.push(Run::Bytes(HexBytes(bytes.to_vec())));
    }
}

#[cfg(test)]
mod tests {
    use uringspec_model::memory::{Contents, Protection};

    use super::*;

    fn region(len_bytes: u64, contents: Contents) -> Region {
        Region { name: "K".into(), addr: 0, len_bytes, protection: Protection::default(), contents }
    }

    fn regions() -> Vec<Region> {
        vec![
            region(4096, Contents::Stamped),
            region(64, Contents::Bytes(HexBytes(vec![7; 64]))),
            region(100_003, Contents::Stamped),
            region(5, Contents::Stamped),
        ]
    }

    fn latest() -> [Generation; 4] {
        [0, 0, 3, 1].map(Generation)
    }

    fn stamps(region: u16, generation: u16, offset: u64, len: u64) -> Vec<u8> {
        (offset..offset + len).map(|o| stamp(RegionId(region), Generation(generation), o)).collect()
    }

    fn stamped(region: u16, generation: u16, offset: u64, len_bytes: u64) -> Run {
        Run::Stamped { region: RegionId(region), generation: Generation(generation), offset, len_bytes }
    }

    #[track_caller]
    fn check(bytes: &[u8], aims: &[Aim], expected: &[Run]) {
        let (regions, latest) = (regions(), latest());
        let origins = Origins { regions: &regions, generations: &latest, aims };
        assert_eq!(origins.runs(bytes), expected);
    }

    #[test]
    fn runs_at_odd_offsets_are_found_whole() {
        let bytes = [stamps(0, 0, 3, 4093), stamps(2, 3, 77, 15), stamps(2, 2, 1, 1000)].concat();
        check(&bytes, &[], &[stamped(0, 0, 3, 4093), stamped(2, 3, 77, 15), stamped(2, 2, 1, 1000)]);
    }

    #[test]
    fn what_no_region_can_hold_stays_bytes() {
        // A generation that was never written, a region without stamps, and a word beyond the end.
        for foreign in [stamps(0, 1, 0, 16), stamps(1, 0, 0, 16), stamps(0, 0, 4096, 16), stamps(9, 0, 0, 16)]
        {
            check(&foreign, &[], &[Run::Bytes(HexBytes(foreign.clone()))]);
        }
    }

    #[test]
    fn short_pieces_are_named_by_what_requests_send() {
        let aim = |region, offset, len_bytes| Aim { region: RegionId(region), offset, len_bytes };
        let aims = [aim(2, 0, 1), aim(0, 40, 7), aim(3, 0, 5)];
        let bytes = [stamps(0, 0, 40, 7), stamps(3, 1, 0, 5), stamps(2, 0, 0, 1), vec![0xee]].concat();
        let rest = Run::Bytes(HexBytes(vec![0xee]));
        check(&bytes, &aims, &[stamped(0, 0, 40, 7), stamped(3, 1, 0, 5), stamped(2, 0, 0, 1), rest]);
        check(&bytes, &[], &[Run::Bytes(HexBytes(bytes.clone()))]);
    }

    #[test]
    fn any_mixture_is_read_back_without_loss() {
        let (regions, latest) = (regions(), latest());
        let mut state = 0x1234_5678_9abc_def0_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..3000 {
            let mut bytes = Vec::new();
            let mut aims = Vec::new();
            for _ in 0..random(8) {
                let len = if random(3) == 0 { random(300) } else { random(20) };
                match random(5) {
                    0 => bytes.extend((0..len).map(|_| random(256) as u8)),
                    1 => bytes.extend(vec![7; len as usize]),
                    _ => {
                        let region = [0, 2, 3][random(3) as usize];
                        let offset = random(regions[usize::from(region)].len_bytes);
                        let len = len.min(regions[usize::from(region)].len_bytes - offset);
                        let generation = random(u64::from(latest[usize::from(region)].0) + 1) as u16;
                        bytes.extend(stamps(region, generation, offset, len));
                        aims.push(Aim { region: RegionId(region), offset, len_bytes: len });
                    }
                }
                // One byte wrong: the run must end there.
                if !bytes.is_empty() && random(4) == 0 {
                    let at = random(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 + random(255) as u8;
                }
            }
            let runs = Origins { regions: &regions, generations: &latest, aims: &aims }.runs(&bytes);
            let back: Vec<u8> =
                runs.iter().flat_map(|run| (0..run.len_bytes()).map(|i| run.byte(&regions, i))).collect();
            assert_eq!(back, bytes);
            assert!(runs.iter().all(|run| run.len_bytes() > 0));
        }
    }
}
