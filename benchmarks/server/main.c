/* A server that costs next to nothing and answers every prediction alike, so that a client's own cost shows; or
 * after a seeded delay, so that a client's own error does.
 *
 * One thread, one epoll, loopback. A connection speaks HTTP/1.1 or cleartext HTTP/2 with gRPC's trailers. It is a peer
 * for benchmarks: what it does not understand closes the connection.
 *
 * Use: server COUNT [LOG SEED MEDIAN_US SIGMA DRIFT PHI], which prints its port and serves until standard input ends.
 * COUNT is a file of eight bytes, in which the predictions answered so far are counted while it runs. With the other
 * arguments predictions over HTTP/1.1 are delayed (delays.c); gRPC is then not understood.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

enum { RECEIVE_BYTES = 256 * 1024, SEND_BYTES = 64 * 1024, EVENTS = 256, SPIN_NS = 100 * 1000 };

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE_BYTES = sizeof PREFACE - 1 };

static uint8_t out[SEND_BYTES];
static size_t out_bytes;
static volatile uint64_t *answered;
static int64_t woken_ns;

int put(const void *bytes, size_t count) {
    if (out_bytes + count > sizeof out) return -1;
    memcpy(out + out_bytes, bytes, count);
    out_bytes += count;
    return 0;
}

int on_prediction(struct connection *c) {
    if (delays_on()) {
        if (c->speaks != HTTP1 || c->waiting || delays_add(c, woken_ns)) return -1;
        c->waiting = 1;
        return 1;
    }
    ++*answered;
    return 0;
}

/* What the first bytes are: a client may send the preface in pieces. */
static int feed(struct connection *c, const char *data, size_t count) {
    if (c->speaks == UNKNOWN) {
        size_t more = PREFACE_BYTES - c->held, taken = count < more ? count : more;
        memcpy(c->head + c->held, data, taken);
        if (memcmp(c->head, PREFACE, c->held + taken)) {
            size_t earlier = c->held;
            char first[PREFACE_BYTES];
            memcpy(first, c->head, earlier);
            c->held = 0;
            c->speaks = HTTP1;
            if (earlier && http1_feed(c, first, earlier)) return -1;
        } else {
            c->held += taken;
            if (c->held < PREFACE_BYTES) return 0;
            c->held = 0;
            c->speaks = HTTP2;
            data += taken, count -= taken;
            if (http2_greet()) return -1;
        }
    }
    return c->speaks == HTTP1 ? http1_feed(c, data, count) : http2_feed(c, data, count);
}

static int flush(struct connection *c) {
    return out_bytes && send(c->fd, out, out_bytes, MSG_NOSIGNAL) != (ssize_t)out_bytes ? -1 : 0;
}

static int serve(struct connection *c) {
    static char data[RECEIVE_BYTES];
    ssize_t count = recv(c->fd, data, sizeof data, 0);
    if (count < 0) return errno == EAGAIN ? 0 : -1;
    if (!count) return -1;
    out_bytes = 0;
    return feed(c, data, count) ? -1 : flush(c);
}

static void leave(struct connection *c) {
    close(c->fd);
    if (c->waiting) {
        c->gone = 1;
    } else {
        free(c);
    }
}

static void answer_due(void) {
    struct connection *c;
    while ((c = delays_pop(now_ns()))) {
        c->waiting = 0;
        if (c->gone) {
            free(c);
            continue;
        }
        out_bytes = 0;
        http1_put_prediction(&c->id);
        delays_answered(now_ns());
        ++*answered;
        if (flush(c)) leave(c);
    }
}

static void admit(int epoll, int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *c = calloc(1, sizeof *c);
    if (!c) exit(1);
    c->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Until something is there to be read or, but for the last moment, an answer is due: a wake-up may be late. */
static int wait_for(int epoll, struct epoll_event *events) {
    int64_t next_ns = delays_next_ns(), left_ns = next_ns - now_ns() - SPIN_NS;
    if (next_ns < 0) return epoll_wait(epoll, events, EVENTS, -1);
    if (left_ns <= 0) return epoll_wait(epoll, events, EVENTS, 0);
    struct timespec timeout = {left_ns / 1000000000, left_ns % 1000000000};
    return epoll_pwait2(epoll, events, EVENTS, &timeout, NULL);
}

static volatile uint64_t *counter(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(uint64_t))) return NULL;
    void *at = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

int main(int count, char **arguments) {
    if (count != 2 && count != 8) return 2;
    if (!(answered = counter(arguments[1])) || (count == 8 && delays_start(arguments + 2))) return 1;
    prctl(PR_SET_TIMERSLACK, 1);
    /* A delay is to be what was drawn, whoever else is busy here; without the right to it, it is what it is. It sleeps
     * most of the time, which a server without delays does not. */
    struct sched_param first = {.sched_priority = 1};
    if (delays_on()) sched_setscheduler(0, SCHED_FIFO, &first);
    http1_start();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    /* Neither pointer is a connection's. */
    static char is_listener, is_stdin;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &is_listener}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &is_stdin;
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int ready = wait_for(epoll, events);
        if (delays_on()) woken_ns = now_ns();
        for (int i = 0; i < ready; i++) {
            void *what = events[i].data.ptr;
            if (what == &is_stdin) {
                delays_write();
                return 0;
            }
            if (what == &is_listener) {
                admit(epoll, listener);
            } else if (serve(what)) {
                leave(what);
            }
        }
        answer_due();
    }
}
