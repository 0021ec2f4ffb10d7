/* Records in and out of an event file. */
#include "framing.h"

#include "crc32c.h"

static void put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> 8 * i);
}

Outcome next_record(Scan *scan, Slice *record) {
    if (scan->at > scan->length || scan->length - scan->at < HEADER_BYTES) {
        record->length = HEADER_BYTES;
        return MORE;
    }
    record->length = 0;
    const uint8_t *header = scan->chunk + scan->at;
    if (crc32c_mask(crc32c(header, 8)) != little_endian(header + 8, 4)) return BAD_LENGTH;
    uint64_t length = little_endian(header, 8), left = scan->left - scan->at;
    if (left < HEADER_BYTES + FOOTER_BYTES || length > left - (HEADER_BYTES + FOOTER_BYTES))
        return record->length = length, length > scan->limit ? BEYOND : INCOMPLETE;
    uint64_t whole = HEADER_BYTES + length + FOOTER_BYTES;
    record->length = length;
    if (length > scan->limit) {
        scan->at += whole;
        return TOO_LONG;
    }
    if (scan->length - scan->at < whole) {
        record->length = whole;
        return MORE;
    }
    record->data = header + HEADER_BYTES;
    if (crc32c_mask(crc32c(record->data, (size_t)length)) != little_endian(record->data + length, 4)) {
        record->length = 0;
        return BAD_DATA;
    }
    scan->at += whole;
    return RECORD;
}

void write_record(uint8_t *out, const uint8_t *data, uint64_t length) {
    put(out, length, 8);
    put(out + 8, crc32c_mask(crc32c(out, 8)), 4);
    if (length) memcpy(out + HEADER_BYTES, data, (size_t)length);
    put(out + HEADER_BYTES + length, crc32c_mask(crc32c(out + HEADER_BYTES, (size_t)length)), 4);
}
