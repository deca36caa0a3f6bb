/* What the parts of the benchmarks' server know of each other. */
#ifndef SERVER_H
#define SERVER_H

#include <stddef.h>
#include <stdint.h>

enum { HEAD_BYTES = 16 * 1024, HPACK_ENTRIES = 128, STREAMS = 128, ID_BYTES = 23 };

/* A prediction's id, which its answer repeats: the asynchronous perf_analyzer finds its request by it. */
struct id {
    uint8_t count;
    char text[ID_BYTES];
};

/* What a client asks for. Everything that is not a question about the model is a prediction. */
enum question { PREDICT, SERVER_METADATA, MODEL_METADATA, MODEL_CONFIG, MODEL_STATISTICS, NOT_A_PATH };

/* HTTP/2. */
struct stream {
    uint8_t asked, begun;           /* a question; the body's first bytes have been seen */
    struct id id;
};

struct connection {
    int fd;
    enum { UNKNOWN, HTTP1, HTTP2 } speaks;
    uint64_t body_left;             /* HTTP/1: of the request; HTTP/2: of the frame being skipped */
    enum question asked;            /* HTTP/1: by the request whose body is being skipped */
    struct id id;                   /* HTTP/1: its id */
    int begun;                      /* HTTP/1: the body's first bytes have been seen */
    uint32_t unacked;               /* HTTP/2: DATA bytes the connection's window has not been given back */
    uint8_t paths[HPACK_ENTRIES];   /* HTTP/2: the question in each entry of the client's dynamic table, a ring */
    unsigned entries;               /* HTTP/2: how many were ever made */
    struct stream streams[STREAMS]; /* HTTP/2: by number, modulo */
    int waiting, gone;              /* delays: an answer is due; the client left before it was */
    int held;                       /* bytes in head */
    char head[HEAD_BYTES + 1];
};

/* main.c: bytes for the client being served. -1 if they are too many. */
int put(const void *bytes, size_t count);

/* A prediction's request is whole. 1 if its answer comes later, -1 if it cannot. */
int on_prediction(struct connection *c);

/* http1.c, http2.c: what was received. -1 closes the connection. */
void http1_start(void);
int http1_feed(struct connection *c, const char *data, size_t count);
int http1_put_prediction(const struct id *id);
int http2_greet(void);
int http2_feed(struct connection *c, const char *data, size_t count);

/* canned.c: answers about the model, as JSON and as protobuf messages. */
struct bytes {
    const void *at;
    size_t count;
};
extern const struct bytes CANNED_JSON[], CANNED_PROTOBUF[];
enum question question_of_rpc(const char *path, size_t count);
enum question question_of_url(const char *request_line);
void id_in_json(struct id *id, const char *body, size_t count);
void id_in_protobuf(struct id *id, const uint8_t *message, size_t count);

/* delays.c: answers that wait for a seeded time. */
int64_t now_ns(void);
int delays_start(char **arguments);
int delays_on(void);
int delays_add(struct connection *c, int64_t arrived_ns);
int64_t delays_next_ns(void);
struct connection *delays_pop(int64_t now);
void delays_answered(int64_t at_ns);
void delays_write(void);

#endif
