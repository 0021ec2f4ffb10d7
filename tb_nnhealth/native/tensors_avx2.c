/* The kernels in AVX2. */
#include "tensors.h"

#ifdef VECTORS_OF_X86
#include <immintrin.h>

#define BITS 256
#define KERNEL __attribute__((target("avx2,fma,f16c"))) static void
#define LOAD _mm256_loadu_ps
#define LOAD64 _mm256_loadu_pd
#define LOAD_WIDE(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define STORE _mm256_storeu_ps
#define MIN _mm256_min_ps
#define MAX _mm256_max_ps
#define FMA _mm256_fmadd_ps
#define LOWER(v) _mm256_cvtps_pd(_mm256_castps256_ps128(v))
#define UPPER(v) _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))
#define MIN64 _mm256_min_pd
#define MAX64 _mm256_max_pd
#define FMA64 _mm256_fmadd_pd
#define WIDEN_HALVES(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#include "tensors_vector.h"

const struct kernels kernels_avx2 = {
    "avx2", sums_float32, quick_sums, sums_float64, widen_float16, widen_bfloat16, subtract, copy, count_exponents_avx2,
};
#endif
