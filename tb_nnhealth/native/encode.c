/* The event of a record: wall time, step, and a summary of one value, whose tensor holds the elements as they are. */
#include "encode.h"

static uint64_t varint_size(uint64_t number) {
    uint64_t size = 1;
    for (; number > 0x7F; number >>= 7) size++;
    return size;
}

static uint8_t *put_varint(uint8_t *out, uint64_t number) {
    for (; number > 0x7F; number >>= 7) *out++ = (uint8_t)(number & 0x7F) | 0x80;
    *out++ = (uint8_t)number;
    return out;
}

static uint8_t *put_slice(uint8_t *out, Slice slice) {
    if (slice.length) memcpy(out, slice.data, (size_t)slice.length);
    return out + slice.length;
}

/* Sizes of the messages, each within the one before. */
typedef struct {
    uint64_t summary, value, tensor;
} Sizes;

static Sizes sizes_of(const ArrayEvent *event) {
    Sizes sizes;
    sizes.tensor = event->tensor.length + varint_size(event->content.length) + event->content.length;
    sizes.value = event->value.length + varint_size(sizes.tensor) + sizes.tensor;
    sizes.summary = 1 + varint_size(sizes.value) + sizes.value;
    return sizes;
}

static uint64_t wall_bits(const ArrayEvent *event) {
    uint64_t bits;
    memcpy(&bits, &event->wall, 8);
    return event->wall == 0 ? 0 : bits; /* a zero of either sign is not written, as in encode.py */
}

uint64_t array_event_size(const ArrayEvent *event) {
    uint64_t summary = sizes_of(event).summary, size = 1 + varint_size(summary) + summary;
    if (wall_bits(event)) size += 9;
    if (event->step) size += 1 + varint_size((uint64_t)event->step);
    return size;
}

void write_array_event(uint8_t *out, const ArrayEvent *event) {
    Sizes sizes = sizes_of(event);
    uint64_t wall = wall_bits(event);
    if (wall) {
        *out++ = 0x09;
        for (int i = 0; i < 8; i++) *out++ = (uint8_t)(wall >> 8 * i);
    }
    if (event->step) {
        *out++ = 0x10;
        out = put_varint(out, (uint64_t)event->step);
    }
    *out++ = 0x2A;
    out = put_varint(out, sizes.summary);
    *out++ = 0x0A;
    out = put_varint(out, sizes.value);
    out = put_varint(put_slice(out, event->value), sizes.tensor);
    out = put_varint(put_slice(out, event->tensor), event->content.length);
    put_slice(out, event->content);
}
