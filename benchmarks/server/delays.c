/* Answers that wait: each for a time drawn from a seeded lognormal distribution, so that the truth is known.
 *
 * The k-th delay is median x exp(sigma e_k + drift z_k): e is white, z an AR(1) of coefficient phi, both standard
 * normal. So every delay is lognormal with that median and the deviation sqrt(sigma^2 + drift^2), and neighbours are
 * alike as far as drift and phi say. A delay runs from when the server was told that the request is there.
 *
 * What happened to each request is kept in memory, and written when the server ends: three 64-bit integers a request,
 * when it arrived, what was drawn and when its answer was handed to the kernel, in nanoseconds.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "server.h"

enum { MOST_WAITING = 4096, MOST_ROWS = 64 * 1024 * 1024 };

struct row {
    int64_t arrived_ns, drawn_ns, answered_ns;
};
struct due {
    int64_t at_ns;
    struct connection *c;
    size_t row;
};

static const char *log_path;
static uint64_t state;
static double median_ns, sigma, drift, phi, z;
static struct due heap[MOST_WAITING];
static int waiting;
static struct row *rows;
static size_t row_count, popped;

int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Uniform in (0, 1]; splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
static double uniform(void) {
    uint64_t x = state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return ((x ^ x >> 31) >> 11) * 0x1p-53 + 0x1p-53;
}

/* Two standard normals (Box and Muller, 1958). */
static void normals(double *a, double *b) {
    double radius = sqrt(-2 * log(uniform())), angle = 2 * M_PI * uniform();
    *a = radius * cos(angle);
    *b = radius * sin(angle);
}

/* LOG SEED MEDIAN_US SIGMA DRIFT PHI */
int delays_start(char **arguments) {
    log_path = arguments[0];
    state = strtoull(arguments[1], NULL, 10);
    median_ns = strtod(arguments[2], NULL) * 1e3;
    sigma = strtod(arguments[3], NULL);
    drift = strtod(arguments[4], NULL);
    phi = strtod(arguments[5], NULL);
    double ignored;
    normals(&z, &ignored);
    rows = mmap(NULL, MOST_ROWS * sizeof *rows, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return rows == MAP_FAILED ? -1 : 0;
}

int delays_on(void) {
    return log_path != NULL;
}

int delays_add(struct connection *c, int64_t arrived_ns) {
    double e, innovation;
    if (waiting == MOST_WAITING || row_count == MOST_ROWS) return -1;
    normals(&e, &innovation);
    z = phi * z + sqrt(1 - phi * phi) * innovation;
    int64_t drawn_ns = median_ns * exp(sigma * e + drift * z);
    struct due added = {arrived_ns + drawn_ns, c, row_count};
    rows[row_count++] = (struct row){arrived_ns, drawn_ns, 0};
    int at = waiting++;
    for (; at && heap[(at - 1) / 2].at_ns > added.at_ns; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = added;
    return 0;
}

/* When the next answer is due; -1 if none is. */
int64_t delays_next_ns(void) {
    return waiting ? heap[0].at_ns : -1;
}

/* The connection whose answer is due by now, or NULL. */
struct connection *delays_pop(int64_t now) {
    if (!waiting || heap[0].at_ns > now) return NULL;
    struct connection *first = heap[0].c;
    popped = heap[0].row;
    struct due last = heap[--waiting];
    int at = 0;
    for (int child; (child = 2 * at + 1) < waiting; at = child) {
        if (child + 1 < waiting && heap[child + 1].at_ns < heap[child].at_ns) child++;
        if (heap[child].at_ns >= last.at_ns) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

/* The answer of the connection popped last is on its way. */
void delays_answered(int64_t at_ns) {
    rows[popped].answered_ns = at_ns;
}

void delays_write(void) {
    FILE *file = log_path ? fopen(log_path, "wb") : NULL;
    if (!file) return;
    fwrite(rows, sizeof *rows, row_count, file);
    fclose(file);
}
