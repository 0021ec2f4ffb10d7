/* Statistics of one tensor, block by block. Blocks are pooled by their means and squared deviations (Chan et al. 1979),
   in float64, so that neither a distant mean nor the number of elements costs digits. */
#include <math.h>
#include <string.h>

#include "tensors.h"

#define DISTANT 1e-7  /* share of the squares below which deviations are summed up anew, around the mean */
#define CLOSE 0.05 /* the same, where the sums are quick ones */
#define MODERATE32 1e15 /* magnitudes beyond which, or under whose inverse, squares near the ends of float32 */
#define CANCELLED 0.05 /* sums smaller than chance leaves them, of which quick ones would tell too few digits */
#define MODERATE 1e150 /* magnitudes beyond which, or under whose inverse, squares leave the range of float64 */

struct total {
    double count, mean, deviation, square, low, high;
    int64_t zeros, nan, inf;
    int immoderate, quick; /* whether some sums were quick ones */
};

static const size_t SIZES[DTYPES] = {4, 8, 2, 2, 8};

size_t size_of(int64_t dtype) { return dtype >= 0 && dtype < DTYPES ? SIZES[dtype] : 0; }

int job_is_sound(const struct job *job) {
    size_t size = size_of(job->dtype);
    if (!size || job->numel <= 0 || !job->address || job->address % (int64_t)size) return 0;
    if (job->operation == READ) return 1;
    if ((job->operation != COPY && job->operation != MINUS) || job->dtype == INT64) return 0;
    return job->other && job->other % (int64_t)size == 0;
}

/* A block in which some elements are not finite. */
#define CAREFUL(NAME, TYPE)                                                                                           \
    static void NAME(const TYPE *x, size_t n, struct sums *out, size_t *finite, struct total *total) {                \
        *out = (struct sums){0, 0, INFINITY, -INFINITY, 0};                                                           \
        *finite = 0;                                                                                                  \
        for (size_t i = 0; i < n; i++) {                                                                              \
            double v = x[i];                                                                                          \
            if (isnan(v)) {                                                                                           \
                total->nan++;                                                                                         \
            } else if (isinf(v)) {                                                                                    \
                total->inf++;                                                                                         \
            } else {                                                                                                  \
                out->sum += v, out->square += v * v, out->zeros += v == 0, ++*finite;                                 \
                out->low = v < out->low ? v : out->low, out->high = v > out->high ? v : out->high;                    \
            }                                                                                                         \
        }                                                                                                             \
    }

/* Sum of the squared deviations of the finite elements from their mean, which `mean` is nearly. */
#define DEVIATION(NAME, TYPE)                                                                                         \
    static double NAME(const TYPE *x, size_t n, double mean) {                                                        \
        double sum[4] = {0}, square[4] = {0}, count = 0;                                                              \
        size_t i = 0;                                                                                                 \
        for (; i < n; i++) {                                                                                          \
            double d = (double)x[i] - mean;                                                                           \
            d = isfinite(x[i]) ? d : 0, count += isfinite(x[i]) ? 1 : 0;                                              \
            sum[i % 4] += d, square[i % 4] += d * d;                                                                  \
        }                                                                                                             \
        double rest = sum[0] + sum[1] + (sum[2] + sum[3]);                                                            \
        double result = square[0] + square[1] + (square[2] + square[3]) - rest * rest / count;                        \
        return result > 0 ? result : 0;                                                                               \
    }

CAREFUL(careful_float32, float)
CAREFUL(careful_float64, double)
DEVIATION(deviation_float32, float)
DEVIATION(deviation_float64, double)

static void pool(struct total *total, const struct sums *block, double count, double mean, double deviation) {
    double all = total->count + count, apart = mean - total->mean;
    total->mean += apart * (count / all);
    total->deviation += deviation + apart * apart * (total->count / all * count);
    total->count = all;
    total->square += block->square, total->zeros += block->zeros;
    total->low = block->low < total->low ? block->low : total->low;
    total->high = block->high > total->high ? block->high : total->high;
}

/* Quick sums where they lose nothing that matters; whether they did not. */
static int quickly(const float *x, struct sums *block) {
    kernels->quick_sums(x, block);
    double top = -block->low > block->high ? -block->low : block->high;
    if (block->low == 0 && block->high == 0) return isfinite(block->square);
    if (!(top < MODERATE32 && top > 1 / MODERATE32)) return 0;
    return block->square - block->sum * (block->sum / BLOCK) > CLOSE * block->square;
}

static void add_block(struct total *total, const void *x, size_t n, int wide, int exact) {
    struct sums block;
    size_t finite = n;
    if (wide) kernels->sums_float64(x, n, &block);
    else if (!exact && n == BLOCK && quickly(x, &block)) total->quick = 1;
    else kernels->sums_float32(x, n, &block);
    if (!isfinite(block.square)) {
        if (wide) careful_float64(x, n, &block, &finite, total);
        else careful_float32(x, n, &block, &finite, total);
        if (!finite) return;
    }
    if (wide) {
        double top = -block.low > block.high ? -block.low : block.high;
        total->immoderate |= top > MODERATE || (top > 0 && top < 1 / MODERATE);
    }
    double mean = block.sum / (double)finite, deviation = block.square - mean * block.sum;
    if (block.low == block.high) mean = block.low, deviation = 0;
    else if (!(deviation > DISTANT * block.square))
        deviation = wide ? deviation_float64(x, n, mean) : deviation_float32(x, n, mean);
    pool(total, &block, (double)finite, mean, deviation);
}

/* The moments anew, of elements divided by the power of two next to the greatest magnitude. */
static void rescale(const struct job *job, struct total *total) {
    const double *x = (const double *)(intptr_t)job->address, *y = (const double *)(intptr_t)job->other;
    double top = -total->low > total->high ? -total->low : total->high;
    int exponent;
    frexp(top, &exponent);
    exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
    double down = ldexp(1, -exponent), sum = 0, square = 0, deviation = 0;
    for (int round = 0; round < 2; round++)
        for (int64_t i = 0; i < job->numel; i++) {
            double v = job->operation == MINUS ? x[i] - y[i] : x[i];
            if (!isfinite(v)) continue;
            v *= down;
            if (round) deviation += (v - sum / total->count) * (v - sum / total->count);
            else sum += v, square += v * v;
        }
    total->mean = ldexp(sum / total->count, exponent);
    total->deviation = deviation, total->square = square;
    total->immoderate = exponent;
}

static void copy_elements(const char *x, char *y, size_t bytes) {
    size_t words = bytes / sizeof(float), rest = bytes % sizeof(float);
    kernels->copy((const float *)(const void *)x, words, (float *)(void *)y);
    memcpy(y + bytes - rest, x + bytes - rest, rest);
}

const void *block_of(const struct job *job, int64_t start, size_t n, double room[BLOCK]) {
    const char *x = (const char *)(intptr_t)job->address + start * (int64_t)SIZES[job->dtype];
    char *y = job->operation == READ ? NULL : (char *)(intptr_t)job->other + start * (int64_t)SIZES[job->dtype];
    float *narrow = (float *)room;
    if (job->operation == COPY) copy_elements(x, y, n * SIZES[job->dtype]);
    if (job->dtype == FLOAT64) {
        if (job->operation != MINUS) return x;
        for (size_t i = 0; i < n; i++) room[i] = ((const double *)x)[i] - ((const double *)y)[i];
        return room;
    }
    if (job->dtype == FLOAT32) {
        if (job->operation != MINUS) return x;
        kernels->subtract((const float *)x, (const float *)y, n, narrow);
        return narrow;
    }
    if (job->dtype == INT64) {
        for (size_t i = 0; i < n; i++) narrow[i] = (float)((const int64_t *)x)[i];
        return narrow;
    }
    void (*widen)(const uint16_t *, size_t, float *) =
        job->dtype == FLOAT16 ? kernels->widen_float16 : kernels->widen_bfloat16;
    widen((const uint16_t *)x, n, narrow);
    if (job->operation == MINUS) {
        widen((const uint16_t *)y, n, narrow + BLOCK);
        kernels->subtract(narrow, narrow + BLOCK, n, narrow);
    }
    return narrow;
}

static int bin_of(int exponent) {
    int clipped = exponent < EXPONENT_LOW ? EXPONENT_LOW : exponent > EXPONENT_HIGH ? EXPONENT_HIGH : exponent;
    return 1 + clipped - EXPONENT_LOW;
}

static void count_float64(const uint64_t *x, size_t n, int64_t *histogram) {
    for (size_t i = 0; i < n; i++) {
        int exponent = (int)(x[i] >> 52 & 0x7FF);
        histogram[exponent == 0x7FF ? HISTOGRAM_BINS - 1 : bin_of(exponent - 1023)]++;
    }
}

static void reduce_once(const struct job *job, int exact, double out[FIELDS]) {
    double room[BLOCK];
    uint32_t counts[256];
    int wide = job->dtype == FLOAT64;
    int64_t *histogram = (int64_t *)(intptr_t)job->histogram;
    struct total total = {.low = INFINITY, .high = -INFINITY};
    if (histogram && !wide) memset(counts, 0, sizeof counts);
    for (int64_t start = 0, pending = 0; start < job->numel; start += BLOCK) {
        size_t n = job->numel - start < BLOCK ? (size_t)(job->numel - start) : BLOCK;
        const void *x = block_of(job, start, n, room);
        add_block(&total, x, n, wide, exact);
        if (!histogram) continue;
        if (wide) {
            count_float64(x, n, histogram);
            continue;
        }
        kernels->count(x, n, counts);
        pending += (int64_t)n;
        if (pending < (1LL << 31) && start + BLOCK < job->numel) continue;
        for (int e = 0; e < 256; e++) histogram[e == 255 ? HISTOGRAM_BINS - 1 : bin_of(e - 127)] += counts[e];
        memset(counts, 0, sizeof counts);
        pending = 0;
    }
    if (histogram) histogram[0] += total.zeros, histogram[1] -= total.zeros; /* their exponent is that of denormals */
    int exponent = 0;
    if (total.immoderate) rescale(job, &total), exponent = total.immoderate;
    double count = total.count;
    out[MEAN] = total.mean, out[STD] = ldexp(sqrt(total.deviation / count), exponent);
    out[RMS] = ldexp(sqrt(total.square / count), exponent);
    out[LOW] = total.low, out[HIGH] = total.high;
    out[ZEROS] = (double)total.zeros, out[NANS] = (double)total.nan, out[INFS] = (double)total.inf;
    if (total.low == total.high) out[MEAN] = total.low, out[STD] = 0, out[RMS] = fabs(total.low);
    if (total.quick && fabs(total.mean) < CANCELLED * out[RMS] / sqrt(count)) {
        struct job again = *job;
        again.histogram = 0, again.operation = job->operation == MINUS ? MINUS : READ;
        reduce_once(&again, 1, out);
    }
    if (count == 0) out[MEAN] = out[STD] = out[RMS] = out[LOW] = out[HIGH] = NAN;
}

void reduce(const struct job *job, double out[FIELDS]) { reduce_once(job, 0, out); }
