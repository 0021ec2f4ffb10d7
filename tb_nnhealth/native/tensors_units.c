/* Units of a tensor: silent ones, saturated elements, copies. */
#include "tensors_units.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_BETWEEN 8 /* looks at whether all units are known to be alive */

/* Shifted by one, so that the sign is lost and only zeros are zero. */
#define ALIVE(NAME, WORD)                                                                                             \
    static void NAME(const WORD *x, size_t outer, size_t units, size_t inner, uint8_t *alive) {                       \
        if (inner == 1) {                                                                                             \
            for (size_t o = 0; o < outer; o++) {                                                                      \
                for (size_t u = 0; u < units; u++) alive[u] |= (WORD)(x[o * units + u] << 1) != 0;                    \
                if (o % ROWS_BETWEEN == 0 && !memchr(alive, 0, units)) return;                                        \
            }                                                                                                         \
            return;                                                                                                   \
        }                                                                                                             \
        for (size_t u = 0; u < units; u++)                                                                            \
            for (size_t o = 0; o < outer && !alive[u]; o++)                                                           \
                for (size_t i = 0; i < inner && !alive[u]; i++)                                                       \
                    alive[u] = (WORD)(x[(o * units + u) * inner + i] << 1) != 0;                                      \
    }

ALIVE(alive_16, uint16_t)
ALIVE(alive_32, uint32_t)
ALIVE(alive_64, uint64_t)

void alive_units(const void *x, size_t size, size_t outer, size_t units, size_t inner, uint8_t *alive) {
    memset(alive, 0, units);
    if (size == 2) alive_16(x, outer, units, inner, alive);
    else if (size == 4) alive_32(x, outer, units, inner, alive);
    else alive_64(x, outer, units, inner, alive);
}

int64_t silent_units(const uint8_t *alive, int32_t *counts, size_t units, int32_t most) {
    int64_t found = 0;
    for (size_t u = 0; u < units; u++) {
        counts[u] = alive[u] ? 0 : counts[u] + 1;
        found += counts[u] >= most;
    }
    return found;
}

int64_t outside(const struct job *job, double low, double high) {
    double room[BLOCK];
    int64_t count = 0;
    for (int64_t start = 0; start < job->numel; start += BLOCK) {
        size_t n = job->numel - start < BLOCK ? (size_t)(job->numel - start) : BLOCK;
        const void *x = block_of(job, start, n, room);
        int32_t found = 0;
        if (job->dtype == FLOAT64) {
            for (size_t i = 0; i < n; i++) found += (((const double *)x)[i] < low) | (((const double *)x)[i] > high);
        } else {
            float least = (float)low, most = (float)high;
            for (size_t i = 0; i < n; i++) found += (((const float *)x)[i] < least) | (((const float *)x)[i] > most);
        }
        count += found;
    }
    return count;
}

static uint64_t bits_of(const char *x, size_t size) {
    uint64_t bits = 0;
    if (size == 2) {
        uint16_t half;
        memcpy(&half, x, sizeof half);
        bits = (uint16_t)(half << 1) ? half : 0;
    } else if (size == 4) {
        uint32_t word;
        memcpy(&word, x, sizeof word);
        bits = word << 1 ? word : 0;
    } else {
        memcpy(&bits, x, sizeof bits);
        bits = bits << 1 ? bits : 0;
    }
    return bits;
}

static void hash_rows(const char *x, size_t size, size_t rows, size_t columns, size_t step, uint64_t *hashes) {
    for (size_t r = 0; r < rows; r++) {
        uint64_t hash = 0x9E3779B97F4A7C15u;
        for (size_t c = 0; c < columns; c += step) {
            hash = (hash ^ bits_of(x + (r * columns + c) * size, size)) * 0xBF58476D1CE4E5B9u;
            hash ^= hash >> 29;
        }
        hashes[r] = hash;
    }
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int64_t repeated(uint64_t *hashes, size_t rows) {
    int64_t count = 0;
    qsort(hashes, rows, sizeof *hashes, compare);
    for (size_t r = 1; r < rows; r++) count += hashes[r] == hashes[r - 1];
    return count;
}

int64_t copied_rows(const void *x, size_t size, size_t rows, size_t columns) {
    const size_t sampled = 32; /* columns that tell most rows apart */
    uint64_t *hashes = malloc((rows ? rows : 1) * sizeof *hashes);
    if (!hashes) return -1;
    int64_t count = 1;
    if (columns > sampled) {
        hash_rows(x, size, rows, columns, columns / sampled, hashes);
        count = repeated(hashes, rows);
    }
    if (count) {
        hash_rows(x, size, rows, columns, 1, hashes);
        count = repeated(hashes, rows);
    }
    free(hashes);
    return count;
}
