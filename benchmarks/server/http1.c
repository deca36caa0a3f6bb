/* HTTP/1.1: requests with a Content-Length, answered when the body is in. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server.h"

static char prediction[256];
static int prediction_bytes;

static int head_of(char *to, size_t room, size_t body_bytes) {
    return snprintf(to, room, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                    body_bytes);
}

void http1_start(void) {
    const struct bytes *body = &CANNED_JSON[PREDICT];
    prediction_bytes = head_of(prediction, sizeof prediction, body->count);
    memcpy(prediction + prediction_bytes, body->at, body->count);
    prediction_bytes += body->count;
}

int http1_put_prediction(const struct id *id) {
    if (!id->count) return put(prediction, prediction_bytes);
    char head[128], body[128];
    int count = snprintf(body, sizeof body, "{\"id\":\"%.*s\",%s", id->count, id->text,
                         (const char *)CANNED_JSON[PREDICT].at + 1);
    return put(head, head_of(head, sizeof head, count)) || put(body, count) ? -1 : 0;
}

static int answer(struct connection *c) {
    if (c->asked != PREDICT) {
        char head[128];
        const struct bytes *body = &CANNED_JSON[c->asked];
        return put(head, head_of(head, sizeof head, body->count)) || put(body->at, body->count) ? -1 : 0;
    }
    int later = on_prediction(c);
    return later < 0 ? -1 : later ? 0 : http1_put_prediction(&c->id);
}

int http1_feed(struct connection *c, const char *data, size_t count) {
    while (count) {
        if (!c->body_left) {
            size_t room = HEAD_BYTES - c->held, taken = count < room ? count : room;
            memcpy(c->head + c->held, data, taken);
            int before = c->held;
            c->held += taken;
            c->head[c->held] = 0;
            char *end = memmem(c->head, c->held, "\r\n\r\n", 4);
            if (!end) return taken == room ? -1 : 0;
            size_t head_bytes = end + 4 - c->head;
            data += head_bytes - before, count -= head_bytes - before;
            *end = 0;
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            c->body_left = length ? strtoull(length + 17, NULL, 10) : 0;
            c->asked = question_of_url(c->head);
            c->held = 0;
            c->id.count = c->begun = 0;
            if (strcasestr(c->head, "\r\nexpect:") && put("HTTP/1.1 100 Continue\r\n\r\n", 25)) return -1;
            if (!c->body_left && answer(c)) return -1;
            continue;
        }
        size_t skip = count < c->body_left ? count : c->body_left;
        if (!c->begun) id_in_json(&c->id, data, skip);
        c->begun = 1;
        c->body_left -= skip, data += skip, count -= skip;
        if (!c->body_left && answer(c)) return -1;
    }
    return 0;
}
