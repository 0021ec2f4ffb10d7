/* The tags of a run, by name. */
#include "tags.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hashed(Slice name) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (uint64_t i = 0; i < name.length; i++) hash = (hash ^ name.data[i]) * 16777619u;
    return hash;
}

static int same(const Tag *tag, Slice name) {
    return tag->length == name.length && memcmp(tag->name, name.data, (size_t)name.length) == 0;
}

/* The slot of the tag, or the free one where it belongs. */
static uint32_t slot_of(const Tags *tags, Slice name, uint32_t hash) {
    uint32_t mask = tags->slot_count - 1, slot = hash & mask;
    for (uint32_t number; (number = tags->slots[slot]) != 0; slot = (slot + 1) & mask) {
        const Tag *tag = &tags->all[number - 1];
        if (tag->hash == hash && same(tag, name)) break;
    }
    return slot;
}

uint32_t tags_find(Tags *tags, Slice name) {
    if (!tags->count) return NO_TAG;
    uint32_t guess = tags->last < tags->count ? tags->all[tags->last].next : NO_TAG;
    if (guess < tags->count && same(&tags->all[guess], name)) return tags->last = guess;
    uint32_t number = tags->slots[slot_of(tags, name, hashed(name))];
    if (!number) return NO_TAG;
    if (tags->last < tags->count) tags->all[tags->last].next = number - 1;
    return tags->last = number - 1;
}

static int make_room(Tags *tags) {
    if (tags->count == tags->room) {
        uint32_t room = tags->room ? 2 * tags->room : 64;
        Tag *all = realloc(tags->all, room * sizeof *all);
        if (!all) return 0;
        tags->all = all;
        tags->room = room;
    }
    if (2 * (tags->count + 1) <= tags->slot_count) return 1;
    uint32_t slot_count = tags->slot_count ? 2 * tags->slot_count : 128;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return 0;
    for (uint32_t number = 0; number < tags->count; number++) {
        uint32_t slot = tags->all[number].hash & (slot_count - 1);
        while (slots[slot]) slot = (slot + 1) & (slot_count - 1);
        slots[slot] = number + 1;
    }
    free(tags->slots);
    tags->slots = slots;
    tags->slot_count = slot_count;
    return 1;
}

uint32_t tags_add(Tags *tags, Slice name, Owner owner) {
    if (tags->count >= UINT32_MAX / 4 || !make_room(tags)) return NO_TAG;
    char *copy = malloc(name.length ? (size_t)name.length : 1);
    if (!copy) return NO_TAG;
    memcpy(copy, name.data, (size_t)name.length);
    uint32_t hash = hashed(name), number = tags->count++;
    tags->all[number] = (Tag){copy, name.length, hash, NO_TAG, owner, {0}};
    tags->slots[slot_of(tags, name, hash)] = number + 1;
    if (tags->last < number) tags->all[tags->last].next = number;
    return tags->last = number;
}

void tags_forget(Tags *tags, uint32_t count) {
    while (tags->count > count) { /* the newest first, so that no probing sequence is broken */
        Tag *tag = &tags->all[tags->count - 1];
        uint32_t slot = tag->hash & (tags->slot_count - 1);
        while (tags->slots[slot] != tags->count) slot = (slot + 1) & (tags->slot_count - 1);
        tags->slots[slot] = 0;
        free(tag->name);
        tags->count--;
    }
}

void tags_free(Tags *tags) {
    for (uint32_t number = 0; number < tags->count; number++) free(tags->all[number].name);
    free(tags->all);
    free(tags->slots);
}
