/* The framing of records in an event file: an 8-byte length, its checksum, the data, the data's checksum.

All numbers are little-endian. `events/scan.py` is the same in Python, and says what each outcome means. */
#ifndef TB_NNHEALTH_FRAMING_H
#define TB_NNHEALTH_FRAMING_H

#include <stdint.h>
#include <string.h>

enum { HEADER_BYTES = 12, FOOTER_BYTES = 4 };

typedef enum { RECORD, MORE, TOO_LONG, BAD_LENGTH, BAD_DATA, BEYOND, INCOMPLETE } Outcome;

typedef struct {
    const uint8_t *chunk;
    uint64_t length; /* of the chunk */
    uint64_t at;     /* in the chunk; behind its end where a record too long was passed over */
    uint64_t left;   /* bytes of the file from the chunk's start on */
    uint64_t limit;  /* a record of more data is passed over */
} Scan;

typedef struct {
    const uint8_t *data;
    uint64_t length;
} Slice;

/* The number that `bytes` bytes, 4 or 8, hold. */
static inline uint64_t little_endian(const uint8_t *at, int bytes) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << 8 * i;
#else
    uint64_t value = 0;
    memcpy(&value, at, (size_t)bytes);
#endif
    return value;
}

/* The record at scan->at, which is moved behind it; for MORE, `record->length` is what the chunk must hold from there. */
Outcome next_record(Scan *scan, Slice *record);

/* Writes `length` bytes of data as a record of 16 bytes more. */
void write_record(uint8_t *out, const uint8_t *data, uint64_t length);

#endif
