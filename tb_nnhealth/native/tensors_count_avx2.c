/* Exponents counted in AVX2: packed into bytes, and compared with one exponent after another, 32 elements at once. */
#include "tensors.h"

#ifdef VECTORS_OF_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define BYTES 32
#define AT_ONCE 4
#define FEW 32 /* a share of elements so small is counted one by one */

AVX2 static inline __m256i exponents(const uint32_t *x) {
    return _mm256_srli_epi32(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)x), 1), 24);
}

/* The sum of bytes, none of which has overflowed: a block has no more than 255 vectors of them. */
AVX2 static inline uint32_t total(__m256i bytes) {
    __m256i sums = _mm256_sad_epu8(bytes, _mm256_setzero_si256());
    __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return (uint32_t)(_mm_cvtsi128_si64(half) + _mm_extract_epi64(half, 1));
}

AVX2 static int greatest(__m256i bytes) {
    uint8_t each[BYTES];
    int most = 0;
    _mm256_storeu_si256((__m256i *)(void *)each, bytes);
    for (int i = 0; i < BYTES; i++) most = each[i] > most ? each[i] : most;
    return most;
}

AVX2 void count_exponents_avx2(const uint32_t *x, size_t n, uint32_t counts[256]) {
    __m256i packed[BLOCK / BYTES], most = _mm256_setzero_si256(), zeros = most;
    size_t vectors = n / BYTES;
    for (size_t v = 0; v < vectors; v++) { /* in whatever order: they are only counted */
        const uint32_t *from = x + v * BYTES;
        __m256i low = _mm256_packus_epi32(exponents(from), exponents(from + 8));
        __m256i high = _mm256_packus_epi32(exponents(from + 16), exponents(from + 24));
        packed[v] = _mm256_packus_epi16(low, high);
        most = _mm256_max_epu8(most, packed[v]);
        zeros = _mm256_sub_epi8(zeros, _mm256_cmpeq_epi8(packed[v], _mm256_setzero_si256()));
    }
    uint32_t found = total(zeros), left = (uint32_t)(vectors * BYTES) - found;
    int top = greatest(most);
    counts[0] += found;
    for (; left > n / FEW && top >= AT_ONCE; top -= AT_ONCE) {
        __m256i which[AT_ONCE], seen[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++)
            which[k] = _mm256_set1_epi8((char)(top - k)), seen[k] = _mm256_setzero_si256();
        for (size_t v = 0; v < vectors; v++)
            for (int k = 0; k < AT_ONCE; k++)
                seen[k] = _mm256_sub_epi8(seen[k], _mm256_cmpeq_epi8(packed[v], which[k]));
        for (int k = 0; k < AT_ONCE; k++) found = total(seen[k]), counts[top - k] += found, left -= found;
    }
    const uint8_t *bytes = (const uint8_t *)packed;
    const __m256i rest = _mm256_set1_epi8((char)top);
    for (size_t v = 0; left && v < vectors; v++) {
        __m256i among = _mm256_cmpeq_epi8(_mm256_max_epu8(packed[v], rest), rest);
        __m256i zero = _mm256_cmpeq_epi8(packed[v], _mm256_setzero_si256());
        uint32_t lanes = (uint32_t)_mm256_movemask_epi8(_mm256_andnot_si256(zero, among));
        for (; lanes; lanes &= lanes - 1) counts[bytes[v * BYTES + (size_t)__builtin_ctz(lanes)]]++, left--;
    }
    for (size_t i = vectors * BYTES; i < n; i++) counts[x[i] >> 23 & 0xFF]++;
}
#endif
