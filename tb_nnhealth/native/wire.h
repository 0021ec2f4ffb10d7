/* Reading protobuf's wire format, strictly: what is not written as every writer writes it is refused. */
#ifndef TB_NNHEALTH_WIRE_H
#define TB_NNHEALTH_WIRE_H

#include <string.h>

#include "framing.h"

typedef struct {
    const uint8_t *at, *end;
} Wire;

static inline Wire wire_of(Slice slice) { return (Wire){slice.data, slice.data + slice.length}; }

/* Each returns whether it could be read. */

static inline int wire_varint(Wire *wire, uint64_t *value) {
    if (wire->at < wire->end && *wire->at < 0x80) {
        *value = *wire->at++;
        return 1;
    }
    uint64_t found = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (wire->at == wire->end) return 0;
        uint8_t byte = *wire->at++;
        if (shift == 63 && byte > 1) return 0;
        found |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = found;
            return 1;
        }
    }
    return 0;
}

static inline int wire_slice(Wire *wire, Slice *slice) {
    uint64_t length;
    if (!wire_varint(wire, &length) || length > (uint64_t)(wire->end - wire->at)) return 0;
    *slice = (Slice){wire->at, length};
    wire->at += length;
    return 1;
}

static inline double wire_float_at(const uint8_t *at) {
    uint32_t bits = (uint32_t)little_endian(at, 4);
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline double wire_double_at(const uint8_t *at) {
    uint64_t bits = little_endian(at, 8);
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static inline const uint8_t *wire_bytes(Wire *wire, int count) {
    if (wire->end - wire->at < count) return NULL;
    wire->at += count;
    return wire->at - count;
}

/* Whether it is UTF-8 as Unicode defines it: nothing overlong, no surrogates. */
static inline int is_utf8(Slice text) {
    const uint8_t *at = text.data, *end = at + text.length;
    while (at < end) {
        uint8_t lead = *at++;
        if (lead < 0x80) continue;
        if (lead < 0xC2 || lead > 0xF4) return 0;
        int more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
        if (end - at < more) return 0;
        uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (*at < low || *at > high) return 0;
        for (at++, more--; more; at++, more--)
            if (*at < 0x80 || *at > 0xBF) return 0;
    }
    return 1;
}

#endif
