/* Which instruction sets this processor has. */
#include "tensors.h"

#ifdef VECTORS_OF_X86
#include <cpuid.h>

/* Not every Clang knows "f16c" as a name that __builtin_cpu_supports takes. */
static int converts_halves(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx >> 29 & 1);
}
#endif

const struct kernels *kernels = &kernels_scalar;

int kernels_here(const struct kernels *here[KERNELS_MOST]) {
    int count = 0;
    here[count++] = &kernels_scalar;
#ifdef VECTORS
    here[count++] = &kernels_128;
#endif
#ifdef VECTORS_OF_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && converts_halves()) {
        here[count++] = &kernels_avx2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
            here[count++] = &kernels_avx512;
    }
#endif
    return count;
}

void choose_kernels(void) {
    const struct kernels *here[KERNELS_MOST];
    kernels = here[kernels_here(here) - 1];
}
