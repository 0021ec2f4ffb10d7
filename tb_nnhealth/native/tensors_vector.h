/* The kernels in vectors of BITS bits. The including file defines BITS, KERNEL (how functions here are declared), the
   operations LOAD, LOAD64, LOAD_WIDE, STORE, MIN, MAX, FMA, MIN64, MAX64, FMA64, LOWER and UPPER (half of a vector, as
   doubles) and, of FLOATS half-precision numbers, WIDEN_HALVES. */
#include <string.h>

#include "tensors.h"

#define FLOATS (BITS / 32)
#define DOUBLES (BITS / 64)

typedef float floats __attribute__((vector_size(BITS / 8)));
typedef double doubles __attribute__((vector_size(BITS / 8)));
typedef int32_t int32s __attribute__((vector_size(BITS / 8)));
typedef int64_t int64s __attribute__((vector_size(BITS / 8)));

/* Four sums of each kind: as many as hide the latency of an addition. */
KERNEL sums_float32(const float *x, size_t n, struct sums *out) {
    doubles sum[4] = {0}, square[4] = {0};
    floats low = (floats){0} + x[0], high = low;
    int32s zeros = {0};
    const floats zero = {0};
    size_t i = 0;
    for (; i + 2 * FLOATS <= n; i += 2 * FLOATS) {
        floats a = LOAD(x + i), b = LOAD(x + i + FLOATS);
        for (int k = 0; k < 4; k++) {
            doubles wide = LOAD_WIDE(x + i + k * DOUBLES);
            sum[k] += wide, square[k] = FMA64(wide, wide, square[k]);
        }
        low = MIN(low, MIN(a, b)), high = MAX(high, MAX(a, b));
        zeros -= (a == zero) + (b == zero);
    }
    sum[0] += sum[1] + (sum[2] + sum[3]), square[0] += square[1] + (square[2] + square[3]);
    *out = (struct sums){0, 0, low[0], high[0], 0};
    for (int l = 0; l < DOUBLES; l++) out->sum += sum[0][l], out->square += square[0][l];
    for (int l = 0; l < FLOATS; l++) {
        out->zeros += zeros[l];
        out->low = low[l] < out->low ? low[l] : out->low, out->high = high[l] > out->high ? high[l] : out->high;
    }
    for (; i < n; i++) {
        double wide = x[i];
        out->sum += wide, out->square += wide * wide, out->zeros += wide == 0;
        out->low = wide < out->low ? wide : out->low, out->high = wide > out->high ? wide : out->high;
    }
}

/* Eight vectors become one in float32 before they are added in float64: to widen each costs as much as all the rest. */
KERNEL quick_sums(const float *x, struct sums *out) {
    doubles sum[2] = {{0}, {0}}, square[2] = {{0}, {0}};
    floats low = LOAD(x), high = low;
    int32s zeros = {0};
    const floats zero = {0};
    for (size_t i = 0; i < BLOCK; i += 8 * FLOATS) {
        floats a = LOAD(x + i), b = LOAD(x + i + FLOATS), c = LOAD(x + i + 2 * FLOATS), d = LOAD(x + i + 3 * FLOATS);
        floats e = LOAD(x + i + 4 * FLOATS), f = LOAD(x + i + 5 * FLOATS);
        floats g = LOAD(x + i + 6 * FLOATS), h = LOAD(x + i + 7 * FLOATS);
        floats s = ((a + b) + (c + d)) + ((e + f) + (g + h));
        floats q = FMA(d, d, FMA(c, c, FMA(b, b, a * a))) + FMA(h, h, FMA(g, g, FMA(f, f, e * e)));
        sum[0] += LOWER(s), sum[1] += UPPER(s), square[0] += LOWER(q), square[1] += UPPER(q);
        low = MIN(low, MIN(MIN(MIN(a, b), MIN(c, d)), MIN(MIN(e, f), MIN(g, h))));
        high = MAX(high, MAX(MAX(MAX(a, b), MAX(c, d)), MAX(MAX(e, f), MAX(g, h))));
        zeros -= (((a == zero) + (b == zero)) + ((c == zero) + (d == zero))) +
                 (((e == zero) + (f == zero)) + ((g == zero) + (h == zero)));
    }
    sum[0] += sum[1], square[0] += square[1];
    *out = (struct sums){0, 0, low[0], high[0], 0};
    for (int l = 0; l < DOUBLES; l++) out->sum += sum[0][l], out->square += square[0][l];
    for (int l = 0; l < FLOATS; l++) {
        out->zeros += zeros[l];
        out->low = low[l] < out->low ? low[l] : out->low, out->high = high[l] > out->high ? high[l] : out->high;
    }
}

KERNEL sums_float64(const double *x, size_t n, struct sums *out) {
    doubles sum[2] = {0}, square[2] = {0};
    doubles low = (doubles){0} + x[0], high = low;
    int64s zeros = {0};
    const doubles zero = {0};
    size_t i = 0;
    for (; i + 2 * DOUBLES <= n; i += 2 * DOUBLES) {
        doubles a = LOAD64(x + i), b = LOAD64(x + i + DOUBLES);
        sum[0] += a, sum[1] += b;
        square[0] = FMA64(a, a, square[0]), square[1] = FMA64(b, b, square[1]);
        low = MIN64(low, MIN64(a, b)), high = MAX64(high, MAX64(a, b));
        zeros -= (a == zero) + (b == zero);
    }
    sum[0] += sum[1], square[0] += square[1];
    *out = (struct sums){0, 0, low[0], high[0], 0};
    for (int l = 0; l < DOUBLES; l++) {
        out->sum += sum[0][l], out->square += square[0][l], out->zeros += zeros[l];
        out->low = low[l] < out->low ? low[l] : out->low, out->high = high[l] > out->high ? high[l] : out->high;
    }
    for (; i < n; i++) {
        out->sum += x[i], out->square += x[i] * x[i], out->zeros += x[i] == 0;
        out->low = x[i] < out->low ? x[i] : out->low, out->high = x[i] > out->high ? x[i] : out->high;
    }
}

/* What is left over goes through a whole vector beside it. */
KERNEL widen_float16(const uint16_t *x, size_t n, float *out) {
    size_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) STORE(out + i, WIDEN_HALVES(x + i));
    if (i < n) {
        uint16_t rest[FLOATS] = {0};
        float wide[FLOATS];
        memcpy(rest, x + i, (n - i) * sizeof *x);
        STORE(wide, WIDEN_HALVES(rest));
        memcpy(out + i, wide, (n - i) * sizeof *out);
    }
}

KERNEL widen_bfloat16(const uint16_t *x, size_t n, float *out) {
    uint32_t *bits = (uint32_t *)(void *)out;
    for (size_t i = 0; i < n; i++) bits[i] = (uint32_t)x[i] << 16;
}

KERNEL subtract(const float *x, const float *y, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = x[i] - y[i];
}

/* memcpy is not to be had at this speed everywhere: string moves are slow where source and destination lie alike. */
KERNEL copy(const float *x, size_t n, float *out) {
    size_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) STORE(out + i, LOAD(x + i));
    if (i < n) memcpy(out + i, x + i, (n - i) * sizeof *x);
}
