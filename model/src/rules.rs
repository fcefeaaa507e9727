//! The rules: what is promised, each in one sentence with its source.
//!
//! A rule is written here once and named everywhere else by its id. `RULES.md` is this table in
//! print. Ids are `area.short-claim`, never numbered and never reused.

use std::fmt;

use serde::{Deserialize, Serialize};

mod source;
#[macro_use]
mod table;

pub use source::Source;

rules! {
    // life: what every request owes.

    /// A request posts one result, neither none nor two.
    OneResult = "life.one-result", Man("io_uring.7", "DESCRIPTION");
    /// A request that waits for nothing posts its result without anybody's doing.
    ResultComes = "life.result-comes", Man("io_uring.7", "DESCRIPTION");
    /// Once its last completion is posted, a request posts nothing more.
    RetiredIsSilent = "life.retired-is-silent", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// A completion carries the user data of an entry that was submitted on that ring.
    NobodyAsked = "life.nobody-asked", Man("io_uring.7", "Completion queue entries");
    /// A completion of a nop or a send is a count, an errno or a notification, with no flag but MORE or NOTIF.
    CqeMakesSense = "life.cqe-makes-sense", Man("io_uring_prep_send_zc.3", "CQE ERRORS");
    /// A call to enter or register that has nothing to wait for returns.
    CallsReturn = "life.calls-return", Man("io_uring_enter.2", "RETURN VALUE");

    // ring: submission.

    /// Enter returns how many entries it consumed, whatever becomes of them.
    RingSubmitCount = "ring.submit-count", Man("io_uring_enter.2", "RETURN VALUE");
    /// A batch ends behind an entry that is refused while it is prepared; those behind it stay queued.
    RingPrepFailureStops = "ring.prep-failure-stops", Kernel("io_uring/io_uring.c", "io_submit_sqes", "6.18");

    /// Completions are taken in the order of their posting: what one call surely posted comes before all that later calls submit.
    RingPostedInOrder = "ring.posted-in-order", Kernel("io_uring/io_uring.c", "io_cqring_add_overflow", "6.18");
    /// What was posted and found room can be taken from the queue without a call.
    RingPostedIsThere = "ring.posted-is-there", Man("io_uring.7", "Completion queue entries");
    /// A completion that finds no room is not lost: it waits outside the queue, and those that come later wait behind it.
    RingOverflowWaits = "ring.overflow-waits", Man("io_uring_setup.2", "IORING_FEAT_NODROP");
    /// While completions wait outside the queue the ring says so by SQ_CQ_OVERFLOW, and otherwise not.
    RingOverflowFlag = "ring.overflow-flag", Header("linux/io_uring.h", "IORING_SQ_CQ_OVERFLOW");
    /// An enter with GETEVENTS moves what waits outside the queue into it as far as there is room; a call without it moves nothing.
    RingEnterFlushes = "ring.enter-flushes", Kernel("io_uring/io_uring.c", "__io_cqring_overflow_flush", "6.18");

    /// With SUBMIT_ALL a batch goes on behind an entry that is refused while it is prepared.
    RingSubmitAllGoesOn = "ring.submit-all-goes-on", Man("io_uring_setup.2", "IORING_SETUP_SUBMIT_ALL");
    /// Enter on a ring that is not enabled yet is EBADFD and consumes nothing.
    RingDisabledRefuses = "ring.disabled-refuses", Man("io_uring_enter.2", "ERRORS");
    /// A ring with SINGLE_ISSUER is submitted to by the thread that made it; by any other it is EEXIST.
    RingSingleIssuer = "ring.single-issuer", Man("io_uring_setup.2", "IORING_SETUP_SINGLE_ISSUER");
    /// A ring that was made with R_DISABLED is enabled once, and any other call to do so is EBADFD.
    RingEnableOnce = "ring.enable-once", Man("io_uring_register.2", "IORING_REGISTER_ENABLE_RINGS");

    /// A flag of enter that the kernel does not know is EINVAL, whatever else is wrong.
    RingEnterFlagsKnown = "ring.enter-flags-known", Kernel("io_uring/io_uring.c", "io_uring_enter", "6.18");
    /// Enter with a descriptor that is not open is EBADF, and with one of something else than a ring EOPNOTSUPP.
    RingEnterDescriptor = "ring.enter-descriptor", Man("io_uring_enter.2", "ERRORS");
    /// A call that finds fewer entries than it was asked to consume returns their number at once, without a wait.
    RingShortReturnsAtOnce = "ring.short-returns-at-once", Kernel("io_uring/io_uring.c", "io_uring_enter", "6.18");
    /// Where entries were consumed enter returns their number, whatever becomes of the wait behind it.
    RingCountHidesWait = "ring.count-hides-wait", Man("io_uring_enter.2", "RETURN VALUE");
    /// With EXT_ARG an argument of another size than its structure is EINVAL, and one that cannot be read EFAULT.
    RingWaitArgument = "ring.wait-argument", Kernel("io_uring/io_uring.c", "io_get_ext_arg", "6.18");
    /// A wait whose time is over is ETIME where no completion stands in the queue, and zero where any does.
    RingWaitTimeout = "ring.wait-timeout", Kernel("io_uring/io_uring.c", "io_cqring_wait", "6.18");
    /// A wait ends when as many completions stand in the queue as were asked for, or as it has room for.
    RingWaitEnds = "ring.wait-ends", Man("io_uring_enter.2", "IORING_ENTER_GETEVENTS");
    /// A batch ends before an index of no entry, which is passed over and not counted as consumed.
    RingBadIndexStops = "ring.bad-index-stops", Kernel("io_uring/io_uring.c", "io_get_sqe", "6.18");
    /// An index of no entry that was passed over is counted as dropped, and nothing else is.
    RingBadIndexDropped = "ring.bad-index-dropped", Man("io_uring.7", "Submission queue entries");
    /// The head of the queue of submissions has passed what a call consumed when it returns, and nothing else.
    RingHeadMoves = "ring.head-moves", Man("io_uring.7", "Submission queue entries");
    /// Where TASKRUN_FLAG was asked for the ring says while work waits for a call to run it, and otherwise never.
    RingTaskrunFlag = "ring.taskrun-flag", Man("io_uring_setup.2", "IORING_SETUP_TASKRUN_FLAG");
    /// With DEFER_TASKRUN a notification is posted by an enter with GETEVENTS and by nothing else.
    RingDeferredWaits = "ring.deferred-waits", Man("io_uring_setup.2", "IORING_SETUP_DEFER_TASKRUN");
    /// On a ring with IOPOLL sends and cancels are EINVAL, and a zero-copy send so refused completes once.
    RingIopollRefuses = "ring.iopoll-refuses", Kernel("io_uring/io_uring.c", "io_init_req", "6.18");
    /// On a ring with IOPOLL reads and writes of a socket are EOPNOTSUPP.
    RingIopollSockets = "ring.iopoll-sockets", Kernel("io_uring/rw.c", "io_rw_init_file", "6.18");
    /// On a ring with SQPOLL enter returns what it was asked to consume, whatever there is and becomes of it.
    RingThreadCount = "ring.thread-count", Man("io_uring_enter.2", "RETURN VALUE");
    /// A ring says that its thread has to be woken when that has found nothing to do, and never where it has none.
    RingNeedsWakeup = "ring.needs-wakeup", Man("io_uring_setup.2", "IORING_SETUP_SQPOLL");

    /// Restrictions are registered once, else EBUSY, and before their ring is enabled, else EBADFD.
    RingRestrictOnce = "ring.restrict-once", Man("io_uring_register.2", "IORING_REGISTER_RESTRICTIONS");
    /// Once a restricted ring is enabled an entry of another opcode or with other flags is EACCES, with one completion.
    RingRestricts = "ring.restricts", Man("io_uring_register.2", "IORING_REGISTER_RESTRICTIONS");
    /// Once a restricted ring is enabled any other call to register is EACCES.
    RingRestrictsCalls = "ring.restricts-calls", Man("io_uring_register.2", "IORING_REGISTER_RESTRICTIONS");

    /// A setup flag that the kernel does not know is EINVAL.
    SetupFlagsKnown = "ring.setup-flags-known", Kernel("io_uring/io_uring.c", "io_uring_sanitise_params", "6.18");
    /// A ring has at least one entry and at most 32768, else its setup is EINVAL; CLAMP takes the most for more.
    SetupEntries = "ring.setup-entries", Man("io_uring_setup.2", "ERRORS");
    /// Room for completions that CQSIZE asks for is EINVAL at zero, beyond 65536 without CLAMP, and below the entries, both as powers of two.
    SetupCompletions = "ring.setup-completions", Man("io_uring_setup.2", "IORING_SETUP_CQSIZE");
    /// DEFER_TASKRUN without SINGLE_ISSUER is EINVAL.
    SetupDeferNeedsSingle = "ring.setup-defer-needs-single", Man("io_uring_setup.2", "IORING_SETUP_DEFER_TASKRUN");
    /// TASKRUN_FLAG with neither COOP_TASKRUN nor DEFER_TASKRUN is EINVAL.
    SetupTaskrunFlag = "ring.setup-taskrun-flag", Kernel("io_uring/io_uring.c", "io_uring_sanitise_params", "6.18");
    /// SQPOLL with COOP_TASKRUN, TASKRUN_FLAG or DEFER_TASKRUN is EINVAL.
    SetupSqpollAlone = "ring.setup-sqpoll-alone", Kernel("io_uring/io_uring.c", "io_uring_sanitise_params", "6.18");
    /// SQ_AFF without SQPOLL is EINVAL.
    SetupAffinity = "ring.setup-affinity", Man("io_uring_setup.2", "ERRORS");
    /// HYBRID_IOPOLL without IOPOLL is EINVAL.
    SetupHybridPolls = "ring.setup-hybrid-polls", Man("io_uring_setup.2", "IORING_SETUP_HYBRID_IOPOLL");
    /// CQE32 with CQE_MIXED is EINVAL.
    SetupCompletionSizes = "ring.setup-completion-sizes", Man("io_uring_setup.2", "IORING_SETUP_CQE_MIXED");
    /// CQE_MIXED with room for one completion is EOVERFLOW.
    SetupMixedNeedsTwo = "ring.setup-mixed-needs-two", Kernel("io_uring/io_uring.c", "rings_size", "6.18");
    /// REGISTERED_FD_ONLY without NO_MMAP is EINVAL.
    SetupDescriptor = "ring.setup-descriptor", Kernel("io_uring/io_uring.c", "io_uring_sanitise_params", "6.18");
    /// Parameters that nothing speaks against make a ring.
    SetupMakesRing = "ring.setup-makes-ring", Man("io_uring_setup.2", "RETURN VALUE");

    // sqe: what any entry may hold.

    /// An opcode that the kernel does not have is EINVAL.
    SqeOpcodeKnown = "sqe.opcode-known", Kernel("io_uring/io_uring.c", "io_init_req", "6.18");
    /// The entry flag that no kernel defines is EINVAL.
    SqeFlagsKnown = "sqe.flags-known", Kernel("io_uring/io_uring.c", "io_init_req", "6.18");
    /// A personality that was not registered is EINVAL.
    SqePersonalityRegistered = "sqe.personality-registered", Man("io_uring_enter.2", "ERRORS");
    /// BUFFER_SELECT on an opcode that selects no buffers is EOPNOTSUPP, and a zero-copy send so refused completes once.
    SqeSelectSupported = "sqe.select-supported", Kernel("io_uring/io_uring.c", "io_init_req", "6.18");
    /// An ioprio on an opcode that takes none is EINVAL.
    SqeIoprioRefused = "sqe.ioprio-refused", Kernel("io_uring/io_uring.c", "io_init_req", "6.18");

    /// The I/O priority of a read or write has a class that is known, and a level only with a class, else it is EINVAL.
    SqePriorityKnown = "sqe.priority-known", Kernel("block/ioprio.c", "ioprio_check_cap", "6.18");
    /// A buffer selected from a group that nobody provided is ENOENT for a send and ENOBUFS for a read.
    SqeSelectFromGroup = "sqe.select-from-group", Kernel("io_uring/kbuf.c", "io_buffers_select", "6.18");

    /// CQE_SKIP_SUCCESS leaves out the completion of a success, and of nothing else.
    SkipSuccessIsSilent = "sqe.skip-success-is-silent", Man("io_uring_enter.2", "IOSQE_CQE_SKIP_SUCCESS");
    /// Members of a chain that one with CQE_SKIP_SUCCESS cuts by failing post nothing.
    SkipCutsSilently = "sqe.skip-cuts-silently", Kernel("io_uring/timeout.c", "io_fail_links", "6.18");

    // nop.

    /// A nop results in zero.
    NopResultZero = "nop.result-zero", Man("io_uring_enter.2", "IORING_OP_NOP");

    /// Flags of a nop that the kernel does not know are EINVAL, and so is one for entries that the ring does not have.
    NopFlagsKnown = "nop.flags-known", Kernel("io_uring/nop.c", "io_nop_prep", "6.18");

    // send: the result of a send.

    /// A send never reports more bytes than it was given.
    SendShortNeverLong = "send.short-never-long", Man("send.2", "RETURN VALUE");
    /// A send that finds room enough for all of its bytes takes all of them.
    SendWholeWhenRoom = "send.whole-when-room", Kernel("net/ipv4/tcp.c", "tcp_sendmsg_locked", "6.18");
    /// A stream send without MSG_WAITALL that finds some room ends with what its one try took, at least a byte.
    SendSomeWhenRoom = "send.some-when-room", Kernel("io_uring/net.c", "io_send", "6.18");
    /// A send that finds no room waits, on a socket that blocks or does not.
    SendWaitsForRoom = "send.waits-for-room", Man("io_uring.7", "DESCRIPTION");
    /// MSG_DONTWAIT makes EAGAIN the result of a send that finds no room, and of nothing else.
    SendDontwait = "send.dontwait-is-eagain", Man("send.2", "ERRORS");
    /// POLL_FIRST with MSG_DONTWAIT is EAGAIN without a try, whatever the room.
    SendPollFirstNeverTries = "send.poll-first-never-tries", Kernel("io_uring/net.c", "io_send", "6.18");
    /// A stream send with MSG_WAITALL that nothing stops is tried again until all of its bytes are taken.
    SendWaitallWhole = "send.waitall-whole", Man("io_uring_prep_send.3", "DESCRIPTION");
    /// A send that fails on the way, with MSG_WAITALL or as its connection ends in the middle, reports the bytes taken before.
    SendPartialOnFailure = "send.partial-on-failure", Kernel("io_uring/net.c", "io_sendrecv_fail", "6.18");
    /// A stream send of no bytes results in zero and does not wait.
    SendZeroIsZero = "send.zero-is-zero", Observed("6.18");
    /// A send fails only for a cause: nothing fails on a connection that is up with memory that is there.
    SendErrorNeedsCause = "send.error-needs-cause", Man("send.2", "ERRORS");
    /// A descriptor that is not open, and a registered file that is not there, is EBADF.
    SendBadDescriptor = "send.bad-descriptor", Man("send.2", "ERRORS");
    /// A descriptor of something else than a socket is ENOTSOCK.
    SendNotASocket = "send.not-a-socket", Man("send.2", "ERRORS");
    /// Memory that cannot be read is EFAULT; addresses that can be nobody's are refused while the entry is prepared.
    SendMemoryReadable = "send.memory-readable", Man("send.2", "ERRORS");
    /// A stream send whose memory ends on the way may have sent what lay before.
    SendFaultKeepsPrefix = "send.fault-keeps-prefix", Observed("6.18");
    /// After a reset by the peer one send reports ECONNRESET, and those behind it EPIPE.
    SendResetOnce = "send.reset-once", Kernel("net/core/stream.c", "sk_stream_error", "6.18");
    /// A TCP socket that cannot send any more, or never could, is EPIPE, without a signal.
    SendBrokenPipe = "send.broken-pipe", Man("send.2", "ERRORS");
    /// A send flag in ioprio that the opcode does not take is EINVAL.
    SendFlagsKnown = "send.flags-known", Kernel("io_uring/net.c", "io_sendmsg_prep", "6.18");
    /// A reserved field of a send that is not zero is EINVAL.
    SendReservedFields = "send.reserved-fields", Kernel("io_uring/net.c", "io_send_setup", "6.18");
    /// A length of SEND or SENDMSG with its top bit set is EINVAL.
    SendLenSign = "send.len-sign", Kernel("io_uring/net.c", "io_sendmsg_prep", "6.18");

    /// A Unix socket that never had a peer is ENOTCONN.
    SendNotConnected = "send.not-connected", Man("send.2", "ERRORS");
    /// A write at a position is ESPIPE; zero and minus one are none.
    WriteSeeks = "send.write-seeks", Kernel("net/socket.c", "sock_write_iter", "6.18");
    /// A write at a position below zero, or that ends beyond the highest, is EINVAL.
    WritePositionSign = "send.write-position", Kernel("fs/read_write.c", "rw_verify_area", "6.18");
    /// Flags of a read or write that the kernel or a socket does not know are EOPNOTSUPP; polling for it
    /// (RWF_HIPRI) and appending at once with not appending are EINVAL.
    WriteFlagsKnown = "send.write-flags", Kernel("linux/fs.h", "kiocb_set_rw_flags", "6.18");
    /// Attributes of a read or write are EINVAL for a socket, and EFAULT where they cannot be read.
    WriteAttributesRefused = "send.write-attributes", Kernel("io_uring/rw.c", "io_prep_rw_pi", "6.18");
    /// MSG_FASTOPEN on a connected TCP socket is EISCONN.
    SendFastOpenConnected = "send.fastopen-connected", Kernel("net/ipv4/tcp.c", "tcp_sendmsg_fastopen", "6.18");
    /// More than 1024 iovecs of a writev are EINVAL.
    WriteAtMost1024 = "send.writev-at-most-1024", Man("writev.2", "ERRORS");

    // read: what a read takes from its socket.

    /// A read of a stream takes what is there, at least a byte and at most what it asked for.
    ReadSome = "read.some", Man("recv.2", "DESCRIPTION");
    /// A read that finds nothing waits.
    ReadWaits = "read.waits", Man("recv.2", "DESCRIPTION");
    /// Behind the end of a stream a read results in zero.
    ReadEndIsZero = "read.end-is-zero", Man("read.2", "RETURN VALUE");
    /// A read of no bytes results in zero, and takes nothing.
    ReadNothingIsZero = "read.nothing-is-zero", Kernel("net/socket.c", "sock_read_iter", "6.18");
    /// What a read has counted fills its memory from the front, element by element, with the next bytes of the stream.
    ReadFills = "read.fills", Man("readv.2", "DESCRIPTION");
    /// A read takes one datagram; what finds no place in its memory is lost.
    ReadDatagram = "read.datagram", Man("udp.7", "DESCRIPTION");
    /// Memory that cannot be written is EFAULT once there is something to be put there, and takes nothing of a stream.
    ReadMemoryWritable = "read.memory-writable", Man("read.2", "ERRORS");
    /// A TCP socket that never had a peer is ENOTCONN, and a Unix one EINVAL.
    ReadNotConnected = "read.not-connected", Kernel("net/ipv4/tcp.c", "tcp_recvmsg_locked", "6.18");
    /// A read at a position is ESPIPE; zero and minus one are none.
    ReadSeeks = "read.seeks", Kernel("net/socket.c", "sock_read_iter", "6.18");
    /// More than 1024 iovecs of a readv are EINVAL.
    ReadAtMost1024 = "read.at-most-1024", Man("readv.2", "ERRORS");

    /// A READV that selects its buffer has one iovec, else it is EINVAL.
    ReadSelectsOne = "read.selects-one", Kernel("io_uring/rw.c", "io_iov_buffer_select_prep", "6.18");

    // dgram: datagrams.

    /// A datagram goes whole or not at all, MSG_WAITALL or not.
    DatagramWhole = "dgram.whole", Man("send.2", "DESCRIPTION");
    /// One send is one datagram at the peer, an empty one included.
    DatagramBoundaries = "dgram.boundaries", Man("udp.7", "DESCRIPTION");
    /// A datagram longer than its headers leave room for is EMSGSIZE.
    DatagramLength = "dgram.length", Man("send.2", "ERRORS");
    /// A zero-copy datagram of more than 17 fragments that leaves in one packet is EMSGSIZE; every page that an iovec touches is one, unless it goes on where the one before it ended.
    DatagramFragments = "dgram.fragments", Kernel("net/core/datagram.c", "zerocopy_fill_skb_from_iter", "6.18");
    /// A datagram over IPv6 that needs fragments is ENOBUFS where the first of them is more than twice what the socket may queue.
    DatagramFragmentsFit = "dgram.fragments-fit", Kernel("net/ipv6/ip6_output.c", "__ip6_append_data", "6.18");
    /// A datagram socket without a peer's address is EDESTADDRREQ.
    DatagramNeedsAddress = "dgram.needs-address", Man("send.2", "ERRORS");
    /// A send may report ECONNREFUSED for one before it whose port was closed.
    DatagramRefused = "dgram.refused", Man("udp.7", "ERRORS");
    /// On loopback datagrams arrive in the order of their sending.
    DatagramOrder = "dgram.order", Assumed("the loopback device is one queue");
    /// On loopback a datagram that finds room at the peer arrives.
    DatagramArrives = "dgram.arrives", Assumed("the loopback device drops nothing");

    // cancel.

    /// Cancelling a request that waits results in zero.
    CancelFound = "cancel.found", Man("io_uring_prep_cancel.3", "RETURN VALUE");
    /// Cancelling what is done, not there, or queued in a chain is ENOENT, a notification that is still out included.
    CancelNotFound = "cancel.not-found", Man("io_uring_prep_cancel.3", "RETURN VALUE");
    /// Cancelling what another thread is running may be EALREADY; it may end in any way then, and may have ended just before.
    CancelAlready = "cancel.already", Man("io_uring_prep_cancel.3", "RETURN VALUE");
    /// A call that cancels what waits for its socket is zero, and then that is over.
    CancelCallFound = "cancel.call-found", Man("io_uring_register.2", "IORING_REGISTER_SYNC_CANCEL");
    /// A call that cancels what is over, not there, or queued in a chain is ENOENT.
    CancelCallNotFound = "cancel.call-not-found", Man("io_uring_register.2", "IORING_REGISTER_SYNC_CANCEL");
    /// A send that another thread is in the middle of ends with EINTR once it is cancelled, or with what was taken of it.
    CancelInterrupts = "cancel.interrupts", Observed("6.18.44: a send that waits for room in io-wq, cancelled");
    /// A cancelled request ends with ECANCELED, or with the bytes that were taken of it.
    CancelEndsTarget = "cancel.ends-target", Man("io_uring_prep_cancel.3", "DESCRIPTION");
    /// A reserved field of a cancel that is not zero is EINVAL.
    CancelReservedFields = "cancel.reserved-fields", Kernel("io_uring/cancel.c", "io_async_cancel_prep", "6.18");
    /// A cancel flag that the kernel does not know is EINVAL.
    CancelFlagsKnown = "cancel.flags-known", Kernel("io_uring/cancel.c", "io_async_cancel_prep", "6.18");
    /// A cancel of any request names neither a descriptor nor an opcode: with one of them it is EINVAL.
    CancelAnyAlone = "cancel.any-alone", Kernel("io_uring/cancel.c", "io_async_cancel_prep", "6.18");
    /// A cancel of all, or of any, results in how many requests it has found, zero if none.
    CancelCounts = "cancel.counts", Man("io_uring_prep_cancel.3", "RETURN VALUE");
    /// A cancel by a descriptor that is not open, or an index without a file, is EBADF.
    CancelDescriptor = "cancel.descriptor", Kernel("io_uring/cancel.c", "io_async_cancel", "6.18");
    /// A cancel finds what waits on the file, of the opcode, and with the user data that it names, and nothing else.
    CancelMatches = "cancel.matches", Kernel("io_uring/cancel.c", "io_cancel_req_match", "6.18");

    // msg: message headers.

    /// A message header that cannot be read is EFAULT.
    MsgHeaderReadable = "msg.header-readable", Man("sendmsg.2", "ERRORS");
    /// An array of iovecs that cannot be read is EFAULT.
    MsgIovecsReadable = "msg.iovecs-readable", Man("sendmsg.2", "ERRORS");
    /// More than 1024 iovecs are EMSGSIZE.
    MsgAtMost1024 = "msg.at-most-1024", Man("sendmsg.2", "ERRORS");
    /// An iovec whose length has its top bit set is EINVAL.
    MsgIovecLengthSign = "msg.iovec-length-sign", Man("writev.2", "ERRORS");
    /// A name with a negative length is EINVAL.
    MsgNameLength = "msg.name-length", Kernel("net/socket.c", "__copy_msghdr", "6.18");
    /// A name that cannot be read is EFAULT.
    MsgNameReadable = "msg.name-readable", Kernel("net/socket.c", "__copy_msghdr", "6.18");
    /// Control data of more than INT_MAX bytes are ENOBUFS.
    MsgControlLength = "msg.control-length", Kernel("net/socket.c", "____sys_sendmsg", "6.18");

    // stream: the bytes that the peer reads.

    /// The peer reads exactly the bytes that the result counts, from the front of what was given.
    StreamPrefix = "stream.prefix", Man("send.2", "RETURN VALUE");
    /// Bytes of a request come behind those of every request that was done before it began.
    StreamInOrder = "stream.in-order", Man("tcp.7", "DESCRIPTION");
    /// Bytes taken by one try lie side by side in the stream.
    StreamContiguous = "stream.contiguous", Kernel("net/ipv4/tcp.c", "tcp_sendmsg_locked", "6.18");
    /// What was accepted arrives, unless the connection is reset.
    StreamNothingLost = "stream.nothing-lost", Man("tcp.7", "DESCRIPTION");
    /// No byte arrives that nobody sent.
    StreamNothingInvented = "stream.nothing-invented", Man("tcp.7", "DESCRIPTION");
    /// A byte that arrives is one that the memory held between the submission and the completion that gave it back.
    StreamIsMemory = "stream.is-memory", Man("io_uring_prep_send.3", "DESCRIPTION");
    /// Bytes beyond the peer's window do not leave.
    StreamWindowHolds = "stream.window-holds", Kernel("net/ipv4/tcp_output.c", "tcp_snd_wnd_test", "6.18");
    /// What the peer says it misses leaves again from its first byte on, in whole packets, so more than it misses may.
    StreamSentAgain = "stream.sent-again", Kernel("net/ipv4/tcp_output.c", "__tcp_retransmit_skb", "6.18");
    /// The peer reads the end of the stream only when the sender closed it or shut it down.
    StreamEndsWhenClosed = "stream.ends-when-closed", Man("recv.2", "RETURN VALUE");

    // link: chains.

    /// Results of a chain are posted in its order.
    LinkOrder = "link.order", Man("io_uring_enter.2", "IOSQE_IO_LINK");
    /// A member of a chain starts only behind the result of the one before it.
    LinkStartsAfterResult = "link.starts-after-result", Man("io_uring_enter.2", "IOSQE_IO_LINK");
    /// A member that succeeded, be it with a short count and without MSG_WAITALL, lets the next one start.
    LinkGoesOn = "link.goes-on", Man("io_uring_enter.2", "IOSQE_IO_LINK");
    /// Behind a member that failed, a short count with MSG_WAITALL included, the rest of the chain is ECANCELED.
    LinkFailureCuts = "link.failure-cuts", Man("io_uring_enter.2", "IOSQE_IO_LINK");
    /// A chain with a member that is refused while it is prepared is not started: that member reports its error, the others ECANCELED.
    LinkPrepFailureCutsAll = "link.prep-failure-cuts-all", Kernel("io_uring/io_uring.c", "io_submit_fail_init", "6.18");
    /// A member that another one's failure ended posts its result without MORE.
    LinkCutIsSingle = "link.cut-is-single", Kernel("io_uring/timeout.c", "io_req_tw_fail_links", "6.18");

    /// A chain that its batch leaves open is run by another thread, as with IOSQE_ASYNC.
    LinkOpenChainIsAsync = "link.open-chain-is-async", Kernel("io_uring/io_uring.c", "io_queue_sqe_fallback", "6.18");

    // zc: zero copy.

    /// A notification never comes before the result of its request.
    NotifAfterResult = "zc.notif-after-result", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// A request posts at most one notification, however often it was tried.
    OneNotif = "zc.one-notif", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// The result of a zero-copy send that went out announces its notification by MORE.
    ZcMoreAnnounces = "zc.more-announces", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// A zero-copy send that fails after its notification was made announces and posts it all the same.
    ZcErrorStillNotifies = "zc.error-still-notifies", Kernel("io_uring/net.c", "io_sendrecv_fail", "6.18");
    /// A request that made no notification has no MORE and posts none: anything but zero copy, and what is refused before.
    ZcNoNoticeNoMore = "zc.no-notice-no-more", Kernel("io_uring/net.c", "io_send_zc_prep", "6.18");
    /// The notification waits until nothing in the network refers to the memory.
    NotifWaitsForRelease = "zc.notif-waits-for-release", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// Once nothing refers to the memory any more, the notification comes.
    NotifComes = "zc.notif-comes", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// Memory that is lent is not copied: bytes that have not left are those that it holds when they leave.
    ZcLentIsShared = "zc.lent-is-shared", Man("io_uring_prep_send_zc.3", "DESCRIPTION");
    /// A notification says something of copies only if that was asked for; its result is zero otherwise.
    ZcUsageWhenAsked = "zc.usage-when-asked", Header("linux/io_uring.h", "IORING_SEND_ZC_REPORT_USAGE");
    /// On loopback what leaves is copied, and the notification says so.
    ZcLoopbackCopies = "zc.loopback-copies", Kernel("net/core/skbuff.c", "skb_orphan_frags_rx", "6.18");
    /// What a device takes as it lies in memory is not copied, and the notification says so.
    ZcDeviceIsClear = "zc.device-is-clear", Kernel("io_uring/notif.c", "io_tx_ubuf_complete", "6.18");
    /// What leaves while a tap listens is copied for the tap, and the notification says so.
    ZcTapCopies = "zc.tap-copies", Kernel("net/core/dev.c", "dev_queue_xmit_nit", "6.18");
    /// Over TCP, memory is given back once the last byte of its request was acknowledged: a part of it gives nothing back, nor does SACK.
    ZcAckReleases = "zc.ack-releases", Kernel("net/ipv4/tcp_input.c", "tcp_clean_rtx_queue", "6.18");
    /// Lent memory is read again when its bytes leave again: what was written into it meanwhile is what leaves.
    ZcSentAgainIsMemory = "zc.sent-again-is-memory", Kernel("net/ipv4/tcp_output.c", "__tcp_retransmit_skb", "6.18");
    /// A request that attached nothing, by failing or by sending no byte, reports a copy; one whose memory ended on the way may report none.
    ZcNothingIsCopied = "zc.nothing-is-copied", Kernel("io_uring/notif.c", "io_notif_tw_complete", "6.18");
    /// Bytes that never left their queue were not copied, and the notification says so; neither were those of a datagram that failed once it was begun.
    ZcUntouchedIsClear = "zc.untouched-is-clear", Kernel("io_uring/notif.c", "io_tx_ubuf_complete", "6.18");
    /// A zero-copy send on a socket that cannot is EOPNOTSUPP, with its notification.
    ZcSocketSupported = "zc.socket-supported", Kernel("io_uring/net.c", "io_send_zc", "6.18");
    /// A reserved field of a zero-copy send that is not zero is EINVAL, once.
    ZcReservedFields = "zc.reserved-fields", Kernel("io_uring/net.c", "io_send_zc_prep", "6.18");
    /// CQE_SKIP_SUCCESS on a zero-copy send is EINVAL, once.
    ZcSkipRefused = "zc.skip-refused", Kernel("io_uring/net.c", "io_send_zc_prep", "6.18");

    // drain: what waits for everything before it.

    /// A DRAIN entry posts nothing before every earlier request of its ring has posted its result.
    DrainWaits = "drain.waits", Man("io_uring_enter.2", "IOSQE_IO_DRAIN");
    /// An entry behind a DRAIN posts nothing before that has, nor before what that waited for has.
    DrainHolds = "drain.holds", Man("io_uring_enter.2", "IOSQE_IO_DRAIN");
    /// A DRAIN inside of a chain makes the whole chain wait, and the entry behind the chain too.
    DrainWholeChain = "drain.whole-chain", Kernel("io_uring/io_uring.c", "io_init_drain", "6.18");
    /// What waits for everything before it waits for notifications as well.
    DrainWaitsForNotif = "drain.waits-for-notif", Kernel("io_uring/io_uring.c", "io_queue_deferred", "6.18");
    /// Once an entry with CQE_SKIP_SUCCESS was taken, DRAIN is EOPNOTSUPP on that ring.
    DrainNeverWithSkip = "drain.never-with-skip", Man("io_uring_enter.2", "IOSQE_CQE_SKIP_SUCCESS");

    // memlock: what a user without CAP_IPC_LOCK may lock.

    /// A zero-copy send of unregistered memory locks (length >> 12) + 2 pages; what does not fit is ENOMEM, with MORE and a notification.
    MemlockSends = "memlock.sends", Kernel("io_uring/notif.h", "io_notif_account_mem", "6.18");
    /// Pages that a zero-copy send locks are free again once its notification is posted.
    MemlockGivenBack = "memlock.given-back", Kernel("io_uring/notif.c", "io_notif_tw_complete", "6.18");
    /// A zero-copy send from a registered buffer locks no more than is locked already.
    MemlockRegisteredFree = "memlock.registered-free", Kernel("io_uring/net.c", "io_send_zc_prep", "6.18");
    /// A registered buffer locks the pages that it touches, those of other entries counted again; a table that does not fit is ENOMEM.
    MemlockTables = "memlock.tables", Kernel("io_uring/rsrc.c", "io_buffer_account_pin", "6.18");
    /// A ring locks the pages of its queues and of its entries.
    MemlockRings = "memlock.rings", Kernel("io_uring/memmap.c", "io_create_region", "6.18");

    // buf: registered buffers.

    /// A table is registered where there is none; otherwise EBUSY.
    BufRegisterOnce = "buf.register-once", Man("io_uring_register.2", "ERRORS");
    /// A table has 1 to 16384 entries; otherwise EINVAL.
    BufTableSize = "buf.table-size", Man("io_uring_register.2", "IORING_REGISTER_BUFFERS");
    /// An entry is memory that can be written, at most 1 GiB, or empty; otherwise the whole table is refused.
    BufEntryValid = "buf.entry-valid", Kernel("io_uring/rsrc.c", "io_buffer_validate", "6.18");
    /// Updating needs a table; otherwise ENXIO.
    BufUpdateNeedsTable = "buf.update-needs-table", Man("io_uring_register.2", "ERRORS");
    /// An update names entries of the table; otherwise EINVAL.
    BufUpdateInTable = "buf.update-in-table", Man("io_uring_register.2", "IORING_REGISTER_BUFFERS_UPDATE");
    /// An update returns how many entries it replaced before the first that was refused.
    BufUpdateCounts = "buf.update-counts", Kernel("io_uring/rsrc.c", "__io_sqe_buffers_update", "6.18");
    /// A table of files is registered where there is none, and unregistered where there is one.
    FilesRegisterOnce = "buf.files-register-once", Man("io_uring_register.2", "ERRORS");
    /// Unregistering needs a table; otherwise ENXIO.
    BufUnregisterNeedsTable = "buf.unregister-needs-table", Man("io_uring_register.2", "ERRORS");
    /// An index behind the table, or of an empty entry, is EFAULT.
    BufIndexFilled = "buf.index-filled", Man("io_uring_enter.2", "ERRORS");
    /// A range that is not inside the registered buffer is EFAULT.
    BufRangeInside = "buf.range-inside", Man("io_uring_enter.2", "ERRORS");
    /// All iovecs of a request lie inside the one registered buffer that it names; otherwise EFAULT and nothing is sent.
    BufVectorInOne = "buf.vector-in-one", Kernel("io_uring/rsrc.c", "io_import_reg_vec", "6.18");
    /// An empty element of a registered vector is EFAULT.
    BufVectorNoEmpty = "buf.vector-no-empty", Kernel("io_uring/rsrc.c", "io_vec_fill_bvec", "6.18");

    // mixed: the mixed vectored send, whatever it is made of.

    /// A mixed send posts one result, whatever it is made of.
    MixedOneResult = "mixed.one-result", Contract("mixed/PROPOSAL.md");
    /// The result counts the bytes that were accepted: a prefix of the segments, one after the other.
    MixedPrefix = "mixed.prefix", Contract("mixed/PROPOSAL.md");
    /// A mixed send that reports an error has sent not a byte.
    MixedErrorSendsNothing = "mixed.error-sends-nothing", Contract("mixed/PROPOSAL.md");
    /// A mixed send fails only for a cause: its memory, its socket, a limit, a flag, a cancel, or its chain.
    MixedErrorNeedsCause = "mixed.error-needs-cause", Contract("mixed/PROPOSAL.md");
    /// A result of zero means that there was nothing to send.
    MixedZeroIsEmpty = "mixed.zero-is-empty", Contract("mixed/PROPOSAL.md");
    /// With MSG_WAITALL a count is short only for a cause that would have been an error.
    MixedWaitallWhole = "mixed.waitall-whole", Contract("mixed/PROPOSAL.md");
    /// A mixed send that cannot be meant, or has a segment outside of its buffer, is refused as a whole.
    MixedRefusedWhole = "mixed.refused-whole", Contract("mixed/PROPOSAL.md");
    /// A copied segment is the caller's again at the result at the latest: what is written there later is not sent.
    MixedCopyIsYours = "mixed.copy-is-yours", Contract("mixed/PROPOSAL.md");
    /// A zero-copy segment is lent until the notification, and no longer: what is written there later is not sent.
    MixedLentUntilNotif = "mixed.lent-until-notif", Contract("mixed/PROPOSAL.md");
    /// A mixed send announces and posts a notification exactly if a zero-copy byte was accepted.
    MixedNotifiesIffLent = "mixed.notifies-iff-lent", Contract("mixed/PROPOSAL.md");
    /// A mixed send has one notification for all its segments, behind its result.
    MixedOneNotif = "mixed.one-notif", Contract("mixed/PROPOSAL.md");
    /// The notification says something of copies only where that was asked for.
    MixedUsageWhenAsked = "mixed.usage-when-asked", Contract("mixed/PROPOSAL.md");
    /// The result comes, and the notification that it announced.
    MixedCompletionsCome = "mixed.completions-come", Contract("mixed/PROPOSAL.md");
    /// Nothing else's bytes lie between the bytes of a mixed send.
    MixedTogether = "mixed.together", Contract("mixed/PROPOSAL.md");
    /// Bytes of a mixed send lie behind those of all that ended before it was submitted, or is before it in its chain.
    MixedInOrder = "mixed.in-order", Contract("mixed/PROPOSAL.md");
    /// What was accepted arrives, unless the connection is reset.
    MixedAcceptedArrives = "mixed.accepted-arrives", Contract("mixed/PROPOSAL.md");
    /// On a datagram socket a mixed send is one datagram, or none.
    MixedOneDatagram = "mixed.one-datagram", Contract("mixed/PROPOSAL.md");
    /// A mixed send that fails, a short count with MSG_WAITALL included, cuts the chain behind it.
    MixedFailureCuts = "mixed.failure-cuts", Contract("mixed/PROPOSAL.md");
    /// A mixed send that succeeds lets the chain go on.
    MixedGoesOn = "mixed.goes-on", Contract("mixed/PROPOSAL.md");
}

impl Rule {
    /// The rule with this id.
    pub fn from_id(id: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|r| r.id() == id)
    }

    /// The part of the id before the dot.
    pub fn area(self) -> &'static str {
        self.id().split_once('.').map_or(self.id(), |(area, _)| area)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
