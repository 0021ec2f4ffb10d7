/* The tags of a run: a number for each, in the order in which they were met, and whose it is. */
#ifndef TB_NNHEALTH_TAGS_H
#define TB_NNHEALTH_TAGS_H

#include <stdint.h>

#include "framing.h"

typedef enum { OTHER, SCALAR, TABLE } Owner;

/* Of a TensorProto: 0 as a size stands for any. */
typedef struct {
    uint64_t type;
    int rank;
    uint64_t sizes[3];
} Shape;

typedef struct {
    char *name;
    uint64_t length;
    uint32_t hash;
    uint32_t next; /* the tag that followed it when it was last met: writers go through their tags in turn */
    Owner owner;
    Shape shape; /* of every value of a table */
} Tag;

typedef struct {
    Tag *all;
    uint32_t count, room;
    uint32_t *slots; /* number of a tag + 1, or 0; linear probing */
    uint32_t slot_count;
    uint32_t last;
} Tags;

enum { NO_TAG = UINT32_MAX };

/* The number of a tag, NO_TAG where it was never added. */
uint32_t tags_find(Tags *tags, Slice name);

/* Adds a tag that was not found; NO_TAG without memory. */
uint32_t tags_add(Tags *tags, Slice name, Owner owner);

/* Forgets the tags from the number `count` on. */
void tags_forget(Tags *tags, uint32_t count);

void tags_free(Tags *tags);

#endif
