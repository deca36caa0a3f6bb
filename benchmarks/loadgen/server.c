/* A server that costs next to nothing and answers every request alike, so that a client's own cost shows.
 *
 * One thread, one epoll, loopback. A connection speaks HTTP/1.1 (requests with a Content-Length, answered when the
 * body is in) or cleartext HTTP/2 with gRPC's trailers (every stream is answered when its END_STREAM is in; header
 * blocks are not read). It is a peer for benchmarks: what it does not understand closes the connection.
 *
 * Use: server, which prints its port and serves until standard input ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_BYTES = 16 * 1024, RECEIVE_BYTES = 256 * 1024, SEND_BYTES = 64 * 1024, EVENTS = 256 };
enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8, ACK = 1, END_STREAM = 1 };

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE_BYTES = sizeof PREFACE - 1 };

/* Also what tritonclient's HTTP client takes for an answer. */
static const char BODY[] = "{\"model_name\":\"null\",\"model_version\":\"1\",\"outputs\":[]}";
static char http1_answer[256];
static int http1_answer_bytes;

/* SETTINGS_INITIAL_WINDOW_SIZE 2^31-1 and as much for the connection: flow control never stops the client. */
static const uint8_t GREETING[] = {0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff,
                                   0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0};
static const uint8_t SETTINGS_ACK[] = {0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0};
/* :status 200, content-type application/grpc | an empty message | grpc-status 0 */
static const uint8_t GRPC_HEADERS[] = "\x88\x0f\x10\x10" "application/grpc";
static const uint8_t GRPC_MESSAGE[] = {0, 0, 0, 0, 0};
static const uint8_t GRPC_TRAILERS[] = "\x00\x0bgrpc-status\x01" "0";

struct connection {
    int fd;
    enum { UNKNOWN, HTTP1, HTTP2 } speaks;
    uint64_t body_left;           /* HTTP/1: of the request; HTTP/2: of the frame being skipped */
    uint32_t unacked;             /* HTTP/2: DATA bytes the connection's window has not been given back */
    int held;                     /* bytes in head */
    char head[HEAD_BYTES + 1];
};

static uint8_t out[SEND_BYTES];
static size_t out_bytes;

static int put(const void *bytes, size_t count) {
    if (out_bytes + count > sizeof out) return -1;
    memcpy(out + out_bytes, bytes, count);
    out_bytes += count;
    return 0;
}

static int put_frame(int kind, int flags, uint32_t stream, const void *payload, uint32_t count) {
    uint32_t id = htonl(stream);
    uint8_t header[9] = {count >> 16, count >> 8, count, kind, flags};
    memcpy(header + 5, &id, 4);
    return put(header, 9) || put(payload, count) ? -1 : 0;
}

static int answer_grpc(uint32_t stream) {
    return put_frame(HEADERS, 4, stream, GRPC_HEADERS, sizeof GRPC_HEADERS - 1) ||
                   put_frame(DATA, 0, stream, GRPC_MESSAGE, sizeof GRPC_MESSAGE) ||
                   put_frame(HEADERS, 4 | END_STREAM, stream, GRPC_TRAILERS, sizeof GRPC_TRAILERS - 1)
               ? -1
               : 0;
}

/* One frame's header is in ``h``, and all of a PING. The rest of the payload is skipped by the caller. */
static int on_frame(struct connection *c, const uint8_t *h, uint32_t length) {
    uint32_t stream = (h[5] & 0x7fu) << 24 | h[6] << 16 | h[7] << 8 | h[8];
    int kind = h[3], flags = h[4];
    if (kind == SETTINGS && !(flags & ACK)) return put(SETTINGS_ACK, sizeof SETTINGS_ACK);
    if (kind == PING && !(flags & ACK)) return put_frame(PING, ACK, 0, h + 9, 8);
    if (kind == DATA && (c->unacked += length) > 1u << 29) {
        uint32_t more = htonl(c->unacked);
        c->unacked = 0;
        if (put_frame(WINDOW_UPDATE, 0, 0, &more, 4)) return -1;
    }
    return (kind == DATA || kind == HEADERS) && flags & END_STREAM ? answer_grpc(stream) : 0;
}

static int feed_http2(struct connection *c, const char *data, size_t count) {
    while (count) {
        if (c->body_left) {
            size_t skip = count < c->body_left ? count : c->body_left;
            c->body_left -= skip, data += skip, count -= skip;
            continue;
        }
        int wanted = c->held >= 9 && c->head[3] == PING ? 17 : 9;
        if (c->held < wanted) {
            c->head[c->held++] = *data++, count--;
            if (c->held < 9 || (c->head[3] == PING && c->held < 17)) continue;
        }
        const uint8_t *h = (const uint8_t *)c->head;
        uint32_t length = h[0] << 16 | h[1] << 8 | h[2];
        if (h[3] == PING && length != 8) return -1;
        if (on_frame(c, h, length)) return -1;
        c->body_left = h[3] == PING ? 0 : length;
        c->held = 0;
    }
    return 0;
}

static int feed_http1(struct connection *c, const char *data, size_t count) {
    while (count) {
        if (!c->body_left) {
            size_t room = HEAD_BYTES - c->held, taken = count < room ? count : room;
            memcpy(c->head + c->held, data, taken);
            int before = c->held;
            c->held += taken;
            c->head[c->held] = 0;
            char *end = memmem(c->head, c->held, "\r\n\r\n", 4);
            if (!end) {
                if (taken == room) return -1;
                return 0;
            }
            size_t head_bytes = end + 4 - c->head;
            data += head_bytes - before, count -= head_bytes - before;
            *end = 0;
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            c->body_left = length ? strtoull(length + 17, NULL, 10) : 0;
            c->held = 0;
            if (strcasestr(c->head, "\r\nexpect:") && put("HTTP/1.1 100 Continue\r\n\r\n", 25)) return -1;
            if (!c->body_left && put(http1_answer, http1_answer_bytes)) return -1;
            continue;
        }
        size_t skip = count < c->body_left ? count : c->body_left;
        c->body_left -= skip, data += skip, count -= skip;
        if (!c->body_left && put(http1_answer, http1_answer_bytes)) return -1;
    }
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
            if (earlier && feed_http1(c, first, earlier)) return -1;
        } else {
            c->held += taken;
            if (c->held < PREFACE_BYTES) return 0;
            c->held = 0;
            c->speaks = HTTP2;
            data += taken, count -= taken;
            if (put(GREETING, sizeof GREETING)) return -1;
        }
    }
    return c->speaks == HTTP1 ? feed_http1(c, data, count) : feed_http2(c, data, count);
}

static int serve(struct connection *c) {
    static char data[RECEIVE_BYTES];
    ssize_t count = recv(c->fd, data, sizeof data, 0);
    if (count < 0) return errno == EAGAIN ? 0 : -1;
    if (!count) return -1;
    out_bytes = 0;
    if (feed(c, data, count)) return -1;
    return out_bytes && send(c->fd, out, out_bytes, MSG_NOSIGNAL) != (ssize_t)out_bytes ? -1 : 0;
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

int main(void) {
    http1_answer_bytes = snprintf(http1_answer, sizeof http1_answer,
                                  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                  sizeof BODY - 1, BODY);
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
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            void *what = events[i].data.ptr;
            if (what == &is_stdin) return 0;
            if (what == &is_listener) {
                admit(epoll, listener);
            } else if (serve(what)) {
                close(((struct connection *)what)->fd);
                free(what);
            }
        }
    }
}
