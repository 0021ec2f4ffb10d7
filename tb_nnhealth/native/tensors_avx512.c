/* The kernels in AVX-512. */
#include "tensors.h"

#ifdef VECTORS_OF_X86
#include <immintrin.h>

#define BITS 512
#define KERNEL __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))) static void
#define LOAD _mm512_loadu_ps
#define LOAD64 _mm512_loadu_pd
#define LOAD_WIDE(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define STORE _mm512_storeu_ps
#define MIN _mm512_min_ps
#define MAX _mm512_max_ps
#define FMA _mm512_fmadd_ps
#define LOWER(v) _mm512_cvtps_pd(_mm512_castps512_ps256(v))
#define UPPER(v) _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))
#define MIN64 _mm512_min_pd
#define MAX64 _mm512_max_pd
#define FMA64 _mm512_fmadd_pd
#define WIDEN_HALVES(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#include "tensors_vector.h"

const struct kernels kernels_avx512 = {
    "avx512", sums_float32, quick_sums, sums_float64, widen_float16, widen_bfloat16, subtract, copy, count_exponents_avx2,
};
#endif
