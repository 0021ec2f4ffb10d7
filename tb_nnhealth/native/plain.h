/* Plain events: those of which a training writes millions, decoded into columns.

Plain are an event of scalars, each a simple_value or a tensor of one float or double, and an event of one table of
ours, in the shape that its tag asks for. Whatever is written in another way than every writer does (a field twice, or unknown; a tag whose owner is
not known) is no plain event, and is left to the general decoder: it has the same meaning there. */
#ifndef TB_NNHEALTH_PLAIN_H
#define TB_NNHEALTH_PLAIN_H

#include "tags.h"

typedef struct {
    uint32_t tag;
    int64_t step;
    double wall, value;
} Point;

typedef struct {
    int64_t tag, step;
    double wall;
    int64_t at; /* of the elements, in the chunk */
    int64_t sizes[3];
} Table;

typedef struct {
    Tags tags;
    Point *points;
    uint64_t point_count, point_room;
    Table *tables;
    uint64_t table_count, table_room;
    int busy; /* a call works on it without the interpreter's lock */
} Columns;

typedef enum { PLAIN, GENERAL, NO_MEMORY } Taken;

/* Takes the event `record`, which lies in `chunk`, into the columns if it is a plain one; else nothing is changed. */
Taken take_plain(Columns *columns, Slice record, const uint8_t *chunk);

#endif
