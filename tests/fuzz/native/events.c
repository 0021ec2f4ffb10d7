/* Fuzz target: an event file, scanned and decoded into columns as events/reader.py and native/columns.c go about it.

   The first byte says how much of the file is read at once; the rest is the file. Every checksum is taken for the same
   number, which the seeds hold, so that what is changed in a length or an event still gets past its checksum. */
#include <stdlib.h>

#include "crc32c.h"
#include "plain.h"

#define EXPECT(condition)                                                                                             \
    do {                                                                                                              \
        if (!(condition)) abort();                                                                                    \
    } while (0)

enum { LIMIT = 1 << 12 };

static uint32_t no_checksum(const uint8_t *data, size_t length) {
    (void)data, (void)length;
    return 0;
}

static void own(Columns *columns, const char *name, Shape shape) {
    uint32_t tag = tags_add(&columns->tags, (Slice){(const uint8_t *)name, strlen(name)}, TABLE);
    EXPECT(tag != NO_TAG);
    columns->tags.all[tag].shape = shape;
}

/* The tags of ours that seeds hold, as events/run_values.py tells of them: float32 tables, and int32 histograms. */
static void own_ours(Columns *columns) {
    own(columns, "nnhealth/model/stats/0", (Shape){1, 2, {0}});
    own(columns, "nnhealth/model/stats/1", (Shape){1, 3, {3, 0, 0}});
    own(columns, "nnhealth/model/histograms", (Shape){3, 2, {0, 66, 0}});
}

/* Every element that a table names can be read. */
static void gather(const Columns *columns, const uint8_t *chunk, uint64_t length) {
    volatile uint8_t seen = 0;
    for (uint64_t i = 0; i < columns->table_count; i++) {
        const Table *table = &columns->tables[i];
        const Shape *shape = &columns->tags.all[table->tag].shape;
        uint64_t bytes = 4;
        for (int d = 0; d < shape->rank; d++) bytes *= (uint64_t)table->sizes[d];
        EXPECT(table->at >= 0 && (uint64_t)table->at <= length && bytes <= length - (uint64_t)table->at);
        for (uint64_t at = 0; at < bytes; at++) seen ^= chunk[(uint64_t)table->at + at];
    }
}

static void check(Columns *columns) {
    for (uint64_t i = 0; i < columns->point_count; i++) EXPECT(columns->points[i].tag < columns->tags.count);
    for (uint32_t number = 0; number < columns->tags.count; number++) {
        const Tag *tag = &columns->tags.all[number];
        EXPECT(tags_find(&columns->tags, (Slice){(const uint8_t *)tag->name, tag->length}) == number);
    }
}

/* Takes what lies in the chunk; returns the bytes needed to go on, 0 where the reading has ended. */
static uint64_t read_chunk(Columns *columns, Scan *scan) {
    Slice record = {scan->chunk, 0};
    for (;;) {
        uint64_t before = scan->at;
        Outcome outcome = next_record(scan, &record);
        if (outcome == MORE) {
            EXPECT(record.length <= LIMIT + HEADER_BYTES + FOOTER_BYTES);
            return record.length;
        }
        if (outcome == TOO_LONG) {
            EXPECT(scan->at > before && scan->at <= scan->left);
            if (scan->at > scan->length) return HEADER_BYTES;
            continue;
        }
        if (outcome != RECORD) return 0;
        EXPECT(scan->at == before + HEADER_BYTES + record.length + FOOTER_BYTES && scan->at <= scan->length);
        uint64_t points = columns->point_count, tables = columns->table_count;
        uint32_t tags = columns->tags.count;
        Taken taken = take_plain(columns, record, scan->chunk);
        EXPECT(taken != NO_MEMORY);
        if (taken == GENERAL)
            EXPECT(points == columns->point_count && tables == columns->table_count && tags == columns->tags.count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    crc32c = no_checksum;
    uint64_t at_once = (uint64_t)1 << (data[0] & 15), offset = 0, missing = HEADER_BYTES;
    const uint8_t *file = data + 1;
    size--;
    Columns columns = {0};
    if (data[0] & 16) own_ours(&columns);
    while (missing && offset < size) {
        uint64_t count = missing > at_once ? missing : at_once;
        if (count > size - offset) count = size - offset;
        if (count < missing) break;
        uint8_t *chunk = malloc((size_t)count); /* of its own, so that no byte behind it is read unseen */
        EXPECT(chunk);
        memcpy(chunk, file + offset, (size_t)count);
        Scan scan = {chunk, count, 0, size - offset, LIMIT};
        missing = read_chunk(&columns, &scan);
        gather(&columns, chunk, count);
        columns.table_count = 0;
        free(chunk);
        offset += scan.at;
    }
    check(&columns);
    tags_free(&columns.tags);
    free(columns.points);
    free(columns.tables);
    return 0;
}
