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
    uint8_t of[MOST_NUMBERS - 1][LANES]; /* Pixels, row by row. */
    Lanes excess;
} Pixels;

/* Make pixels of what is known of blocks without their first coefficients. */
INLINE void finish(Pixels *pixels, const Lanes *made, int32_t scale, int shift)
{
    pixels->excess = made[0];
    for (int lane = 0; lane < LANES; ++lane) {
        uint32_t *excess = &pixels->excess.of[lane];
        const uint32_t base = dequantized((int16_t)pixels->first[lane], scale, excess)
                              << (15 + shift);
        for (size_t at = 0; at + 1 < numbers_of(shift); ++at)
            pixels->of[at][lane] = pixel(rounded(made[1 + at].of[lane] + base, 18 + shift), excess);
    }
}

/* Where the next pixels go, in rows of blocks: `across` of them in each. */
typedef struct {
    uint8_t *to;
    size_t column, across;
} Cursor;

/* Store the pixels of some lanes; returns 0 if they are as of a sound file. */
INLINE uint32_t put(Cursor *cursor, const Pixels *pixels, size_t lane, size_t end, int shift)
{
    const size_t side = (size_t)pixels_of(shift), stride = side * cursor->across;
    uint32_t any = 0;
    for (; lane < end; ++lane) {
        uint8_t *to = cursor->to + side * cursor->column;
        for (size_t y = 0; y < side; ++y)
            for (size_t x = 0; x < side; ++x)
                to[y * stride + x] = pixels->of[side * y + x][lane];
        any |= pixels->excess.of[lane];
        if (++cursor->column == cursor->across) {
            cursor->column = 0;
            cursor->to += side * stride;
        }
    }
    return any;
}

/* Make the pixels of each block from one slot to another; returns 0 if they are as of a sound file. */
INLINE uint32_t store_blocks(const Sections *sections, const Tables *tables, size_t slot, size_t end,
                             int *value, Cursor *cursor, int shift)
{
    Pixels pixels = {0};
    uint32_t excess = 0;
    while (slot < end) {
        const Lanes *made = sections->made + slot / LANES * numbers_of(shift);
        const size_t lane = slot % LANES, rest = end - slot;
        const size_t stop = rest < LANES - lane ? lane + rest : LANES;
        for (size_t other = lane; other < stop; ++other, ++slot) {
            if (UNLIKELY(!read_value_of(sections, tables, slot, value)))
                return 1;
            pixels.first[other] = *value;
        }
        finish(&pixels, made, tables->scale[0], shift);
        excess |= put(cursor, &pixels, lane, stop, shift);
    }
    return excess;
}

/* Make one pixel of each; the same. */
INLINE uint32_t store_eighths(const Sections *sections, const Tables *tables, size_t slot, size_t end,
                              int *value, Cursor *cursor)
{
    uint32_t excess = 0;
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
    uint32_t excess = 0;
    int value = 0;
    for (size_t index = 0; index < sections->count; ++index) {
        const Section *section = sections->of + index;
        const size_t first = section->slot + section->joined, end = section->slot + section->count;
        if (!sections->is_cut)
            value = 0;
        excess |= shift == EIGHTH
                      ? store_eighths(sections, tables, first, end, &value, &cursor)
                      : store_blocks(sections, tables, first, end, &value, &cursor, shift);
    }
    return excess == 0;
}

#endif
