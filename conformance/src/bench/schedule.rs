//! The order in which cells are measured, so that whenever time ends, each lane has its share.

use uringspec_real::bench::{HEADER_BYTES, Lane, Source};

use super::plan::{Planned, Size};

/// Cells of one lane, which one process measures.
pub struct Part {
    /// Where.
    pub lane: Lane,
    /// Which, one after the other.
    pub cells: Vec<Planned>,
}

/// Lanes on which nothing is copied come first: that is what the sender is for.
const LANES: [Lane; 3] = [Lane::RepairTcp, Lane::IfbUdp, Lane::Loopback];
/// Eight messages a flush come first: with them pairs of linked entries are compared.
const FIRST_BATCH: usize = 8;

/// All cells, the most wanted first: those with payloads in the cache before those beyond it, and of each some
/// messages a flush before one, and all lanes before the next number of messages.
pub fn schedule(lanes: &[Lane], sizes: &[Size], batches: &[usize], sources: &[Source]) -> Vec<Part> {
    let mut batches = batches.to_vec();
    batches.sort_by_key(|batch| (*batch != FIRST_BATCH, *batch));
    batches.dedup();
    let lanes = LANES.into_iter().filter(|lane| lanes.contains(lane));
    let mut parts = Vec::new();
    for source in [Source::Cached, Source::Beyond].into_iter().filter(|source| sources.contains(source)) {
        for batch in &batches {
            for lane in lanes.clone() {
                let cells: Vec<Planned> =
                    sizes.iter().filter_map(|size| Planned::new(lane, *size, *batch, source)).collect();
                if !cells.is_empty() {
                    parts.push(Part { lane, cells });
                }
            }
        }
    }
    parts
}

/// What a lane cannot carry of these sizes, said in words; nothing if it can carry all.
pub fn not_carried(lane: Lane, sizes: &[Size]) -> Option<String> {
    let has = |size: &Size| Planned::new(lane, *size, 1, Source::Cached).is_some();
    let names: Vec<String> = sizes.iter().filter(|size| !has(size)).map(Size::to_string).collect();
    let most = lane.payload_bytes_max();
    let cut = sizes.contains(&Size::Bytes(64 << 10)) && most < 64 << 10;
    if names.is_empty() && !cut {
        return None;
    }
    let mut text =
        format!("{}: a datagram carries {most} bytes behind its header of {HEADER_BYTES}", lane.name());
    if !names.is_empty() {
        text += &format!("; not measured: {}", names.join(", "));
    }
    if cut {
        text += &format!("; 64K is {most} bytes there");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::plan::{BATCHES, SIZES};
    use super::*;

    const SOURCES: [Source; 2] = [Source::Cached, Source::Beyond];

    #[test]
    fn every_cell_comes_once() {
        let parts = schedule(&Lane::ALL, &SIZES, &BATCHES, &SOURCES);
        let mut names: Vec<String> =
            parts.iter().flat_map(|part| part.cells.iter().map(ToString::to_string)).collect();
        assert_eq!(names.len(), 135);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 135);
        assert!(parts.iter().all(|part| part.cells.iter().all(|cell| cell.lane == part.lane)));
    }

    #[test]
    fn each_lane_has_its_share_whenever_time_ends() {
        let parts = schedule(&Lane::ALL, &SIZES, &BATCHES, &SOURCES);
        let first: Vec<(Lane, usize)> =
            parts.iter().take(4).map(|part| (part.lane, part.cells[0].cell.batch)).collect();
        let wanted = [(Lane::RepairTcp, 8), (Lane::IfbUdp, 8), (Lane::Loopback, 8), (Lane::RepairTcp, 1)];
        assert_eq!(first, wanted);
    }

    #[test]
    fn what_is_not_carried_is_said() {
        assert_eq!(not_carried(Lane::RepairTcp, &SIZES), None);
        assert_eq!(not_carried(Lane::IfbUdp, &[Size::Bytes(4096)]), None);
        let text = not_carried(Lane::IfbUdp, &SIZES).expect("datagrams are short");
        assert!(text.contains("not measured: 256K, 512K, mixed; 64K is 65000 bytes"), "{text}");
    }
}
