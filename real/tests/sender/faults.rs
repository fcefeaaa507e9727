//! Random work with everything that can go wrong, on the model as the kernel and on this machine's: every byte is
//! accounted for, nothing is lost or comes twice, every ticket ends once, and lent memory is left alone.
//!
//! A find stands as a seed in `/proptest-regressions/sender.txt` or `sender-kernel.txt` and is tried first from then
//! on. `PROPTEST_CASES=10000 PROPTEST_RNG_SEED=7` looks at others, and at more.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestRunner};
use uringspec_real::mixed::{
    Arena, ArenaSize, CopiedPolicy, Kernel, Outcome, Policy, Sender, SocketKey, Thresholds,
};

use crate::workload::{self, Book, Shape};

/// What is done, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Queue a message.
    Queue(usize, Shape),
    Flush,
    /// Take the last message back, if it was not handed over.
    Withdraw(usize),
    /// The peer reads so many bytes.
    Read(usize, usize),
    /// Sends are short, notifications say `COPIED`, completions come one by one.
    Trouble(bool, bool, bool),
    Abort(usize),
    /// The peer ends the connection with a reset.
    Reset(usize),
    /// The socket ends under the sender.
    CloseUnder(usize),
    /// The ring is gone.
    LoseRing,
    /// Time goes on.
    Tick(u64),
}

/// A whole run.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) seed: u64,
    pub(crate) sockets: usize,
    /// Entries of the queue of completions.
    pub(crate) cq_entries: u32,
    always: Option<bool>,
    iovecs_max: usize,
    acts: Vec<Act>,
}

/// What stands around a sender: its peers, and what can go wrong.
pub(crate) trait Outside {
    fn read(&mut self, socket: usize, bytes: usize);
    fn trouble(&mut self, short: bool, copied: bool, slow: bool);
    fn reset(&mut self, socket: usize);
    fn close_under(&mut self, socket: usize);
    fn lose_ring(&mut self);
    /// Whether peers can read all that was sent; not once the model has nothing to say.
    fn reads_all(&self) -> bool {
        true
    }
    /// On a datagram socket, every datagram that its peer has read in the end.
    fn datagrams(&mut self, socket: usize) -> Option<Vec<Vec<u8>>>;
    /// Everything that a peer has read in the end.
    fn received(&mut self, socket: usize) -> Vec<u8>;
}

/// How often each thing came about, so that no test passes on nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) outcomes: [u64; 5],
    pub(crate) resumed: u64,
    pub(crate) fallbacks: u64,
    pub(crate) fixed: u64,
    pub(crate) copied: u64,
    pub(crate) overdue: u64,
    pub(crate) withdrawn: u64,
    pub(crate) datagrams: u64,
}

const SOCKETS_MAX: usize = 3;
/// Far more calls than any run takes: peers that read are asked again after each.
const ROUNDS_MAX: u32 = 100_000;

fn acts() -> impl Strategy<Value = Act> {
    let shape = (0usize..7, 0usize..9, 0usize..6).prop_map(|(header, payload, memory)| Shape {
        header: [24, 24, 24, 1, 64, 65, 300][header],
        payload: [0, 1, 200, 4000, 4096, 5000, 20_000, 70_000, 150_000][payload],
        memory,
    });
    let at = 0..SOCKETS_MAX;
    prop_oneof![
        60 => (at.clone(), shape).prop_map(|(at, shape)| Act::Queue(at, shape)),
        20 => Just(Act::Flush),
        4 => at.clone().prop_map(Act::Withdraw),
        8 => (at.clone(), 1usize..200_000).prop_map(|(at, bytes)| Act::Read(at, bytes)),
        6 => any::<(bool, bool, bool)>().prop_map(|(short, copied, slow)| Act::Trouble(short, copied, slow)),
        2 => at.clone().prop_map(Act::Abort),
        2 => at.clone().prop_map(Act::Reset),
        2 => at.prop_map(Act::CloseUnder),
        1 => Just(Act::LoseRing),
        6 => (1u64..150).prop_map(Act::Tick),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    let acts = proptest::collection::vec(acts(), 1..50);
    (any::<u64>(), 1..=SOCKETS_MAX, 0usize..3, 0usize..3, any::<bool>(), acts).prop_map(
        |(seed, sockets, cq, thresholds, few, acts)| Work {
            seed,
            sockets,
            cq_entries: [2, 4, 16][cq],
            always: [Some(true), Some(false), None][thresholds],
            iovecs_max: if few { 3 } else { 1024 },
            acts,
        },
    )
}

/// Tries a run on many values, those first that once failed.
pub(crate) fn check(name: &str, cases: u32, run: impl Fn(&Work, &mut Tally)) -> Tally {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../proptest-regressions/{name}.txt"));
    assert!(file.is_file(), "{} is missing", file.display());
    // proptest wants a path that lives as long as the process
    let file: &'static str = file.to_string_lossy().into_owned().leak();
    let usual = Config::default();
    let chosen = |name: &str| std::env::var_os(name).is_some();
    let config = Config {
        cases: if chosen("PROPTEST_CASES") { usual.cases } else { cases },
        rng_seed: if chosen("PROPTEST_RNG_SEED") { usual.rng_seed } else { RngSeed::Fixed(1) },
        max_shrink_time: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..usual
    };
    let tally = RefCell::new(Tally::default());
    let outcome = TestRunner::new(config).run(&work(), |work| {
        let run = std::panic::AssertUnwindSafe(|| run(&work, &mut tally.borrow_mut()));
        std::panic::catch_unwind(run).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            TestCaseError::fail(text.unwrap_or_else(|| "it panicked".into()))
        })
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
    tally.into_inner()
}

impl Work {
    pub(crate) fn policy(&self) -> Policy {
        let thresholds = match self.always {
            Some(true) => Thresholds::always(),
            Some(false) => Thresholds::never(),
            None => Thresholds(vec![(1, 4096)]),
        };
        Policy {
            fixed: thresholds.clone(),
            plain: thresholds,
            requests_max: 8,
            iovecs_max: self.iovecs_max,
            lent_bytes_max: 800_000,
            socket_lent_bytes_max: 400_000,
            copied: CopiedPolicy { window: 4, first_window: 3, percent: 95, copies: 3 },
            copies_after_enomem: 2,
            deadline: Some(100),
            ..Policy::default()
        }
    }

    pub(crate) fn arena() -> Arena {
        let size = ArenaSize { header_slots: 64, small_bytes: 1 << 16, paged_bytes: 1 << 19, leases_max: 64 };
        Arena::map(size).expect("a few pages can be mapped")
    }

    /// Does it all, ends the sender, and accounts for every byte.
    pub(crate) fn run<K: Kernel>(
        &self,
        mut sender: Sender<K>,
        keys: &[SocketKey],
        outside: &mut impl Outside,
        tally: &mut Tally,
    ) {
        let (mut book, mut now) = (Book::default(), 0);
        let mut last = BTreeMap::new();
        let mut next = vec![0; keys.len()];
        let mut is_whole = vec![true; keys.len()];
        for act in &self.acts {
            match *act {
                Act::Queue(at, shape) => {
                    let at = at % keys.len();
                    let id = (at as u32, next[at]);
                    if let Ok(ticket) = workload::try_queue(&mut sender, keys[at], id, shape, &mut book) {
                        next[at] += 1;
                        last.insert(at, ticket);
                    }
                }
                Act::Flush => _ = sender.flush(),
                Act::Withdraw(at) => {
                    let Some(ticket) = last.remove(&(at % keys.len())) else { continue };
                    if let Some(back) = sender.withdraw(ticket) {
                        let (socket, number, shape) = book.sent.remove(&ticket).expect("it was queued");
                        assert_eq!(back.len(), 1);
                        let all = workload::bytes(socket, number, shape.len());
                        assert!(back[0].bytes() == &all[shape.header..], "it comes back as it was");
                        tally.withdrawn += 1;
                    }
                }
                Act::Read(at, bytes) => outside.read(at % keys.len(), bytes),
                Act::Trouble(short, copied, slow) => outside.trouble(short, copied, slow),
                Act::Abort(at) => sender.abort(keys[at % keys.len()]),
                Act::Reset(at) => {
                    outside.reset(at % keys.len());
                    is_whole[at % keys.len()] = false;
                }
                Act::CloseUnder(at) => {
                    outside.close_under(at % keys.len());
                    is_whole[at % keys.len()] = false;
                }
                Act::LoseRing => outside.lose_ring(),
                Act::Tick(more) => {
                    now += more;
                    sender.tick(now);
                }
            }
            book.take(&mut sender);
        }
        // peers read in between, so nothing may wait for them in a call
        let mut rounds = 0;
        while (sender.owed() > 0 || sender.has_work()) && sender.turn(0).is_ok() {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "it makes no progress: {:?}", sender.counters());
            book.take(&mut sender);
            (0..keys.len()).for_each(|at| outside.read(at, usize::MAX));
            std::thread::yield_now();
        }
        book.take(&mut sender);
        for key in &book.overdue {
            is_whole[keys.iter().position(|known| known == key).expect("it was added")] = false;
        }
        let counters = sender.counters();
        for event in sender.close().events {
            book.note(event);
        }
        assert_eq!(book.ended.len(), book.sent.len(), "every ticket ends");
        let reads_all = outside.reads_all();
        for (at, whole) in is_whole.iter().enumerate() {
            match outside.datagrams(at) {
                Some(got) => account_datagrams(at, got, &book, tally),
                None => account(at, *whole && reads_all, &outside.received(at), &book, tally),
            }
        }
        tally.runs += 1;
        tally.resumed += counters.resumed;
        tally.fallbacks += counters.fallbacks;
        tally.fixed += counters.fixed_requests;
        tally.copied += counters.copied_notifications;
        tally.overdue += book.overdue.len() as u64;
    }
}

/// What a peer got is what the outcomes say.
fn account(at: usize, whole: bool, got: &[u8], book: &Book, tally: &mut Tally) {
    let (mut taken, mut known) = (Vec::new(), true);
    for (ticket, (_, number, shape)) in book.sent.iter().filter(|(_, sent)| sent.0 as usize == at) {
        let all = workload::bytes(at as u32, *number, shape.len());
        let (kind, sent_bytes) = match book.ended[ticket] {
            Outcome::Whole => (0, all.len()),
            Outcome::Failed { sent_bytes, .. } => (1, sent_bytes as usize),
            Outcome::Cancelled { sent_bytes } => (2, sent_bytes as usize),
            Outcome::NotSent => (3, 0),
            Outcome::Lost => (4, all.len()),
        };
        tally.outcomes[kind] += 1;
        known &= kind != 4;
        taken.extend_from_slice(&all[..sent_bytes]);
    }
    assert!(
        taken.starts_with(got),
        "socket {at} got {} bytes, of {} that were taken",
        got.len(),
        taken.len()
    );
    assert!(!known || !whole || got.len() == taken.len(), "socket {at} lacks bytes");
}

/// Each datagram that a peer got is one that was sent, and comes once; its peer's queue may have dropped others.
fn account_datagrams(at: usize, got: Vec<Vec<u8>>, book: &Book, tally: &mut Tally) {
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for (ticket, (_, number, shape)) in book.sent.iter().filter(|(_, sent)| sent.0 as usize == at) {
        match book.ended[ticket] {
            Outcome::Whole | Outcome::Lost => sent.push(workload::bytes(at as u32, *number, shape.len())),
            Outcome::Failed { sent_bytes, .. } | Outcome::Cancelled { sent_bytes } => {
                assert_eq!(sent_bytes, 0, "a datagram is sent whole or not at all");
            }
            Outcome::NotSent => {}
        }
    }
    for datagram in got {
        let known = sent.iter().position(|sent| *sent == datagram);
        sent.swap_remove(known.expect("what comes was sent, whole and once"));
        tally.datagrams += 1;
    }
}
