/* The kernels in vectors of 128 bits, for every processor that GCC and Clang know: SSE2, NEON and their like. */
#include <string.h>

#include "tensors.h"

#ifdef VECTORS
typedef float four __attribute__((vector_size(16)));
typedef double two __attribute__((vector_size(16)));
typedef float half_of_four __attribute__((vector_size(8)));
typedef int32_t four_int32 __attribute__((vector_size(16)));
typedef int64_t two_int64 __attribute__((vector_size(16)));

static inline four load(const float *p) {
    four v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float *p, four v) { memcpy(p, &v, sizeof v); }
static inline two load64(const double *p) {
    two v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline two load_wide(const float *p) {
    half_of_four v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, two);
}
static inline four choose(four_int32 which, four a, four b) {
    return (four)((which & (four_int32)a) | (~which & (four_int32)b));
}
static inline two choose64(two_int64 which, two a, two b) {
    return (two)((which & (two_int64)a) | (~which & (two_int64)b));
}
static inline four widen_halves(const uint16_t *p) {
    four_int32 bits = {p[0], p[1], p[2], p[3]}, rest = bits & 0x7FFF;
    four_int32 huge = rest >= 0x7C00;
    /* The exponent's bias differs by 112; a product sets it right, for denormal numbers as well. */
    four_int32 magnitude = (four_int32)((four)(rest << 13) * 0x1p112f);
    magnitude = (huge & (rest << 13 | 0x7F800000)) | (~huge & magnitude);
    return (four)(magnitude | (bits & 0x8000) << 16);
}

#define BITS 128
#define KERNEL static void
#define LOAD load
#define LOAD64 load64
#define LOAD_WIDE load_wide
#define STORE store
#define MIN(a, b) choose((a) < (b), a, b)
#define MAX(a, b) choose((a) > (b), a, b)
#define FMA(a, b, c) ((a) * (b) + (c))
#define LOWER(v) ((two){(v)[0], (v)[1]})
#define UPPER(v) ((two){(v)[2], (v)[3]})
#define MIN64(a, b) choose64((a) < (b), a, b)
#define MAX64(a, b) choose64((a) > (b), a, b)
#define FMA64(a, b, c) ((a) * (b) + (c))
#define WIDEN_HALVES widen_halves
#include "tensors_vector.h"

const struct kernels kernels_128 = {
    "128", sums_float32, quick_sums, sums_float64, widen_float16, widen_bfloat16, subtract, copy, count_exponents,
};
#endif
