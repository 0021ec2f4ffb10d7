/* An even part of a batch: how far its samples lie apart, and fingerprints of their bits. */
#include "tensors_batch.h"

#include <math.h>
#include <string.h>

#define POSITIONS 512 /* looked at side by side, so that their sums stay in the first-level cache */

static const size_t SIZES[BATCH_TYPES] = {4, 8, 2, 2, 8, 4, 2, 1, 1};

size_t size_of_batch(int64_t type) { return type >= 0 && type < BATCH_TYPES ? SIZES[type] : 0; }

static const char *row(const struct batch *b, int64_t sample, int64_t position) {
    return (const char *)(intptr_t)b->address + (sample * b->apart + position * b->step) * (int64_t)SIZES[b->type];
}

/* `n` numbers of a row from `position` on. */
static void numbers(const struct batch *b, int64_t sample, int64_t position, size_t n, double *out) {
    const char *x = row(b, sample, position);
    size_t step = (size_t)b->step;
    float wide;
    switch (b->type) {
#define CASE(TYPE, C)                                                                                                 \
    case TYPE:                                                                                                        \
        for (size_t i = 0; i < n; i++) {                                                                              \
            C v;                                                                                                      \
            memcpy(&v, x + i * step * sizeof v, sizeof v);                                                            \
            out[i] = (double)v;                                                                                       \
        }                                                                                                             \
        break;
        CASE(FLOAT32, float)
        CASE(FLOAT64, double)
        CASE(INT64, int64_t)
        CASE(INT32, int32_t)
        CASE(INT16, int16_t)
        CASE(INT8, int8_t)
        CASE(UINT8, uint8_t)
#undef CASE
    default:
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, x + i * step * sizeof half, sizeof half);
            (b->type == FLOAT16 ? kernels->widen_float16 : kernels->widen_bfloat16)(&half, 1, &wide);
            out[i] = wide;
        }
    }
}

double spread(const struct batch *b) {
    double first[POSITIONS], sum[POSITIONS], square[POSITIONS], here[POSITIONS], total = 0;
    for (int64_t start = 0; start < b->positions; start += POSITIONS) {
        size_t n = b->positions - start < POSITIONS ? (size_t)(b->positions - start) : POSITIONS;
        numbers(b, 0, start, n, first);
        memset(sum, 0, sizeof sum), memset(square, 0, sizeof square);
        for (int64_t sample = 1; sample < b->samples; sample++) {
            numbers(b, sample, start, n, here);
            for (size_t i = 0; i < n; i++) {
                double d = here[i] - first[i]; /* from a sample, so that equal samples are exactly 0 apart */
                sum[i] += d, square[i] += d * d;
            }
        }
        for (size_t i = 0; i < n; i++) {
            double rest = square[i] - sum[i] * (sum[i] / (double)b->samples);
            total += rest < 0 ? 0 : rest;
        }
    }
    return sqrt(total / ((double)b->samples * (double)b->positions));
}

int64_t fingerprint(const struct batch *b, const int64_t *across, const int64_t *down, int64_t *samples) {
    uint64_t whole = 0;
    size_t size = SIZES[b->type], step = (size_t)b->step;
    for (int64_t sample = 0; sample < b->samples; sample++) {
        const char *x = row(b, sample, 0);
        uint64_t hash = 0;
        for (size_t i = 0; i < (size_t)b->positions; i++, x += step * size) {
            if (b->type == FLOAT64) { /* as two halves, or the uppermost bits would count for little */
                int32_t halves[2];
                memcpy(halves, x, sizeof halves);
                hash += (uint64_t)(int64_t)halves[0] * (uint64_t)across[2 * i];
                hash += (uint64_t)(int64_t)halves[1] * (uint64_t)across[2 * i + 1];
                continue;
            }
            int64_t word;
            int32_t word4;
            int16_t word2;
            if (size == 8) memcpy(&word, x, 8);
            else if (size == 4) memcpy(&word4, x, 4), word = word4;
            else if (size == 2) memcpy(&word2, x, 2), word = word2;
            else word = *(const uint8_t *)x;
            hash += (uint64_t)word * (uint64_t)across[i];
        }
        memcpy(samples + sample, &hash, sizeof hash);
        whole += hash * (uint64_t)down[sample];
    }
    int64_t result;
    memcpy(&result, &whole, sizeof result);
    return result;
}
