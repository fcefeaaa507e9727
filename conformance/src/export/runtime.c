/* What follows is the same for every program: rings, memory, sockets and steps by system calls alone. Each
 * prints what is seen as a line of JSON, which `uringspec explain` reads. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define PATIENCE_MS 2000
#define FD_BASE 600
#define WINDOW_BASE 0x100000000000ull
#define WINDOW_BYTES (3ull << 32)
#define PAGE 4096ull
#define OUTQ 0x5411        /* SIOCOUTQ: not yet acknowledged */
#define OUTQ_UNSENT 0x894b /* SIOCOUTQNSD: not yet sent */
#define GETEVENTS 1u
#define EXT_ARG 8u
#define F_MORE 2u
#define F_NOTIF 8u
#define SQ_CQ_OVERFLOW 2u

enum kind { TCP4, TCP6, UDP4, UDP6, UNIX_STREAM, NOT_A_SOCKET };
enum lane { LOOPBACK, GATE, GATE_FULL };
enum until { NOW, SEEN, SETTLED };

struct sqe { uint64_t word[8]; };
struct cqe { uint64_t user_data; int32_t res; uint32_t flags; };
struct want { uint64_t user_data; uint32_t count; int last; };
struct count { uint64_t user_data; uint32_t owed, results, announced, notifications; };

/* struct io_uring_params, with the offsets that are used here under their names */
struct params {
    uint32_t sq_entries, cq_entries, flags, cpu, idle, features, wq_fd, resv[3];
    struct { uint32_t head, tail, mask, entries, flags, dropped, array, resv; uint64_t addr; } sq;
    struct { uint32_t head, tail, mask, entries, overflow, cqes, flags, resv; uint64_t addr; } cq;
};

struct ring {
    int fd;
    uint32_t *sq_head, *sq_tail, *sq_flags, *sq_array, *cq_head, *cq_tail;
    uint32_t sq_mask, cq_mask, queued;
    struct sqe *sqes, *pending;
    struct cqe *cqes;
    struct count *counts;
    size_t counted;
};

struct sock { enum kind kind; int near, far, narrow, ended; size_t written, read; };

static struct ring rings[8];
static struct sock socks[64];
static int ring_count, sock_count, step_now;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(77);
}

static long check(long value, const char *what) {
    if (value < 0) fail(what);
    return value;
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void seen(const char *what) {
    printf("{\"v\":1,\"seen\":{\"step\":%d,\"what\":%s}}\n", step_now, what);
    fflush(stdout);
}

static void gave_up(void) { seen("\"gave_up\""); }

static void returned(long value) {
    char text[64];
    snprintf(text, sizeof text, "{\"returned\":%ld}", value);
    seen(text);
}

/* Memory: the stamp of a byte says which region, which generation and which offset it is from. */

static uint64_t stamp_word(uint64_t region, uint64_t generation, uint64_t word) {
    uint64_t x = (region << 48 | generation << 32 | (word & 0xffffffffu)) + 0x442e3d437204e52dull;
    x = __builtin_bswap64(x * 0x9e3779b97f4a7c15ull) * 0x9e3779b97f4a7c15ull;
    return x ^ x >> 32;
}

static UNUSED void stamp(int region, int generation, uint64_t addr, uint64_t len) {
    volatile unsigned char *to = (volatile unsigned char *)(uintptr_t)addr;
    for (uint64_t i = 0; i < len; i++) to[i] = stamp_word(region, generation, i / 8) >> 8 * (i % 8);
}

static UNUSED void window(void) {
    signal(SIGPIPE, SIG_IGN); /* a write to a socket that can send no more raises it */
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    if (mmap((void *)WINDOW_BASE, WINDOW_BYTES, PROT_NONE, flags, -1, 0) == MAP_FAILED) fail("the window");
}

static UNUSED void region(int id, uint64_t addr, uint64_t len, int prot, const char *bytes, size_t count) {
    uint64_t start = addr / PAGE * PAGE, end = (addr + len + PAGE - 1) / PAGE * PAGE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (start == end) return;
    if (mmap((void *)start, end - start, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) fail("a region");
    if (bytes) memcpy((void *)addr, bytes, count);
    else stamp(id, 0, addr, len);
    if (prot != (PROT_READ | PROT_WRITE)) check(mprotect((void *)start, end - start, prot), "a protection");
}

/* Sockets */

static void option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

static int placed(int fd, int at) {
    check(dup2(fd, at), "a descriptor");
    close(fd);
    return at;
}

static socklen_t loopback(struct sockaddr_storage *at, int v6) {
    memset(at, 0, sizeof *at);
    if (v6) {
        struct sockaddr_in6 *six = (void *)at;
        six->sin6_family = AF_INET6;
        six->sin6_addr = in6addr_loopback;
        return sizeof *six;
    }
    struct sockaddr_in *four = (void *)at;
    four->sin_family = AF_INET;
    four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *four;
}

static void meet(int fd, int other) {
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    check(getsockname(other, (void *)&at, &len), "an address");
    check(connect(fd, (void *)&at, len), "a connection");
}

static void fill(struct sock *s, size_t len) {
    static char zeros[65536];
    while (len > 0) {
        ssize_t n = send(s->near, zeros, len < sizeof zeros ? len : sizeof zeros, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) return;
        s->written += n;
        len -= n;
    }
}

/* The lane's own bytes close the peer's window, so that what is sent behind them stays in the queue. */
static void close_gate(struct sock *s, enum lane lane) {
    double end = now_ms() + PATIENCE_MS;
    for (;;) {
        size_t before = s->written;
        if (lane == GATE) fill(s, 16384);
        else {
            fill(s, 64 << 20);
            for (size_t last = 0; last != s->written;) { last = s->written; fill(s, 1); }
        }
        int queued = 0, unsent = 0;
        do {
            ioctl(s->near, OUTQ, &queued);
            ioctl(s->near, OUTQ_UNSENT, &unsent);
            option(s->far, IPPROTO_TCP, TCP_QUICKACK, 1);
            usleep(50);
        } while (queued != unsent && unsent > 0 && now_ms() < end);
        if (queued == unsent && unsent > 0 && (lane == GATE || s->written == before)) return;
        if (now_ms() > end) { errno = ETIME; fail("a window that closes"); }
    }
}

static UNUSED void sock(enum kind kind, enum lane lane, int connected, int sndbuf, int rcvbuf) {
    struct sock *s = &socks[sock_count];
    int near_at = FD_BASE + 2 * sock_count, v6 = kind == TCP6 || kind == UDP6, tcp = kind == TCP4 || kind == TCP6;
    int usual = !sndbuf && !rcvbuf && lane == LOOPBACK;
    struct sockaddr_storage at;
    if (!sndbuf) sndbuf = lane == GATE_FULL ? 65536 : 212992;
    if (!rcvbuf) rcvbuf = lane == LOOPBACK ? 212992 : 4096;
    *s = (struct sock){ .kind = kind, .near = -1, .far = -1, .narrow = tcp && rcvbuf < 212992 };
    if (kind == NOT_A_SOCKET) s->near = check(eventfd(0, EFD_CLOEXEC), "an eventfd");
    else if (kind == UNIX_STREAM && connected) {
        int pair[2];
        check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "a pair of sockets");
        s->near = pair[0];
        s->far = pair[1];
    } else {
        int family = kind == UNIX_STREAM ? AF_UNIX : v6 ? AF_INET6 : AF_INET;
        s->near = check(socket(family, tcp || kind == UNIX_STREAM ? SOCK_STREAM : SOCK_DGRAM, 0), "a socket");
    }
    if (tcp) {
        setsockopt(s->near, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
        option(s->near, IPPROTO_TCP, TCP_NODELAY, 1);
    }
    if (kind != NOT_A_SOCKET) option(s->near, SOL_SOCKET, SO_SNDBUF, sndbuf);
    if (tcp && connected) {
        struct linger reset = { 1, 0 };
        int listener = check(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0), "a listener");
        option(listener, SOL_SOCKET, SO_RCVBUF, rcvbuf);
        setsockopt(listener, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        check(bind(listener, (void *)&at, loopback(&at, v6)), "an address");
        check(listen(listener, 1), "a listener");
        meet(s->near, listener);
        s->far = check(accept(listener, NULL, NULL), "a connection");
        close(listener);
    }
    if ((kind == UDP4 || kind == UDP6) && connected) {
        s->far = check(socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0), "a socket");
        option(s->far, SOL_SOCKET, SO_RCVBUF, rcvbuf);
        check(bind(s->far, (void *)&at, loopback(&at, v6)), "an address");
        meet(s->near, s->far);
        meet(s->far, s->near);
    }
    s->near = placed(s->near, near_at);
    if (s->far >= 0) s->far = placed(s->far, near_at + 1);
    if (lane != LOOPBACK) close_gate(s, lane);
    /* What room there is was not measured, so nothing is promised of it. */
    if (s->far >= 0 && !usual && kind != UDP4 && kind != UDP6) {
        char text[128];
        snprintf(text, sizeof text, "{\"room\":{\"socket\":%d,\"accepts_bytes\":0,\"leaves_bytes\":0,\"full\":%s}}",
                 sock_count, lane == GATE_FULL ? "true" : "false");
        seen(text);
    }
    sock_count++;
}

static UNUSED void limits(long memlock, int unprivileged) {
    if (memlock >= 0) {
        struct rlimit limit;
        getrlimit(RLIMIT_MEMLOCK, &limit);
        limit.rlim_cur = memlock;
        check(setrlimit(RLIMIT_MEMLOCK, &limit), "RLIMIT_MEMLOCK");
    }
    if (unprivileged) check(setresuid(0x40000001, 0x40000001, 0), "another user");
}

/* Rings */

static UNUSED void ring(unsigned entries, unsigned cq_entries, unsigned flags) {
    struct ring *r = &rings[ring_count++];
    struct params p = { .cq_entries = cq_entries, .flags = flags | (cq_entries ? 8u : 0) };
    r->fd = check(syscall(425, entries, &p), "io_uring_setup");
    size_t sq_len = p.sq.array + p.sq_entries * 4, cq_len = p.cq.cqes + p.cq_entries * sizeof(struct cqe);
    int prot = PROT_READ | PROT_WRITE, share = MAP_SHARED | MAP_POPULATE;
    char *sq = mmap(NULL, sq_len, prot, share, r->fd, 0);
    char *cq = mmap(NULL, cq_len, prot, share, r->fd, 0x8000000);
    r->sqes = mmap(NULL, p.sq_entries * sizeof(struct sqe), prot, share, r->fd, 0x10000000);
    if (sq == MAP_FAILED || cq == MAP_FAILED || r->sqes == MAP_FAILED) fail("mapping a ring");
    r->sq_head = (void *)(sq + p.sq.head);
    r->sq_tail = (void *)(sq + p.sq.tail);
    r->sq_flags = (void *)(sq + p.sq.flags);
    r->sq_array = (void *)(sq + p.sq.array);
    r->sq_mask = *(uint32_t *)(sq + p.sq.mask);
    r->cq_head = (void *)(cq + p.cq.head);
    r->cq_tail = (void *)(cq + p.cq.tail);
    r->cq_mask = *(uint32_t *)(cq + p.cq.mask);
    r->cqes = (void *)(cq + p.cq.cqes);
    r->pending = calloc(p.sq_entries, sizeof(struct sqe));
}

static UNUSED void try_setup(unsigned entries, unsigned cq_entries, unsigned flags) {
    struct params p = { .cq_entries = cq_entries, .flags = flags };
    long n = syscall(425, entries, &p);
    if (n >= 0) close(n);
    returned(n < 0 ? -errno : 0);
}

static struct count *count_of(struct ring *r, uint64_t user_data) {
    for (size_t i = 0; i < r->counted; i++)
        if (r->counts[i].user_data == user_data) return &r->counts[i];
    r->counts = realloc(r->counts, (r->counted + 1) * sizeof *r->counts);
    r->counts[r->counted] = (struct count){ .user_data = user_data };
    return &r->counts[r->counted++];
}

static long enter(struct ring *r, unsigned submit, unsigned wait, unsigned flags, double patience_ms) {
    struct timespec t = { (time_t)(patience_ms / 1e3), (long)(patience_ms * 1e6) % 1000000000 };
    struct { uint64_t mask; uint32_t size, min; uint64_t ts; } arg = { 0, 8, 0, (uintptr_t)&t };
    long n = wait ? syscall(426, r->fd, submit, wait, flags | EXT_ARG, &arg, sizeof arg)
                  : syscall(426, r->fd, submit, 0, flags, NULL, 0);
    return n < 0 ? -errno : n;
}

/* The kernel takes the one thread of another process for another thread as well. */
static UNUSED void enter_elsewhere(int ring) {
    int status = 0;
    pid_t child = check(fork(), "fork");
    if (child == 0) _exit(syscall(426, rings[ring].fd, 1, 0, 0, NULL, 0) < 0 ? errno : 0);
    check(waitpid(child, &status, 0), "waitpid");
    returned(-(long)WEXITSTATUS(status));
}

static void push(struct ring *r, const struct sqe *sqe) {
    uint32_t tail = *r->sq_tail;
    r->sqes[tail & r->sq_mask] = *sqe;
    r->sq_array[tail & r->sq_mask] = tail & r->sq_mask;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

static long consume(struct ring *r, unsigned submit) {
    long n = enter(r, submit, 0, 0, 0);
    for (long i = 0; i < n && r->queued > 0; i++) {
        uint64_t head = r->pending[0].word[0];
        int is_zc = (head & 0xff) == 47 || (head & 0xff) == 48, skips = head >> 8 & 64;
        count_of(r, r->pending[0].word[4])->owed += !skips || is_zc;
        memmove(r->pending, r->pending + 1, --r->queued * sizeof(struct sqe));
    }
    return n;
}

static UNUSED void submit(int id, const struct sqe *sqes, unsigned count) {
    struct ring *r = &rings[id];
    for (unsigned i = 0; i < count && r->queued <= r->sq_mask; i++) {
        push(r, &sqes[i]);
        r->pending[r->queued++] = sqes[i];
    }
    returned(consume(r, count));
}

/* Takes what stands in the queue; whether the nop of a fence was among it. */
static int take(int id, uint64_t fence, int fenced) {
    struct ring *r = &rings[id];
    int found = 0;
    while (*r->cq_head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) {
        struct cqe c = r->cqes[*r->cq_head & r->cq_mask];
        __atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
        if (fenced && c.user_data == fence) { found = 1; continue; }
        struct count *n = count_of(r, c.user_data);
        if (c.flags & F_NOTIF) n->notifications++;
        else n->results++;
        n->announced += !(c.flags & F_NOTIF) && c.flags & F_MORE;
        char text[160];
        snprintf(text, sizeof text, "{\"cqe\":{\"ring\":%d,\"user_data\":%llu,\"res\":%d,\"flags\":%u}}", id,
                 (unsigned long long)c.user_data, c.res, c.flags);
        seen(text);
    }
    return found;
}

static int settled(struct ring *r) {
    for (size_t i = 0; i < r->counted; i++)
        if (r->counts[i].results < r->counts[i].owed || r->counts[i].notifications < r->counts[i].announced) return 0;
    return 1;
}

static int enough(int id, enum until until, const struct want *wants, unsigned count) {
    for (unsigned i = 0; until == SEEN && i < count; i++) {
        uint32_t came = 0, announced = 0, notifications = 0;
        for (int r = 0; r < ring_count; r++) {
            struct count *n = count_of(&rings[r], wants[i].user_data);
            came += n->results + n->notifications;
            announced += n->announced;
            notifications += n->notifications;
        }
        if (came < wants[i].count || (wants[i].last && notifications < announced)) return 0;
    }
    return until != SETTLED || settled(&rings[id]);
}

static int reap_for(int id, enum until until, const struct want *wants, unsigned count, double patience_ms) {
    double end = now_ms() + patience_ms;
    unsigned wait = !enough(id, until, wants, count);
    for (;;) {
        double left = end - now_ms();
        enter(&rings[id], 0, wait, GETEVENTS, left > 0 ? left : 0);
        take(id, 0, 0);
        if (enough(id, until, wants, count)) return 1;
        if (now_ms() >= end) return 0;
        wait = 1;
    }
}

static UNUSED void reap(int id, enum until until, const struct want *wants, unsigned count) {
    if (!reap_for(id, until, wants, count, PATIENCE_MS)) gave_up();
}

static UNUSED void peek(int id) {
    char text[64];
    int set = __atomic_load_n(rings[id].sq_flags, __ATOMIC_ACQUIRE) & SQ_CQ_OVERFLOW;
    snprintf(text, sizeof text, "{\"overflow\":{\"ring\":%d,\"set\":%s}}", id, set ? "true" : "false");
    seen(text);
    take(id, 0, 0);
}

static UNUSED void fence(int id, uint64_t user_data) {
    struct ring *r = &rings[id];
    struct sqe nop = { { 0, 0, 0, 0, user_data, 0, 0, 0 } };
    double end = now_ms() + PATIENCE_MS;
    unsigned submit = 1;
    while (r->queued > 0)
        if (consume(r, r->queued) <= 0) { gave_up(); return; }
    push(r, &nop);
    for (;;) {
        double left = end - now_ms();
        if (enter(r, submit, 1, GETEVENTS, left > 0 ? left : 0) > 0) submit = 0;
        if (take(id, user_data, 1)) return;
        if (now_ms() >= end) { gave_up(); return; }
    }
}

static UNUSED void reg(int id, unsigned opcode, const void *arg, unsigned count) {
    long n = syscall(427, rings[id].fd, opcode, arg, count);
    returned(n < 0 ? -errno : n);
}

/* Peers */

static void bytes_seen(int id, const unsigned char *bytes, size_t len) {
    printf("{\"v\":1,\"seen\":{\"step\":%d,\"what\":{\"received\":{\"socket\":%d,\"runs\":[", step_now, id);
    if (len > 0) printf("{\"bytes\":\"");
    for (size_t i = 0; i < len; i++) printf("%02x", bytes[i]);
    printf(len > 0 ? "\"}]}}}}\n" : "]}}}}\n");
}

static int at_rest(struct sock *s) {
    int queued = 0;
    if (s->near < 0) return s->kind != TCP4 && s->kind != TCP6;
    option(s->far, IPPROTO_TCP, TCP_QUICKACK, 1);
    return ioctl(s->near, OUTQ, &queued) < 0 || queued == 0;
}

static int drain_for(int id, uint64_t wanted, double patience_ms) {
    static unsigned char one[1 << 18];
    struct sock *s = &socks[id];
    int stream = s->kind == TCP4 || s->kind == TCP6 || s->kind == UNIX_STREAM, looked = 0, whole = 1;
    unsigned char *all = NULL;
    size_t len = 0;
    double end = now_ms() + patience_ms;
    if (s->far < 0) return 1;
    if (s->narrow) {
        option(s->far, SOL_SOCKET, SO_RCVBUF, 212992);
        option(s->far, IPPROTO_TCP, TCP_WINDOW_CLAMP, 2 * 212992);
        s->narrow = 0;
    }
    while (!s->ended && (len < wanted || s->read < s->written)) {
        size_t filler = s->written - s->read, room = filler ? filler : stream ? wanted - len : sizeof one;
        ssize_t n = recv(s->far, one, room < sizeof one ? room : sizeof one, MSG_DONTWAIT);
        if (n > 0 && filler) s->read += n;
        else if (n >= 0 && !stream) { bytes_seen(id, one, n); len += n; }
        else if (n > 0) {
            all = realloc(all, len + n);
            memcpy(all + len, one, n);
            len += n;
        } else if (n == 0) s->ended = 1;
        else if (errno != EAGAIN && errno != EINTR && stream) s->ended = 2;
        else if (wanted == UINT64_MAX && at_rest(s) && looked++) break;
        else if (now_ms() > end) { whole = wanted == UINT64_MAX && s->near < 0; break; }
        else {
            struct pollfd readable = { s->far, POLLIN, 0 };
            option(s->near, IPPROTO_TCP, TCP_NODELAY, 1);
            /* A datagram that was sent may still be on its way. */
            poll(&readable, 1, looked && !stream ? 50 : 1);
        }
        if (n > 0) looked = 0;
        if (s->ended && wanted != UINT64_MAX && len < wanted) whole = 0;
    }
    if (len > 0 && stream) bytes_seen(id, all, len);
    if (s->ended == 1 || s->ended == 2) {
        char text[96];
        snprintf(text, sizeof text, "{\"peer_ended\":{\"socket\":%d,\"how\":\"%s\"}}", id,
                 s->ended == 1 ? "end_of_file" : "reset");
        seen(text);
        s->ended = 3;
    }
    free(all);
    return whole;
}

static UNUSED void drain(int id, uint64_t wanted) {
    if (!drain_for(id, wanted, PATIENCE_MS)) gave_up();
}

static UNUSED void reset_peer(int id) {
    if (socks[id].far >= 0) close(socks[id].far);
    socks[id].far = -1;
}

static UNUSED void close_own(int id) {
    if (socks[id].near >= 0) close(socks[id].near);
    socks[id].near = -1;
}

static UNUSED void shutdown_own(int id) { shutdown(socks[id].near, SHUT_WR); }

static UNUSED void cork_own(int id, int on) { option(socks[id].near, IPPROTO_TCP, TCP_CORK, on); }

/* Lets everything go on until nothing is owed, then reads what is still on its way. */
static UNUSED void settle(void) {
    double end = now_ms() + PATIENCE_MS;
    for (int open = 1; open;) {
        open = 0;
        for (int id = 0; id < ring_count; id++) {
            reap_for(id, SETTLED, NULL, 0, 2);
            open |= !settled(&rings[id]);
        }
        if (!open) break;
        if (now_ms() > end) { gave_up(); break; }
        for (int id = 0; id < sock_count; id++) drain_for(id, UINT64_MAX, 2);
    }
    for (int id = 0; id < sock_count; id++) drain(id, UINT64_MAX);
}

static UNUSED void step(int number) { step_now = number; }
