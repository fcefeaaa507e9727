//! A case: one claim about sends, in a text that a reader needs no program for.
//!
//! A case is flat lines, each with one keyword. `parse` reads them, `print` writes them in one
//! settled layout (so that `parse(print(case)) == case`), `lower` turns them into programs and what
//! is expected of them. What a file means beyond its words, such as which names exist, is judged by
//! `lower`, so a `Case` that was parsed may still be refused.

pub mod calls;
pub mod entry;
pub(crate) mod error;
pub(crate) mod lines;
mod lower;
pub mod lowered;
pub mod mixed;
pub mod names;
mod parse;
mod parse_call;
pub(crate) mod parse_expect;
pub(crate) mod parse_setup;
pub(crate) mod parse_sqe;
mod parse_witness;
pub mod place;
pub mod print;
pub mod print_call;
pub mod print_witness;
pub mod send_text;
mod setup;
mod table;
pub mod text;
pub(crate) mod token;
mod wants;
pub mod witness;

pub use calls::{Enter, Look, Queue, Register, Setup, Slot, Table};
pub use error::{CaseError, near};
pub use lower::lower;
pub use parse::parse;
pub use parse_sqe::OPS;
pub use setup::check_names;
pub use witness::check_witnesses;

use text::At;
use uringspec_model::program::Limits;

/// A file with one claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What a reader learns, a line each.
    pub comment: Vec<String>,
    /// The ids of the rules that it shows.
    pub rules: Vec<Name>,
    /// The ids of the deviations that it shows.
    pub deviations: Vec<Name>,
    /// Where people asked about it.
    pub thread: Option<String>,
    /// Opcodes and features without which it is skipped.
    pub needs: Vec<Name>,
    /// The ways in which its mixed sends are made on a kernel; empty: all that it has.
    pub via: Vec<Name>,
    /// What the user may do, if a line says it.
    pub limits: Option<Noted<Limits>>,
    /// The kinds of ring on which it is run; empty: plain and defer, or as the ring lines say.
    pub modes: Vec<Mode>,
    /// The rings; empty: one of 8 entries.
    pub rings: Vec<Noted<Ring>>,
    /// The sockets.
    pub sockets: Vec<Noted<Socket>>,
    /// The memory.
    pub buffers: Vec<Noted<Buffer>>,
    /// What happens, in order.
    pub steps: Vec<Noted<Step>>,
    /// Where and when its alternatives were seen.
    pub witnesses: Vec<Noted<witness::Witness>>,
    /// Comment lines behind the last line.
    pub tail: Vec<String>,
}

/// A line with the comments that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted<T> {
    /// Comment lines above it.
    pub above: Vec<String>,
    /// What it says.
    pub what: T,
    /// The comment at its end.
    pub note: Option<String>,
    /// Where it stands.
    pub at: At,
}

/// A name as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub at: At,
}

/// A kind of ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// No set-up flags.
    Plain,
    /// `SINGLE_ISSUER | DEFER_TASKRUN`.
    Defer,
    /// As the ring lines say; never written.
    AsWritten,
}

/// A `ring` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Its name, where there are several.
    pub name: Option<Name>,
    /// Entries of the submission queue.
    pub entries: u32,
    /// Entries of the completion queue.
    pub cq_entries: Option<u32>,
    /// Set-up flags.
    pub flags: u32,
}

/// A `socket` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The name of the end that sends.
    pub near: Name,
    /// The name of its peer.
    pub far: Option<Name>,
    /// Family and type, path, buffers.
    pub setup: uringspec_model::program::SocketSetup,
}

/// A `buffer` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Its name.
    pub name: Name,
    /// Bytes.
    pub len_bytes: u64,
    /// How far into its first page it begins.
    pub at_bytes: u64,
    /// The buffer that it directly follows in memory.
    pub after: Option<Name>,
    /// Its index in the table that is registered before the first step.
    pub register: Option<u16>,
    /// What the caller may do with it.
    pub protection: uringspec_model::memory::Protection,
    /// It is for reads: nothing of it is sent.
    pub sink: bool,
    /// Where the line stands.
    pub at: At,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `submit`: entries go to the kernel.
    Submit(Submit),
    /// `queue`: entries are put on the queue without a call.
    Queue(Queue),
    /// `enter`: one call as it is.
    Enter(Enter),
    /// `sleep`: the thread of the ring is waited for until it sleeps.
    Sleep(Option<Name>),
    /// `look`: what the ring says of itself.
    Look(Look),
    /// `expect`, and `peek` without a call: completions are taken.
    Expect(Expect),
    /// `fence`: nothing more comes.
    Fence(Option<Name>),
    /// `settle`: everything that is owed comes, unlisted.
    Settle,
    /// `drain`: the peer reads; `None` is all.
    Drain(Name, Option<u64>),
    /// `received`: the peer reads all, and this is what it got since the last such line.
    Received(Name, Vec<Noted<Arrival>>),
    /// `ack`: the peer acknowledges; `None` is all.
    Ack(Name, Option<u64>),
    /// `window`: the peer has room for so many bytes.
    Window(Name, u64),
    /// `miss`: the peer misses the next bytes.
    Miss(Name, u64),
    /// `resent`: the peer misses the next bytes, and these leave again.
    Resent(Name, Arrival),
    /// `rewrite`: the caller writes the buffer.
    Rewrite(Name),
    /// `reset`: the peer resets the connection.
    Reset(Name),
    /// `close`: the caller closes its end.
    Close(Name),
    /// `shutdown`: the caller stops sending.
    Shutdown(Name),
    /// `cork` and `uncork`: the caller holds bytes back, or no more.
    Cork(Name, bool),
    /// `register`, `update` and `unregister`: a table of the ring changes.
    Register(Register),
    /// `elsewhere`: another thread enters the ring, and what the call returns.
    Elsewhere(Option<Name>, Option<Returns>),
    /// `setup`: a ring is made and closed again.
    Setup(Setup),
    /// `lent`: whose the buffer is.
    Lent(Lent),
}

/// A `submit` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// The ring, where there are several.
    pub ring: Option<Name>,
    /// The entries.
    pub sqes: Vec<Noted<SqeLine>>,
    /// What the system call returns; absent: the number of entries.
    pub returns: Option<Noted<Returns>>,
}

/// What a system call returns: a count or a negated errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returns(pub i64);

/// One entry of the submission queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqeLine {
    /// What its completions carry.
    pub user_data: u64,
    /// An opcode of `abi::op` that cases know.
    pub opcode: u8,
    /// The socket.
    pub target: Target,
    /// The bytes.
    pub data: Data,
    /// `abi::msg` bits; of a cancel `abi::cancel_flag` bits.
    pub msg: u32,
    /// `abi::send_flag` bits.
    pub zc: u16,
    /// `buf_index`.
    pub index: Option<u16>,
    /// `abi::sqe_flag` bits.
    pub flags: u8,
    /// Fields set to other values than the words above give them.
    pub raw: Vec<(RawField, u64)>,
    /// Where it stands.
    pub at: At,
}

/// What the `fd` field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing: a nop.
    None,
    /// An end of a socket.
    Socket(Name),
    /// A descriptor that is not open.
    Closed,
    /// `file=N`, an index into the table of files.
    File(u32),
}

/// The data of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// None.
    None,
    /// A pointer and a length.
    Flat(Segment),
    /// An array of them.
    Vector(Vec<Segment>),
    /// The segments of a mixed send.
    Mixed(Vec<mixed::Part>),
    /// The request that a cancel is about.
    Request(u64),
}

/// A range of a place in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where.
    pub place: Place,
    /// The first byte, counted from the beginning of the place.
    pub from: u64,
    /// The byte behind the last.
    pub to: u64,
    /// Where it stands in the text.
    pub at: At,
}

/// Where a segment lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a buffer, or beyond its end.
    Buffer(Name),
    /// At the zero address.
    Null,
    /// In the window, where nothing is mapped.
    Hole,
    /// In the kernel's half.
    Kernel,
    /// In the last page of all, so that base and length wrap around.
    Wrap,
}

/// The fields that `raw.` can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RawField {
    /// `opcode`.
    Opcode,
    /// `flags`.
    Flags,
    /// `ioprio`.
    Ioprio,
    /// `fd`.
    Fd,
    /// `off`.
    Off,
    /// `addr`.
    Addr,
    /// `len`.
    Len,
    /// `msg_flags`.
    OpFlags,
    /// `user_data`.
    UserData,
    /// `buf_index`.
    BufIndex,
    /// `personality`.
    Personality,
    /// `file_index`.
    FileIndex,
    /// `addr3`.
    Addr3,
    /// `__pad2`.
    Pad2,
    /// `msg_name` of the message header.
    MsgName,
    /// `msg_namelen` of the message header.
    NameLen,
    /// `msg_iovlen` of the message header.
    IovLen,
    /// `msg_control` of the message header.
    Control,
    /// `msg_controllen` of the message header.
    ControlLen,
}

/// An `expect` or `peek` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The ring, where there are several.
    pub ring: Option<Name>,
    /// Taken without a call, and whether the ring says that more waits outside its queue.
    pub peek: Option<bool>,
    /// Joint outcomes; one alone is written without its keyword.
    pub outcomes: Vec<Outcome>,
}

/// Lines that hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The lines.
    pub lines: Vec<Noted<ExpectLine>>,
}

/// One line of an outcome, with its `or` lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectLine {
    /// What one request posts.
    Request(u64, Vec<Noted<Vec<Pattern>>>),
    /// No completion of the request, or no notification of it.
    Never(u64, Silence),
    /// The first completions of these come in this order.
    Order(Vec<u64>),
}

/// What does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing at all.
    All,
    /// No notification.
    Notif,
}

/// One completion, or several that differ in a way that does not matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A result and whether `MORE` is set.
    Result(ResPattern, bool),
    /// A notification.
    Notif(UsagePattern),
}

/// Results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResPattern {
    /// This count.
    Count(u64),
    /// A count from the first to the second, both included.
    Range(u64, u64),
    /// This errno.
    Errno(u16),
    /// Any errno.
    AnyErrno,
}

/// Usages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsagePattern {
    /// `0`.
    Clear,
    /// `COPIED`.
    Copied,
    /// Either.
    Any,
}

/// One alternative of what a peer got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The bytes. A stream has one part or none, a datagram socket one for each datagram.
    pub parts: Vec<Vec<Piece>>,
    /// The result of a request for which this stands.
    pub given: Option<(u64, ResPattern)>,
}

/// Bytes of a buffer as they were in one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The buffer.
    pub buffer: Name,
    /// How often it had been rewritten.
    pub generation: u16,
    /// The first byte.
    pub from: u64,
    /// The byte behind the last.
    pub to: Upto,
}

/// Where a piece ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Before this byte.
    Byte(u64),
    /// After as many bytes as this request reported.
    Result(u64),
}

/// A `lent` line: the buffer is the kernel's until a completion of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// The buffer.
    pub buffer: Name,
    /// The request.
    pub user_data: u64,
    /// Until its last completion, or until its result.
    pub until: LentUntil,
}

/// Which completion gives memory back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LentUntil {
    /// The result.
    Result,
    /// The last one.
    Last,
}

impl<T> Noted<T> {
    /// The line without comments.
    pub fn plain(what: T) -> Noted<T> {
        Noted { above: Vec::new(), what, note: None, at: At::default() }
    }
}
