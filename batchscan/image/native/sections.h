/* Sections of the codes of a grey image: where they lie, and where their blocks start.

   Sections are what lies between restart marks. Without such marks the codes are cut into some of the
   same length, and all but the first of them begin at a guess. At first they are nonsense, but codes
   fall into step by themselves: a section that has once come to the start of a block is right from
   there on. It shows when the section before comes to the very same place; until then, nothing of a
   section counts. */

#ifndef BATCHSCAN_SECTIONS_H
#define BATCHSCAN_SECTIONS_H

#include "tables.h"

typedef struct {
    size_t from, end; /* Bytes: where it begins, and from where on to look out for its end. */
    size_t slot;      /* Of its first block; the others follow. */
    size_t most;      /* Blocks that it has or, where it is cut, can have. */
    size_t count;     /* Blocks that are complete. */
    size_t joined;    /* Those of them, at the beginning of a guess, that do not count. */
    int is_guess;
} Section;

/* All sections, with what is known of their blocks by slot. */
typedef struct {
    const uint8_t *bytes;
    size_t length;
    Section *of;
    size_t count, taken;
    int is_cut; /* Without marks between them. */
    int is_damaged;
    uint32_t *starts; /* Where blocks start, in bits; behind the last one of a section, its end. */
    Lanes *made;      /* Of LANES blocks each, as `transform` does; not at an eighth. */
} Sections;

typedef enum { GOES_ON, HAS_ENDED, IS_DAMAGED } End;

/* Say whether nothing is left but the ones that fill the last byte: no code is made of ones. */
static int is_filled_up(const Sections *sections, uint32_t place)
{
    const uint64_t left = 8 * (uint64_t)sections->length - place;
    const unsigned ones = (1U << left % 8) - 1;
    return left < 8 && (sections->bytes[sections->length - 1] & ones) == ones;
}

/* Say whether a section between marks has ended, when all before byte `from` is read. */
static End end_of_marked(const Section *section, const Sections *sections, size_t from)
{
    const uint64_t end = 8 * (uint64_t)section->end;
    const uint32_t place = sections->starts[section->slot + section->most];
    if (section->count < section->most)
        return from > section->end ? IS_DAMAGED : GOES_ON;
    return place <= end && end - place < 8 ? HAS_ENDED : IS_DAMAGED;
}

/* Say whether a section that was cut has ended. It has where a block of the next one starts at the
   same place, which from there on is no guess any more. Beyond the latest of its blocks, that in slot
   `known`, it never will. */
static End end_of_cut(const Section *section, const Sections *sections, size_t known)
{
    const uint32_t place = sections->starts[section->slot + section->count];
    Section *next = sections->of + (section - sections->of) + 1;
    if (place > 8 * (uint64_t)sections->length)
        return IS_DAMAGED;
    if (next == sections->of + sections->count)
        return is_filled_up(sections, place) ? HAS_ENDED : GOES_ON;
    for (; next->slot + next->joined <= known; ++next->joined) {
        const uint32_t start = sections->starts[next->slot + next->joined];
        next->is_guess &= start != place;
        if (start >= place)
            return start == place ? HAS_ENDED : GOES_ON;
    }
    return known < next->slot ? GOES_ON : IS_DAMAGED;
}

#endif
