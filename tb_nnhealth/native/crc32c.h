/* CRC-32C (Castagnoli), the checksum of event files. */
#ifndef TB_NNHEALTH_CRC32C_H
#define TB_NNHEALTH_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Makes the tables and chooses the way; before any other call. */
void crc32c_prepare(void);

/* The checksum of `length` bytes. */
extern uint32_t (*crc32c)(const uint8_t *data, size_t length);

/* The same by tables alone, on any processor. */
uint32_t crc32c_portable(const uint8_t *data, size_t length);

/* As event files store it: rotated, with a constant added, so that a checksum of what holds checksums stays strong. */
static inline uint32_t crc32c_mask(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u; }

#endif
