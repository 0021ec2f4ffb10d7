/* CRC-32C: by the processor's own instruction where it has one, else by tables eight bytes at a time.

The instruction takes three cycles, but a new one may begin in each: so long data is taken in as three lanes side by
side, whose checksums are then joined. A checksum is a polynomial over GF(2), its highest power in the lowest bit; that n
bytes follow it multiplies it by x^(8n). */
#include "crc32c.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#define WAY_X86
#include <nmmintrin.h>
#ifdef _MSC_VER
#include <intrin.h>
#define TARGET
#else
#define TARGET __attribute__((target("sse4.2")))
#endif
#define STEP8(crc, word) ((uint32_t)_mm_crc32_u64((crc), (word)))
#define STEP4(crc, word) _mm_crc32_u32((crc), (word))
#define STEP1(crc, byte) _mm_crc32_u8((crc), (byte))
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#define WAY_ARM
#ifdef __linux__
#include <sys/auxv.h>
#endif
#ifdef __clang__
#define TARGET __attribute__((target("crc")))
#else
#define TARGET __attribute__((target("+crc")))
#endif
#define STEP8(crc, word) __builtin_aarch64_crc32cx((crc), (word))
#define STEP4(crc, word) __builtin_aarch64_crc32cw((crc), (word))
#define STEP1(crc, byte) __builtin_aarch64_crc32cb((crc), (byte))
#ifdef __clang__
#undef STEP8
#undef STEP4
#undef STEP1
#define STEP8(crc, word) __builtin_arm_crc32cd((crc), (word))
#define STEP4(crc, word) __builtin_arm_crc32cw((crc), (word))
#define STEP1(crc, byte) __builtin_arm_crc32cb((crc), (byte))
#endif
#endif

#define POLYNOMIAL 0x82F63B78u

static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit) product ^= b;
        b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

static uint32_t bytes_table[8][256];

static void prepare_bytes(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
        bytes_table[0][byte] = crc;
    }
    for (int behind = 1; behind < 8; behind++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = bytes_table[behind - 1][byte];
            bytes_table[behind][byte] = (crc >> 8) ^ bytes_table[0][crc & 0xFF];
        }
}

static inline uint32_t little_endian(const uint8_t *data) {
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

uint32_t crc32c_portable(const uint8_t *data, size_t length) {
    uint32_t crc = 0xFFFFFFFFu;
    for (; length >= 8; data += 8, length -= 8) {
        uint32_t low = little_endian(data) ^ crc, high = little_endian(data + 4);
        crc = bytes_table[7][low & 0xFF] ^ bytes_table[6][low >> 8 & 0xFF] ^ bytes_table[5][low >> 16 & 0xFF] ^
              bytes_table[4][low >> 24] ^ bytes_table[3][high & 0xFF] ^ bytes_table[2][high >> 8 & 0xFF] ^
              bytes_table[1][high >> 16 & 0xFF] ^ bytes_table[0][high >> 24];
    }
    for (; length; data++, length--) crc = (crc >> 8) ^ bytes_table[0][(crc ^ *data) & 0xFF];
    return ~crc;
}

uint32_t (*crc32c)(const uint8_t *data, size_t length) = crc32c_portable;

#ifdef STEP8

enum { LONG_LANE = 1024, SHORT_LANE = 128 };

typedef uint32_t Shift[4][256];
static Shift over_long, over_short;

/* What a checksum becomes when `count` bytes follow it, by each of its four bytes. */
static void prepare_shift(Shift shift, uint32_t count) {
    uint32_t power = 1u << 31, square = 1u << 23; /* x^0; x^8, a byte */
    for (; count; count >>= 1, square = multiply(square, square))
        if (count & 1) power = multiply(power, square);
    for (int place = 0; place < 4; place++)
        for (uint32_t byte = 0; byte < 256; byte++) shift[place][byte] = multiply(power, byte << 8 * place);
}

static inline uint32_t shifted(Shift shift, uint32_t crc) {
    return shift[0][crc & 0xFF] ^ shift[1][crc >> 8 & 0xFF] ^ shift[2][crc >> 16 & 0xFF] ^ shift[3][crc >> 24];
}

static inline uint64_t word(const uint8_t *data) {
    uint64_t found;
    memcpy(&found, data, 8);
    return found;
}

TARGET static uint32_t three_lanes(uint32_t crc, const uint8_t *data, size_t lane, Shift shift) {
    uint32_t second = 0, third = 0;
    for (const uint8_t *end = data + lane; data < end; data += 8) {
        crc = STEP8(crc, word(data));
        second = STEP8(second, word(data + lane));
        third = STEP8(third, word(data + 2 * lane));
    }
    return shifted(shift, shifted(shift, crc) ^ second) ^ third;
}

TARGET static uint32_t by_instruction(const uint8_t *data, size_t length) {
    uint32_t crc = 0xFFFFFFFFu;
    for (; length >= 3 * LONG_LANE; data += 3 * LONG_LANE, length -= 3 * LONG_LANE)
        crc = three_lanes(crc, data, LONG_LANE, over_long);
    for (; length >= 3 * SHORT_LANE; data += 3 * SHORT_LANE, length -= 3 * SHORT_LANE)
        crc = three_lanes(crc, data, SHORT_LANE, over_short);
    for (; length >= 8; data += 8, length -= 8) crc = STEP8(crc, word(data));
    if (length & 4) {
        uint32_t half;
        memcpy(&half, data, 4);
        crc = STEP4(crc, half);
        data += 4;
    }
    for (length &= 3; length; data++, length--) crc = STEP1(crc, *data);
    return ~crc;
}

static int has_instruction(void) {
#if defined(WAY_X86) && defined(_MSC_VER)
    int registers[4];
    __cpuid(registers, 1);
    return registers[2] >> 20 & 1;
#elif defined(WAY_X86)
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) >> 7 & 1) != 0; /* HWCAP_CRC32 */
#else
    return 1; /* every other system on this processor asks for one that has it */
#endif
}

#endif

void crc32c_prepare(void) {
    prepare_bytes();
#ifdef STEP8
    if (has_instruction()) {
        prepare_shift(over_long, LONG_LANE);
        prepare_shift(over_short, SHORT_LANE);
        crc32c = by_instruction;
    }
#endif
}
