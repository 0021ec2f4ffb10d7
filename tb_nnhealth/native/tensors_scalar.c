/* The kernels in plain C, for any processor and compiler. Four lanes side by side hide the latency of additions. */
#include <math.h>
#include <string.h>

#include "tensors.h"

#define LANES 4

#define SUMS(NAME, TYPE)                                                                                              \
    static void NAME(const TYPE *x, size_t n, struct sums *out) {                                                     \
        double sum[LANES] = {0}, square[LANES] = {0};                                                                 \
        TYPE low[LANES], high[LANES];                                                                                 \
        int64_t zeros[LANES] = {0};                                                                                   \
        for (int l = 0; l < LANES; l++) low[l] = high[l] = x[0];                                                      \
        size_t i = 0;                                                                                                 \
        for (; i + LANES <= n; i += LANES)                                                                            \
            for (int l = 0; l < LANES; l++) {                                                                         \
                TYPE v = x[i + l];                                                                                    \
                double wide = v;                                                                                      \
                sum[l] += wide, square[l] += wide * wide;                                                             \
                low[l] = v < low[l] ? v : low[l], high[l] = v > high[l] ? v : high[l];                                \
                zeros[l] += v == 0;                                                                                   \
            }                                                                                                         \
        for (; i < n; i++) {                                                                                          \
            double wide = x[i];                                                                                       \
            sum[0] += wide, square[0] += wide * wide, zeros[0] += x[i] == 0;                                          \
            low[0] = x[i] < low[0] ? x[i] : low[0], high[0] = x[i] > high[0] ? x[i] : high[0];                        \
        }                                                                                                             \
        *out = (struct sums){0, 0, low[0], high[0], 0};                                                               \
        for (int l = 0; l < LANES; l++) {                                                                             \
            out->sum += sum[l], out->square += square[l], out->zeros += zeros[l];                                     \
            out->low = low[l] < out->low ? low[l] : out->low, out->high = high[l] > out->high ? high[l] : out->high;  \
        }                                                                                                             \
    }

SUMS(sums_float32, float)
SUMS(sums_float64, double)

static void quick_sums(const float *x, struct sums *out) { sums_float32(x, BLOCK, out); }

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void widen_float16(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t sign = (uint32_t)(x[i] & 0x8000) << 16, rest = x[i] & 0x7FFF;
        /* The exponent's bias differs by 112; a product sets it right, for denormal numbers as well. */
        float magnitude = rest < 0x7C00 ? from_bits(rest << 13) * 0x1p112f : from_bits(0x7F800000 | rest << 13);
        uint32_t bits;
        memcpy(&bits, &magnitude, sizeof bits);
        out[i] = from_bits(sign | bits);
    }
}

static void widen_bfloat16(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = from_bits((uint32_t)x[i] << 16);
}

static void subtract(const float *x, const float *y, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = x[i] - y[i];
}

static void copy(const float *x, size_t n, float *out) { memcpy(out, x, n * sizeof *x); }

/* Tables take turns: two elements alike need not wait for each other. */
void count_exponents(const uint32_t *x, size_t n, uint32_t counts[256]) {
    uint32_t turns[4][256] = {{0}};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) turns[k][x[i + k] >> 23 & 0xFF]++;
    for (; i < n; i++) turns[0][x[i] >> 23 & 0xFF]++;
    for (int e = 0; e < 256; e++) counts[e] += turns[0][e] + turns[1][e] + turns[2][e] + turns[3][e];
}

const struct kernels kernels_scalar = {
    "scalar", sums_float32, quick_sums, sums_float64, widen_float16, widen_bfloat16, subtract, copy, count_exponents,
};
