/* From what is known of the blocks of all sections to pixels.

   A first coefficient is stored as the difference to that of the block before, of the same section
   where marks are between them. So they are read here, in order, where their blocks start. */

#ifndef BATCHSCAN_PIXELS_H
#define BATCHSCAN_PIXELS_H

#include "sections.h"

/* Say whether there are as many blocks as the image has. */
static int has_blocks(const Sections *sections, size_t count)
{
    for (size_t index = 0; index < sections->count; ++index)
        count -= sections->of[index].count - sections->of[index].joined;
    return count == 0;
}

/* Read the first coefficient of the block in a slot, given that of the block before; 0 if it is none
   of a sound file. */
INLINE int read_value_of(const Sections *sections, const Tables *tables, size_t slot, int *value)
{
    const uint32_t place = sections->starts[slot];
    const uint64_t bits = eight_bytes(sections->bytes + place / 8) << place % 8;
    const Single first = tables->first[bits >> (64 - LOOK)];
    if (UNLIKELY(first.length == 0 || first.bits > LOOK)) {
        const Bits in = bits_at(sections->bytes, place);
        if (read_first(in, tables->first, &tables->dc, value).place < 0)
            return 0;
    } else {
        *value += first.value;
    }
    return is_sound_first(*value);
}

/* LANES blocks: their first coefficients, and what is made of them. */
typedef struct {
    int32_t first[LANES];
    uint8_t of[2][2][LANES]; /* By row, column and lane. */
    int32_t excess[LANES];
} Pixels;

/* Make pixels of what is known of blocks without their first coefficients. */
INLINE void finish(Pixels *pixels, const Sums *sums, int32_t scale)
{
    memcpy(pixels->excess, sums->excess, sizeof pixels->excess);
    for (int lane = 0; lane < LANES; ++lane) {
        int32_t *excess = &pixels->excess[lane];
        const uint32_t base = dequantized((int16_t)pixels->first[lane], scale, excess) << 17;
        for (int y = 0; y < 2; ++y)
            for (int x = 0; x < 2; ++x)
                pixels->of[y][x][lane] = pixel(rounded(sums->of[y][x][lane] + base, 20), excess);
    }
}

/* Where the next pixels go, in rows of blocks: `across` of them in each. */
typedef struct {
    uint8_t *to;
    size_t column, across;
} Cursor;

/* Store the pixels of some lanes; returns 0 if they are as of a sound file. */
INLINE int32_t put(Cursor *cursor, const Pixels *pixels, size_t lane, size_t end)
{
    int32_t any = 0;
    for (; lane < end; ++lane) {
        uint8_t *upper = cursor->to + 2 * cursor->column, *lower = upper + 2 * cursor->across;
        upper[0] = pixels->of[0][0][lane];
        upper[1] = pixels->of[0][1][lane];
        lower[0] = pixels->of[1][0][lane];
        lower[1] = pixels->of[1][1][lane];
        any |= pixels->excess[lane];
        if (++cursor->column == cursor->across) {
            cursor->column = 0;
            cursor->to += 4 * cursor->across;
        }
    }
    return any;
}

/* Make four pixels of each block from one slot to another; returns 0 if they are as of a sound file. */
INLINE int32_t store_quarters(const Sections *sections, const Tables *tables, size_t slot,
                              size_t end, int *value, Cursor *cursor)
{
    Pixels pixels = {0};
    int32_t excess = 0;
    while (slot < end) {
        const Sums *sums = sections->sums + slot / LANES;
        const size_t lane = slot % LANES, rest = end - slot;
        const size_t stop = rest < LANES - lane ? lane + rest : LANES;
        for (size_t other = lane; other < stop; ++other, ++slot) {
            if (UNLIKELY(!read_value_of(sections, tables, slot, value)))
                return 1;
            pixels.first[other] = *value;
        }
        finish(&pixels, sums, tables->scale[0]);
        excess |= put(cursor, &pixels, lane, stop);
    }
    return excess;
}

/* Make one pixel of each; the same. */
INLINE int32_t store_eighths(const Sections *sections, const Tables *tables, size_t slot, size_t end,
                             int *value, Cursor *cursor)
{
    int32_t excess = 0;
    for (; slot < end; ++slot) {
        if (UNLIKELY(!read_value_of(sections, tables, slot, value)))
            return 1;
        *cursor->to++ = pixel((*value * tables->scale[0] + 4) >> 3, &excess);
    }
    return excess;
}

/* Make pixels of all blocks that count; 0 if they are not as of a sound file. */
INLINE int store(const Sections *sections, const Tables *tables, Cursor cursor, int shift)
{
    int32_t excess = 0;
    int value = 0;
    for (size_t index = 0; index < sections->count; ++index) {
        const Section *section = sections->of + index;
        const size_t first = section->slot + section->joined, end = section->slot + section->count;
        if (!sections->is_cut)
            value = 0;
        excess |= shift == EIGHTH
                      ? store_eighths(sections, tables, first, end, &value, &cursor)
                      : store_quarters(sections, tables, first, end, &value, &cursor);
    }
    return excess == 0;
}

#endif
