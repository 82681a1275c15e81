/* Tables of a file: what a look finds, quantization, and what neutral chroma looks like. */

#ifndef BATCHSCAN_TABLES_H
#define BATCHSCAN_TABLES_H

#include "transform.h"

/* What is made of a header for one way to decode. Tables are kept while the codes `dc` and `ac` are
   the same: most encoders use the same for all of their files. */
typedef struct {
    int shift;
    enum { NOTHING, PAIRS, SKIPS } filled; /* Which of `pair` and `skip`. */
    Codes dc, ac;
    Single first[ENTRIES];
    Single single[ENTRIES];
    Pair pair[2 * ENTRIES]; /* The second half passes over a block's first coefficient. */
    Skip skip[2 * ENTRIES]; /* The same. */
    int32_t scale[UNUSED + 1]; /* Quantization by place. */
    uint32_t neutral;          /* The bits that say that a unit's chroma is neutral, */
    int neutral_bits;          /* and how many they are. */
} Tables;

/* Return the code of a value, as `length` bits; 0 where the table has none. */
static uint32_t code_of(const Codes *codes, int value, int *length)
{
    for (*length = 1; *length <= LONGEST; ++*length)
        for (int32_t code = codes->first[*length]; code <= codes->last[*length]; ++code)
            if (codes->values[code + codes->offset[*length]] == value)
                return (uint32_t)code;
    *length = 0;
    return 0;
}

/* Neutral chroma is a difference of no bits, then the end of the block, for each component. */
static int fill_neutral(Tables *tables, const Header *header)
{
    tables->neutral = 0;
    tables->neutral_bits = 0;
    for (int number = 1; number < header->components; ++number) {
        const Codes *both[2] = {&header->dc[header->component[number].dc_table],
                                &header->ac[header->component[number].ac_table]};
        for (int which = 0; which < 2; ++which) {
            int length;
            uint32_t code = code_of(both[which], 0, &length);
            if (length == 0 || tables->neutral_bits + length > 32)
                return 0;
            tables->neutral = tables->neutral << length | code;
            tables->neutral_bits += length;
        }
    }
    return 1;
}

static void fill_entries(Tables *tables, const Codes *dc, const Codes *ac, int shift)
{
    const int needed = shift == EIGHTH ? SKIPS : PAIRS;
    tables->shift = shift;
    if ((int)tables->filled == needed && memcmp(&tables->dc, dc, sizeof *dc) == 0 &&
        memcmp(&tables->ac, ac, sizeof *ac) == 0)
        return;
    tables->filled = needed;
    tables->dc = *dc;
    tables->ac = *ac;
    fill_singles(tables->first, dc, MOST_BITS_DC);
    fill_singles(tables->single, ac, MOST_BITS_AC);
    for (uint32_t index = 0; index < ENTRIES; ++index) {
        const Single first = tables->first[index];
        const Skip skip = (Skip)(first.length ? first.bits + PLACE : PLACE * UNKNOWN);
        if (shift == EIGHTH) {
            tables->skip[index] = skip_of(tables->single, index);
            tables->skip[ENTRIES + index] = skip;
        } else {
            tables->pair[index] = pair_of(tables->single, index);
            tables->pair[ENTRIES + index] = (Pair){skip, ENDED, ENDED, 0, 0};
        }
    }
}

static int fill_tables(Tables *tables, const Header *header, int shift)
{
    const Component *grey = &header->component[0];
    fill_entries(tables, &header->dc[grey->dc_table], &header->ac[grey->ac_table], shift);
    for (int index = 0; index < BLOCK; ++index)
        tables->scale[place_of[index] / RING] =
            header->quantization[grey->quantization_table][index];
    tables->scale[UNUSED] = 0;
    return fill_neutral(tables, header);
}

#endif
