//! The order in which cells are measured: first those that the sender is made for. Whenever time ends, each lane has
//! its share.

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
const SOURCES: [Source; 2] = [Source::Cached, Source::Beyond];

/// Whether a cell is one that the sender is made for.
fn is_first(lane: Lane, size: Size) -> bool {
    lane.is_zero_copied() && size == Size::Mixed
}

/// All cells, the most wanted first: the mixed workload where nothing is copied; of the others those with payloads
/// in the cache before those beyond it, and of each some messages a flush before one, and all lanes before the next
/// number of messages.
pub fn schedule(lanes: &[Lane], sizes: &[Size], batches: &[usize], sources: &[Source]) -> Vec<Part> {
    let mut batches = batches.to_vec();
    batches.sort_by_key(|batch| (*batch != FIRST_BATCH, *batch));
    batches.dedup();
    let sources: Vec<Source> = SOURCES.into_iter().filter(|source| sources.contains(source)).collect();
    let lanes = LANES.into_iter().filter(|lane| lanes.contains(lane));
    let part = |lane, wanted: bool, batches: &[usize], sources: &[Source]| {
        let mut cells = Vec::new();
        for source in sources {
            for batch in batches {
                let sizes = sizes.iter().filter(|size| is_first(lane, **size) == wanted);
                cells.extend(sizes.filter_map(|size| Planned::new(lane, *size, *batch, *source)));
            }
        }
        Part { lane, cells }
    };
    let mut parts: Vec<Part> = lanes.clone().map(|lane| part(lane, true, &batches, &sources)).collect();
    for source in &sources {
        for batch in &batches {
            parts.extend(lanes.clone().map(|lane| part(lane, false, &[*batch], &[*source])));
        }
    }
    parts.retain(|part| !part.cells.is_empty());
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
            parts.iter().take(5).map(|part| (part.lane, part.cells[0].cell.batch)).collect();
        use Lane::{IfbUdp, Loopback, RepairTcp};
        assert_eq!(first, [(RepairTcp, 8), (RepairTcp, 8), (IfbUdp, 8), (Loopback, 8), (RepairTcp, 1)]);
    }

    #[test]
    fn the_mixed_workload_comes_first_where_nothing_is_copied() {
        let parts = schedule(&Lane::ALL, &SIZES, &BATCHES, &SOURCES);
        let names: Vec<String> = parts[0].cells.iter().map(ToString::to_string).collect();
        let wanted = ["x8 cached", "x1 cached", "x32 cached", "x8 beyond", "x1 beyond", "x32 beyond"];
        assert_eq!(names, wanted.map(|name| format!("repair-tcp mixed {name}")));
        assert!(parts[1..].iter().all(|part| {
            part.lane == Lane::Loopback || part.cells.iter().all(|cell| cell.size != Size::Mixed)
        }));
    }

    #[test]
    fn what_is_not_carried_is_said() {
        assert_eq!(not_carried(Lane::RepairTcp, &SIZES), None);
        assert_eq!(not_carried(Lane::IfbUdp, &[Size::Bytes(4096)]), None);
        let text = not_carried(Lane::IfbUdp, &SIZES).expect("datagrams are short");
        assert!(text.contains("not measured: 256K, 512K, mixed; 64K is 65000 bytes"), "{text}");
    }
}
