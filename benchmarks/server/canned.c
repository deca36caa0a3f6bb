/* What is known of KServe's V2 protocol: answers about the model `null`, for which perf_analyzer asks before it
 * measures, and where the id of a prediction is. */
#define _GNU_SOURCE
#include <string.h>

#include "server.h"

#define TEXT(literal) {literal, sizeof literal - 1}

/* One input x and one output y, FP32 of any length, no batch dimension; statistics that stand still. */
const struct bytes CANNED_JSON[] = {
    /* Also what tritonclient's HTTP client takes for a prediction. */
    [PREDICT] = TEXT("{\"model_name\":\"null\",\"model_version\":\"1\",\"outputs\":[]}"),
    [SERVER_METADATA] = TEXT("{\"name\":\"null\",\"version\":\"1\",\"extensions\":[]}"),
    [MODEL_METADATA] = TEXT("{\"name\":\"null\",\"versions\":[\"1\"],\"platform\":\"none\","
                            "\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1]}],"
                            "\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[-1]}]}"),
    [MODEL_CONFIG] = TEXT("{\"name\":\"null\",\"platform\":\"none\",\"max_batch_size\":0,"
                          "\"input\":[{\"name\":\"x\",\"data_type\":\"TYPE_FP32\",\"dims\":[-1]}],"
                          "\"output\":[{\"name\":\"y\",\"data_type\":\"TYPE_FP32\",\"dims\":[-1]}]}"),
    [MODEL_STATISTICS] =
        TEXT("{\"model_stats\":[{\"name\":\"null\",\"version\":\"1\",\"last_inference\":0,\"inference_count\":0,"
             "\"execution_count\":0,\"inference_stats\":{\"success\":{\"count\":0,\"ns\":0},"
             "\"fail\":{\"count\":0,\"ns\":0},\"queue\":{\"count\":0,\"ns\":0},"
             "\"compute_input\":{\"count\":0,\"ns\":0},\"compute_infer\":{\"count\":0,\"ns\":0},"
             "\"compute_output\":{\"count\":0,\"ns\":0},\"cache_hit\":{\"count\":0,\"ns\":0},"
             "\"cache_miss\":{\"count\":0,\"ns\":0}},\"batch_stats\":[]}]}"),
};

/* A dimension of -1 as protobuf writes it, ten bytes, packed. */
#define ANY "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
#define METADATA(name) "\x15\x0a\x01" name "\x12\x04" "FP32" "\x1a" ANY
#define NAMED_NULL "\x0a\x04null"

/* inference.ServerMetadataResponse and so on, of grpc_service.proto and model_config.proto (TYPE_FP32 is 11). */
const struct bytes CANNED_PROTOBUF[] = {
    [PREDICT] = TEXT(""),
    [SERVER_METADATA] = TEXT(NAMED_NULL "\x12\x01" "1"),
    [MODEL_METADATA] = TEXT(NAMED_NULL "\x12\x01" "1" "\x1a\x04none" "\x22" METADATA("x") "\x2a" METADATA("y")),
    [MODEL_CONFIG] = TEXT("\x0a\x32" NAMED_NULL "\x12\x04none" "\x2a\x11\x0a\x01x\x10\x0b\x22" ANY
                          "\x32\x11\x0a\x01y\x10\x0b\x1a" ANY),
    [MODEL_STATISTICS] = TEXT("\x0a\x09" NAMED_NULL "\x12\x01" "1"),
};

static const char *const RPCS[] = {
    [SERVER_METADATA] = "/ServerMetadata",
    [MODEL_METADATA] = "/ModelMetadata",
    [MODEL_CONFIG] = "/ModelConfig",
    [MODEL_STATISTICS] = "/ModelStatistics",
};

enum question question_of_rpc(const char *path, size_t count) {
    for (enum question asked = SERVER_METADATA; asked <= MODEL_STATISTICS; asked++) {
        size_t length = strlen(RPCS[asked]);
        if (count >= length && !memcmp(path + count - length, RPCS[asked], length)) return asked;
    }
    return PREDICT;
}

enum question question_of_url(const char *request_line) {
    if (strncmp(request_line, "GET ", 4)) return PREDICT;
    const char *path = request_line + 4, *end = path + strcspn(path, " ?\r");
    if (end - path >= 7 && !memcmp(end - 7, "/config", 7)) return MODEL_CONFIG;
    if (end - path >= 6 && !memcmp(end - 6, "/stats", 6)) return MODEL_STATISTICS;
    return memmem(path, end - path, "/models/", 8) ? MODEL_METADATA : SERVER_METADATA;
}

static void take(struct id *id, const void *text, size_t count) {
    if (count > ID_BYTES) return;
    memcpy(id->text, text, count);
    id->count = count;
}

/* Looks at no more of a body than what came first. */
void id_in_json(struct id *id, const char *body, size_t count) {
    static const char KEY[] = "\"id\":\"";
    if (!count || *body != '{') return;
    if (count > 256) count = 256;
    const char *end = body + count, *key = memmem(body, count, KEY, sizeof KEY - 1);
    if (!key) return;
    key += sizeof KEY - 1;
    const char *quote = memchr(key, '"', end - key);
    if (quote) take(id, key, quote - key);
}

/* A ModelInferRequest, gRPC's prefix included: 1 is the model's name, 2 its version, 3 the id. */
void id_in_protobuf(struct id *id, const uint8_t *message, size_t count) {
    const uint8_t *at = message + 5, *end = message + count;
    while (end - at >= 2 && (at[0] == 0x0a || at[0] == 0x12)) at += 2 + at[1];
    if (end - at >= 2 && at[0] == 0x1a && end - at >= 2 + at[1]) take(id, at + 2, at[1]);
}
