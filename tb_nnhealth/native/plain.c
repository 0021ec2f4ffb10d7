/* Plain events into columns. Field numbers are those of TensorBoard's event.proto, summary.proto, tensor.proto. */
#include "plain.h"

#include <stdlib.h>

#include "wire.h"

#define KEY(field, type) ((field) << 3 | (type))
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { DT_FLOAT = 1, DT_DOUBLE = 2 };

/* Notes that a field was met; whether it had been before. */
static inline int again(uint32_t *met, unsigned key) {
    uint32_t bit = 1u << (key >> 3);
    if (*met & bit) return 1;
    *met |= bit;
    return 0;
}

static int is(Slice text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.data, expected, (size_t)text.length) == 0;
}

static int starts_with(Slice text, const char *expected) {
    size_t length = strlen(expected);
    return text.length >= length && memcmp(text.data, expected, length) == 0;
}

typedef struct {
    uint64_t data_class;
    Slice plugin;
} Metadata;

static int read_plugin(Slice data, Slice *name) {
    uint32_t met = 0;
    Slice content;
    for (Wire wire = wire_of(data); wire.at < wire.end;) {
        unsigned key = *wire.at++;
        if (again(&met, key & 0x7F)) return 0;
        if (key == KEY(1, BYTES)) {
            if (!wire_slice(&wire, name) || !is_utf8(*name)) return 0;
        } else if (key != KEY(2, BYTES) || !wire_slice(&wire, &content)) {
            return 0;
        }
    }
    return 1;
}

static int read_metadata(Slice data, Metadata *metadata) {
    uint32_t met = 0;
    Slice part;
    for (Wire wire = wire_of(data); wire.at < wire.end;) {
        unsigned key = *wire.at++;
        if (again(&met, key & 0x7F)) return 0;
        if (key == KEY(1, BYTES)) {
            if (!wire_slice(&wire, &part) || !read_plugin(part, &metadata->plugin)) return 0;
        } else if (key == KEY(2, BYTES) || key == KEY(3, BYTES)) { /* display_name, summary_description */
            if (!wire_slice(&wire, &part) || !is_utf8(part)) return 0;
        } else if (key != KEY(4, VARINT) || !wire_varint(&wire, &metadata->data_class)) {
            return 0;
        }
    }
    metadata->data_class &= UINT32_MAX;
    return 1;
}

typedef struct {
    Shape shape;
    Slice content, single; /* `single`: the one element of float_val or double_val */
} Tensor;

static int read_size(Slice dim, uint64_t *size) {
    Wire wire = wire_of(dim);
    return wire.at < wire.end && *wire.at++ == KEY(1, VARINT) && wire_varint(&wire, size) && wire.at == wire.end &&
           *size && *size <= INT32_MAX;
}

static int read_shape(Slice data, Shape *shape) {
    Slice dim;
    for (Wire wire = wire_of(data); wire.at < wire.end;) {
        if (*wire.at++ != KEY(2, BYTES) || shape->rank == 3 || !wire_slice(&wire, &dim)) return 0;
        if (!read_size(dim, &shape->sizes[shape->rank++])) return 0;
    }
    return 1;
}

static int read_tensor(Slice data, Tensor *tensor) {
    uint32_t met = 0;
    Slice part;
    for (Wire wire = wire_of(data); wire.at < wire.end;) {
        unsigned key = *wire.at++;
        if (again(&met, key & 0x7F)) return 0;
        switch (key) {
        case KEY(1, VARINT):
            if (!wire_varint(&wire, &tensor->shape.type)) return 0;
            break;
        case KEY(2, BYTES):
            if (!wire_slice(&wire, &part) || !read_shape(part, &tensor->shape)) return 0;
            break;
        case KEY(4, BYTES):
            if (!wire_slice(&wire, &tensor->content) || !tensor->content.length || tensor->single.length) return 0;
            break;
        case KEY(5, BYTES): /* float_val, double_val */
        case KEY(6, BYTES):
            if (!wire_slice(&wire, &part) || part.length != (key == KEY(5, BYTES) ? 4 : 8)) return 0;
            if (tensor->single.length || tensor->content.length) return 0;
            tensor->single = part;
            break;
        case KEY(5, FIXED32):
        case KEY(6, FIXED64):
            part.length = key == KEY(5, FIXED32) ? 4 : 8;
            if (tensor->single.length || tensor->content.length) return 0;
            if (!(part.data = wire_bytes(&wire, (int)part.length))) return 0;
            tensor->single = part;
            break;
        default:
            return 0;
        }
    }
    return 1;
}

static int scalar_of(Slice data, double *value) {
    Tensor tensor = {0};
    if (!read_tensor(data, &tensor)) return 0;
    for (int i = 0; i < tensor.shape.rank; i++)
        if (tensor.shape.sizes[i] != 1) return 0;
    Slice stored = tensor.content.length ? tensor.content : tensor.single;
    if (tensor.shape.type == DT_FLOAT && stored.length == 4) return *value = wire_float_at(stored.data), 1;
    if (tensor.shape.type == DT_DOUBLE && stored.length == 8) return *value = wire_double_at(stored.data), 1;
    return 0;
}

/* Elements are of four bytes each. */
static int table_of(Slice data, const uint8_t *chunk, const Shape *wanted, Table *table) {
    Tensor tensor = {0};
    if (!read_tensor(data, &tensor)) return 0;
    const Shape *found = &tensor.shape;
    if (found->type != wanted->type || found->rank != wanted->rank || !tensor.content.length) return 0;
    uint64_t elements = 1;
    for (int i = 0; i < found->rank; i++) {
        if (wanted->sizes[i] && found->sizes[i] != wanted->sizes[i]) return 0;
        elements *= found->sizes[i]; /* no overflow: a factor is below 2^31, and so was what came before it */
        if (elements > tensor.content.length) return 0;
        table->sizes[i] = (int64_t)found->sizes[i];
    }
    table->at = tensor.content.data - chunk;
    return elements * 4 == tensor.content.length;
}

static Point *new_point(Columns *columns) {
    if (columns->point_count == columns->point_room) {
        uint64_t room = columns->point_room ? 2 * columns->point_room : 4096;
        Point *points = realloc(columns->points, (size_t)room * sizeof *points);
        if (!points) return NULL;
        columns->points = points;
        columns->point_room = room;
    }
    return &columns->points[columns->point_count++];
}

static Table *new_table(Columns *columns) {
    if (columns->table_count == columns->table_room) {
        uint64_t room = columns->table_room ? 2 * columns->table_room : 256;
        Table *tables = realloc(columns->tables, (size_t)room * sizeof *tables);
        if (!tables) return NULL;
        columns->tables = tables;
        columns->table_room = room;
    }
    return &columns->tables[columns->table_count++];
}

typedef struct {
    double wall;
    int64_t step;
    int alone; /* its one value */
} Event;

/* One Summary.Value. */
static Taken take_value(Columns *columns, Slice data, Event event, const uint8_t *chunk) {
    uint32_t met = 0;
    Slice name = {0}, tensor = {0}, described = {0};
    const uint8_t *simple = NULL;
    for (Wire wire = wire_of(data); wire.at < wire.end;) {
        unsigned key = *wire.at++;
        if (again(&met, key & 0x7F)) return GENERAL;
        if (key == KEY(1, BYTES)) {
            if (!wire_slice(&wire, &name)) return GENERAL;
        } else if (key == KEY(2, FIXED32)) {
            if (!(simple = wire_bytes(&wire, 4))) return GENERAL;
        } else if (key == KEY(8, BYTES)) {
            if (!wire_slice(&wire, &tensor)) return GENERAL;
        } else if (key != KEY(9, BYTES) || !wire_slice(&wire, &described)) {
            return GENERAL;
        }
    }
    if (!name.length || (simple != NULL) == (tensor.data != NULL)) return GENERAL;
    Metadata metadata = {0};
    if (described.data && !read_metadata(described, &metadata)) return GENERAL;
    uint32_t tag = tags_find(&columns->tags, name);
    Owner owner = tag == NO_TAG ? OTHER : columns->tags.all[tag].owner;
    if (owner == TABLE) {
        Table table = {.tag = tag, .step = event.step, .wall = event.wall};
        const Shape *wanted = &columns->tags.all[tag].shape;
        if (!event.alone || !tensor.data || described.data || !table_of(tensor, chunk, wanted, &table)) return GENERAL;
        Table *taken = new_table(columns);
        if (!taken) return NO_MEMORY;
        *taken = table;
        return PLAIN;
    }
    if (tag == NO_TAG) { /* whose it is, by its first value: as decode.py has it */
        int scalar = simple && !metadata.data_class ? 1 : is(metadata.plugin, "scalars");
        if (!scalar || starts_with(name, "nnhealth/") || !is_utf8(name)) return GENERAL;
        owner = SCALAR;
    }
    double value = 0;
    if (owner != SCALAR || (tensor.data && !scalar_of(tensor, &value))) return GENERAL;
    if (simple) value = wire_float_at(simple);
    if (tag == NO_TAG && (tag = tags_add(&columns->tags, name, SCALAR)) == NO_TAG) return NO_MEMORY;
    Point *point = new_point(columns);
    if (!point) return NO_MEMORY;
    *point = (Point){tag, event.step, event.wall, value};
    return PLAIN;
}

static Taken take_summary(Columns *columns, Slice summary, Event event, const uint8_t *chunk) {
    Taken taken = GENERAL; /* a summary of nothing */
    for (Wire wire = wire_of(summary); wire.at < wire.end;) {
        Slice value;
        if (*wire.at++ != KEY(1, BYTES) || !wire_slice(&wire, &value)) return GENERAL;
        event.alone = value.data + value.length == wire.end && taken == GENERAL;
        if ((taken = take_value(columns, value, event, chunk)) != PLAIN) return taken;
    }
    return taken;
}

/* Takes a simple_value of a known tag, alone in its event and written as nearly all are: the quick way for most events.
Whether it was one; if not, nothing is changed. */
static int take_simple(Columns *columns, Slice record) {
    Wire wire = wire_of(record);
    if (record.length < 20 || wire.at[0] != KEY(1, FIXED64)) return 0;
    uint64_t step = 0, size, name_length;
    const uint8_t *wall = wire.at + 1;
    wire.at += 9;
    if (*wire.at == KEY(2, VARINT) && (wire.at++, !wire_varint(&wire, &step))) return 0;
    for (int level = 0; level < 2; level++) { /* the summary, and its value; both end where the event does */
        if (wire.end - wire.at < 2 || *wire.at++ != (level ? KEY(1, BYTES) : KEY(5, BYTES))) return 0;
        if (!wire_varint(&wire, &size) || size != (uint64_t)(wire.end - wire.at)) return 0;
    }
    if (wire.end - wire.at < 2 || *wire.at++ != KEY(1, BYTES) || !wire_varint(&wire, &name_length)) return 0;
    if ((uint64_t)(wire.end - wire.at) < 5 || name_length != (uint64_t)(wire.end - wire.at) - 5) return 0;
    if (wire.end[-5] != KEY(2, FIXED32)) return 0;
    uint32_t tag = tags_find(&columns->tags, (Slice){wire.at, name_length});
    if (tag == NO_TAG || columns->tags.all[tag].owner != SCALAR) return 0;
    Point *point = new_point(columns);
    if (!point) return 0; /* the long way tells of it */
    *point = (Point){tag, (int64_t)step, wire_double_at(wall), wire_float_at(wire.end - 4)};
    return 1;
}

Taken take_plain(Columns *columns, Slice record, const uint8_t *chunk) {
    if (take_simple(columns, record)) return PLAIN;
    uint32_t met = 0;
    uint64_t step = 0;
    Event event = {0};
    const uint8_t *wall = NULL;
    Slice summary = {0};
    for (Wire wire = wire_of(record); wire.at < wire.end;) {
        unsigned key = *wire.at++;
        if (again(&met, key & 0x7F)) return GENERAL;
        if (key == KEY(1, FIXED64)) {
            if (!(wall = wire_bytes(&wire, 8))) return GENERAL;
        } else if (key == KEY(2, VARINT)) {
            if (!wire_varint(&wire, &step)) return GENERAL;
        } else if (key != KEY(5, BYTES) || !wire_slice(&wire, &summary)) {
            return GENERAL;
        }
    }
    if (!summary.data) return GENERAL;
    if (wall) event.wall = wire_double_at(wall);
    event.step = (int64_t)step;
    uint64_t points = columns->point_count;
    uint32_t tags = columns->tags.count;
    Taken taken = take_summary(columns, summary, event, chunk);
    if (taken != PLAIN) { /* what its first values left */
        columns->point_count = points;
        tags_forget(&columns->tags, tags);
    }
    return taken;
}
