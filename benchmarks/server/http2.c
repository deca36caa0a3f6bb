/* Cleartext HTTP/2 with gRPC's trailers: every stream is answered when its END_STREAM is in.
 *
 * Of a header block only the path is read, and only where it is not in Huffman's code (gRPC's own clients do not use
 * it): a stream whose path is not understood is a prediction.
 */
#include <arpa/inet.h>
#include <string.h>

#include "server.h"

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8, CONTINUATION = 9 };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum { STATIC_ENTRIES = 61, STATIC_PATH = 4, STATIC_PATH_INDEX = 5, FRAME_HEADER = 9 };

/* SETTINGS_INITIAL_WINDOW_SIZE 2^31-1 and as much for the connection: flow control never stops the client. */
static const uint8_t GREETING[] = {0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff,
                                   0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0};
static const uint8_t SETTINGS_ACK[] = {0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0};
/* :status 200, content-type application/grpc | grpc-status 0 */
static const uint8_t GRPC_HEADERS[] = "\x88\x0f\x10\x10" "application/grpc";
static const uint8_t GRPC_TRAILERS[] = "\x00\x0bgrpc-status\x01" "0";

/* Of a ModelInferResponse: parameters["triton_final_response"] = true, and an empty output. Without them the
 * asynchronous perf_analyzer does not count an answer. */
static const uint8_t FINAL[] = "\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01"
                               "\x2a\x0c\x0a\x01y\x12\x04" "FP32" "\x1a\x01\x00" "\x32\x00";

int http2_greet(void) {
    return put(GREETING, sizeof GREETING);
}

static int put_frame(int kind, int flags, uint32_t stream, const void *payload, uint32_t count) {
    uint32_t id = htonl(stream);
    uint8_t header[FRAME_HEADER] = {count >> 16, count >> 8, count, kind, flags};
    memcpy(header + 5, &id, 4);
    return put(header, sizeof header) || put(payload, count) ? -1 : 0;
}

static int answer(struct connection *c, uint32_t stream) {
    enum question asked = c->streams[stream / 2 % STREAMS].asked;
    const struct id *id = &c->streams[stream / 2 % STREAMS].id;
    struct bytes body = CANNED_PROTOBUF[asked];
    uint8_t repeated[2 + ID_BYTES + sizeof FINAL] = {0x1a, id->count};
    if (asked == PREDICT && id->count) {
        memcpy(repeated + 2, id->text, id->count);
        memcpy(repeated + 2 + id->count, FINAL, sizeof FINAL - 1);
        body = (struct bytes){repeated, 2 + id->count + sizeof FINAL - 1};
    }
    uint8_t message[512] = {0, 0, 0, body.count >> 8, body.count};
    if (asked == PREDICT && on_prediction(c)) return -1;
    memcpy(message + 5, body.at, body.count);
    return put_frame(HEADERS, END_HEADERS, stream, GRPC_HEADERS, sizeof GRPC_HEADERS - 1) ||
                   put_frame(DATA, 0, stream, message, 5 + body.count) ||
                   put_frame(HEADERS, END_HEADERS | END_STREAM, stream, GRPC_TRAILERS, sizeof GRPC_TRAILERS - 1)
               ? -1
               : 0;
}

/* RFC 7541, 5.1: an integer with a prefix of so many bits. */
static uint32_t integer(const uint8_t **at, const uint8_t *end, int bits) {
    uint32_t most = (1u << bits) - 1, value = *(*at)++ & most;
    if (value < most) return value;
    for (int shift = 0; *at < end && shift < 28; shift += 7) {
        uint8_t byte = *(*at)++;
        value += (byte & 0x7fu) << shift;
        if (!(byte & 0x80)) break;
    }
    return value;
}

/* 5.2. Text in Huffman's code is skipped: no bytes. */
static struct bytes text(const uint8_t **at, const uint8_t *end) {
    struct bytes found = {*at, 0};
    if (*at == end) return found;
    int huffman = **at & 0x80;
    uint32_t count = integer(at, end, 7);
    if (count > (size_t)(end - *at)) count = end - *at;
    found.at = *at;
    found.count = huffman ? 0 : count;
    *at += count;
    return found;
}

/* An entry's place in the ring does not depend on what the table's size has evicted. */
static uint8_t *entry(struct connection *c, uint32_t index) {
    return &c->paths[(c->entries - (index - STATIC_ENTRIES)) % HPACK_ENTRIES];
}

static enum question question_in(struct connection *c, const uint8_t *at, const uint8_t *end) {
    enum question asked = PREDICT;
    while (at < end) {
        uint8_t first = *at;
        if (first & 0x80) {
            uint32_t index = integer(&at, end, 7);
            if (index > STATIC_ENTRIES && *entry(c, index) != NOT_A_PATH) asked = *entry(c, index);
        } else if ((first & 0xe0) == 0x20) {
            integer(&at, end, 5);
        } else {
            uint32_t index = integer(&at, end, first & 0x40 ? 6 : 4);
            struct bytes name = index ? (struct bytes){"", 0} : text(&at, end), value = text(&at, end);
            int is_path = index == STATIC_PATH || index == STATIC_PATH_INDEX ||
                          (index > STATIC_ENTRIES && *entry(c, index) != NOT_A_PATH) ||
                          (name.count == 5 && !memcmp(name.at, ":path", 5));
            enum question found = is_path ? question_of_rpc(value.at, value.count) : NOT_A_PATH;
            if (is_path) asked = found;
            if (first & 0x40) c->paths[c->entries++ % HPACK_ENTRIES] = found;
        }
    }
    return asked;
}

/* One frame's header is in ``h``; so is all of a PING and of HEADERS. Of other payloads, which the caller skips,
 * ``here`` is what came with the header. */
static int on_frame(struct connection *c, const uint8_t *h, uint32_t length, struct bytes here) {
    uint32_t stream = (h[5] & 0x7fu) << 24 | h[6] << 16 | h[7] << 8 | h[8];
    int kind = h[3], flags = h[4];
    if (kind == CONTINUATION) return -1;
    if (kind == SETTINGS && !(flags & ACK)) return put(SETTINGS_ACK, sizeof SETTINGS_ACK);
    if (kind == PING && !(flags & ACK)) return put_frame(PING, ACK, 0, h + FRAME_HEADER, 8);
    if (kind == DATA && (c->unacked += length) > 1u << 29) {
        uint32_t more = htonl(c->unacked);
        c->unacked = 0;
        if (put_frame(WINDOW_UPDATE, 0, 0, &more, 4)) return -1;
    }
    struct stream *asking = &c->streams[stream / 2 % STREAMS];
    if (kind == HEADERS) {
        uint32_t padding = flags & PADDED ? h[FRAME_HEADER] : 0;
        uint32_t skip = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0);
        if (!(flags & END_HEADERS) || skip + padding > length) return -1;
        const uint8_t *block = h + FRAME_HEADER;
        *asking = (struct stream){.asked = question_in(c, block + skip, block + length - padding)};
    } else if (kind == DATA && length && !asking->begun) {
        asking->begun = 1;
        id_in_protobuf(&asking->id, here.at, here.count < length ? here.count : length);
    }
    return (kind == DATA || kind == HEADERS) && flags & END_STREAM ? answer(c, stream) : 0;
}

static uint32_t length_of(const struct connection *c) {
    const uint8_t *h = (const uint8_t *)c->head;
    return h[0] << 16 | h[1] << 8 | h[2];
}

static int read_whole(const struct connection *c) {
    return c->head[3] == PING || c->head[3] == HEADERS;
}

/* Bytes of the current frame that are read, as far as is known by now. */
static size_t wanted(const struct connection *c) {
    return FRAME_HEADER + (c->held >= FRAME_HEADER && read_whole(c) ? length_of(c) : 0);
}

int http2_feed(struct connection *c, const char *data, size_t count) {
    while (count) {
        if (c->body_left) {
            size_t skip = count < c->body_left ? count : c->body_left;
            c->body_left -= skip, data += skip, count -= skip;
            continue;
        }
        size_t more = wanted(c) - c->held, taken = count < more ? count : more;
        memcpy(c->head + c->held, data, taken);
        c->held += taken, data += taken, count -= taken;
        if (wanted(c) > HEAD_BYTES || (c->held >= FRAME_HEADER && c->head[3] == PING && length_of(c) != 8)) return -1;
        if ((size_t)c->held < wanted(c)) continue;
        if (on_frame(c, (const uint8_t *)c->head, length_of(c), (struct bytes){data, count})) return -1;
        c->body_left = read_whole(c) ? 0 : length_of(c);
        c->held = 0;
    }
    return 0;
}
