/* Statistics of tensors: what the files that compute them share.

   A tensor is read in blocks that stay in the first-level cache, each once from memory. A block of half precision, or
   of the difference of two tensors, is first made into a block of float32 there. */
#ifndef TB_NNHEALTH_TENSORS_H
#define TB_NNHEALTH_TENSORS_H

#include <stddef.h>
#include <stdint.h>

enum dtype { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, INT64, DTYPES }; /* INT64: to be read only, as float32 */

#define BLOCK 2048
/* Bins of a histogram, as in schema.py: zeros, exponents clipped to the range, NaN and Inf. */
#define EXPONENT_LOW (-40)
#define EXPONENT_HIGH 23
#define HISTOGRAM_BINS (EXPONENT_HIGH - EXPONENT_LOW + 3)

/* Sums over a block. Where an element is NaN or Inf, `square` is not finite and the rest means nothing. */
struct sums {
    double sum, square, low, high;
    int64_t zeros;
};

/* What is written once for each instruction set. Numbers of elements are greater than 0. */
struct kernels {
    const char *name;
    void (*sums_float32)(const float *x, size_t n, struct sums *out);
    /* The same of BLOCK elements, to some 1e-7 of the sum of magnitudes, where squares keep to the range of float32. */
    void (*quick_sums)(const float *x, struct sums *out);
    void (*sums_float64)(const double *x, size_t n, struct sums *out);
    void (*widen_float16)(const uint16_t *x, size_t n, float *out);
    void (*widen_bfloat16)(const uint16_t *x, size_t n, float *out);
    void (*subtract)(const float *x, const float *y, size_t n, float *out);
    void (*copy)(const float *x, size_t n, float *out);
    /* Adds the float32 of a block by their eight bits of exponent. */
    void (*count)(const uint32_t *x, size_t n, uint32_t counts[256]);
};

extern const struct kernels kernels_scalar;
void count_exponents(const uint32_t *x, size_t n, uint32_t counts[256]);
#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)
#define VECTORS 1
extern const struct kernels kernels_128;
#ifdef __x86_64__
#define VECTORS_OF_X86 1
extern const struct kernels kernels_avx2, kernels_avx512;
void count_exponents_avx2(const uint32_t *x, size_t n, uint32_t counts[256]); /* n <= BLOCK */
#endif
#endif
extern const struct kernels *kernels; /* those in use */

/* Those that this processor can run, the best last; returns how many. */
enum { KERNELS_MOST = 4 };
int kernels_here(const struct kernels *here[KERNELS_MOST]);

/* Takes the best of them. */
void choose_kernels(void);

/* One tensor to be read. `other`: for COPY where its elements are put, for MINUS what is subtracted first. */
enum operation { READ, COPY, MINUS };
struct job {
    int64_t address, numel, dtype, operation, other;
    int64_t histogram; /* address of int64[HISTOGRAM_BINS], or 0 */
};

enum field { MEAN, STD, RMS, LOW, HIGH, ZEROS, NANS, INFS, FIELDS }; /* reduce.py's FIELDS */

/* False where the job cannot be done: an unknown dtype or operation, or an address that its elements cannot have. */
int job_is_sound(const struct job *job);
void reduce(const struct job *job, double out[FIELDS]);

/* Bytes of an element; 0 for an unknown dtype. */
size_t size_of(int64_t dtype);

/* The elements from `start` on as float32, or as float64 where that is the dtype; in the tensor itself or in `room`. */
const void *block_of(const struct job *job, int64_t start, size_t n, double room[BLOCK]);

#endif
