/* Fuzz target: the reductions of tensors, on elements of any bits, by every instruction set of this processor.

   The first bytes choose dtype, operation and shape; the rest are elements, in memory that ends with the last of them. */
#include <stdlib.h>
#include <string.h>

#include "tensors_batch.h"
#include "tensors_site.h"
#include "tensors_units.h"

#define EXPECT(condition)                                                                                             \
    do {                                                                                                              \
        if (!(condition)) abort();                                                                                    \
    } while (0)

enum { CHOICES = 8 };

/* What is counted or compared is the same however it is added up. */
static void same(const double *one, const double *other) {
    static const int exact[] = {LOW, HIGH, ZEROS, NANS, INFS};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        double a = one[exact[i]], b = other[exact[i]];
        EXPECT(a == b || (a != a && b != b));
    }
}

static void all_reductions(struct job *job) {
    const struct kernels *here[KERNELS_MOST];
    int64_t first_bins[HISTOGRAM_BINS] = {0};
    double first[FIELDS];
    for (int i = 0, count = kernels_here(here); i < count; i++) {
        int64_t bins[HISTOGRAM_BINS] = {0};
        double found[FIELDS];
        kernels = here[i];
        if (job->histogram) job->histogram = (int64_t)(intptr_t)bins;
        EXPECT(job_is_sound(job));
        reduce(job, found);
        if (!i) {
            memcpy(first, found, sizeof first);
            memcpy(first_bins, bins, sizeof bins);
        }
        same(first, found);
        EXPECT(!memcmp(first_bins, bins, sizeof bins));
    }
}

static void units_of(const struct job *job, uint8_t *flags, int32_t *counts, size_t units) {
    size_t n = (size_t)job->numel, inner = n % units ? 1 : 1 + n / units % 3;
    if (n % (units * inner)) return;
    size_t outer = n / (units * inner);
    const void *x = (const void *)(intptr_t)job->address;
    alive_units(x, size_of(job->dtype), outer, units, inner, flags);
    EXPECT(silent_units(flags, counts, units, 1) <= (int64_t)units);
    EXPECT(copied_rows(x, size_of(job->dtype), outer, units * inner) >= 0);
    EXPECT(outside(job, -1, 1) <= job->numel);
    struct site site = {.dtype = job->dtype, .numel = job->numel, .outer = (int64_t)outer, .units = (int64_t)units,
                        .inner = (int64_t)inner, .flags = (int64_t)(intptr_t)flags, .bounded = 1, .least = -1, .most = 1};
    look(&site, job->address, 0);
}

static void batch_of(const uint8_t *choices, const uint8_t *elements, size_t bytes) {
    struct batch batch = {.address = (int64_t)(intptr_t)elements, .type = choices[1] % BATCH_TYPES};
    size_t n = bytes / size_of_batch(batch.type);
    if (!n) return;
    batch.step = choices[4] % 4;
    batch.positions = 1 + choices[5];
    batch.apart = choices[6];
    if ((size_t)((batch.positions - 1) * batch.step) >= n) batch.step = 0;
    size_t row = (size_t)((batch.positions - 1) * batch.step) + 1;
    batch.samples = batch.apart ? 1 + (int64_t)((n - row) / (size_t)batch.apart) : 1 + choices[7];
    int64_t *weights = calloc((size_t)(2 * batch.positions + 2 * batch.samples), sizeof *weights);
    EXPECT(weights);
    for (int64_t i = 0; i < 2 * batch.positions + batch.samples; i++) weights[i] = 2 * i + choices[0];
    spread(&batch);
    fingerprint(&batch, weights, weights + 2 * batch.positions, weights + 2 * batch.positions + batch.samples);
    free(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size <= CHOICES) return 0;
    const uint8_t *choices = data;
    size_t bytes = size - CHOICES;
    int64_t dtype = choices[1] % DTYPES;
    size_t each = size_of(dtype), n = bytes / each;
    if (!n) return 0;
    uint8_t *elements = malloc(n * each), *other = malloc(n * each), *flags = malloc(n);
    int32_t *counts = calloc(n, sizeof *counts);
    EXPECT(elements && other && flags && counts);
    memcpy(elements, data + CHOICES, n * each);
    memcpy(other, data + CHOICES, n * each);
    if (choices[0] & 1) other[choices[3] % (n * each)] ^= choices[2];
    int64_t operation = dtype == INT64 ? READ : choices[2] % 3;
    struct job job = {(int64_t)(intptr_t)elements, (int64_t)n, dtype, operation,
                      operation == READ ? 0 : (int64_t)(intptr_t)other, choices[0] & 2};
    if (dtype == INT64) outside(&job, -1, 1);
    else all_reductions(&job), units_of(&job, flags, counts, 1 + choices[3] % n);
    batch_of(choices, elements, n * each);
    free(elements), free(other), free(flags), free(counts);
    return 0;
}
