/* From the coefficients of a block to 4 x 4 or 2 x 2 pixels, as libjpeg's reduced transforms do it.

   They are what is left of the inverse DCT of 8 x 8 if neighbouring pixels are averaged: columns first,
   then rows, in fixed point of 13 bits. Both their rounding steps are followed exactly. Between them,
   numbers are cut to 16 bits by some builds of libjpeg and not by others. No sound file has
   coefficients that tell these apart; files that have are left to libjpeg. */

#ifndef BATCHSCAN_TRANSFORM_H
#define BATCHSCAN_TRANSFORM_H

#include "codes.h"

enum {
    HALF = 1,             /* Shifts: 8 pixels become 4, */
    QUARTER = 2,          /* 2, */
    EIGHTH = 3,           /* or 1. */
    SIDE = 7,             /* Of the coefficients that count: 0, 1, 3, 5, 7, and at a half 2 and 6. */
    UNUSED = SIDE * SIDE, /* Where all others go. */
    MOST_NUMBERS = 17,    /* See `Lanes`. */
    MOST = 2048,          /* Dequantized coefficients of 8-bit pixels reach about half of it; below
                             it, sums of a column stay within 16 bits at a quarter. */
    MOST_HALF = 16384     /* At a half they need a bound of their own. With four times the first
                             coefficient, which is added later, they stay within 16 bits, and sums of
                             a row within 32. */
};

/* How many of the coefficients of a line count, and how many pixels there are. */
INLINE int used_of(int shift)
{
    return shift == HALF ? SIDE : SIDE - 2;
}

INLINE int pixels_of(int shift)
{
    return 8 >> shift;
}

/* The coefficients of blocks, those of one place side by side. LANES of them are transformed together,
   while others are read. */
typedef struct {
    int16_t of[UNUSED + 1][RING];
} Batch;

/* A number of each of LANES blocks. What is made of them is so many: first one that is 0 unless the
   block is not as of a sound file, then their pixels, row by row, before they are rounded. */
typedef struct {
    uint32_t of[LANES];
} Lanes;

/* How many numbers are made of a block. */
INLINE size_t numbers_of(int shift)
{
    return 1 + (size_t)(pixels_of(shift) * pixels_of(shift));
}

/* Eight times the row of each coefficient, plus its column, by zigzag index (figure A.6). */
static const uint8_t zigzag[BLOCK] = {
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

/* Fill `place_of`. */
static void fill_places(void)
{
    static const int8_t part[8] = {0, 1, 5, 2, -1, 3, 6, 4};
    for (int index = 0; index < PLACES; ++index) {
        int row = index < BLOCK ? part[zigzag[index] / 8] : -1;
        int column = index < BLOCK ? part[zigzag[index] % 8] : -1;
        int place = row < 0 || column < 0 ? UNUSED : SIDE * row + column;
        place_of[index] = (uint16_t)(place * RING);
    }
}

/* Round `value`, of a pixel less 128; notes one so far from 0 that builds of libjpeg differ. */
INLINE uint8_t pixel(int32_t value, uint32_t *excess)
{
    *excess |= (uint32_t)(value + 512) & ~1023U;
    value += 128;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Dequantize a coefficient; notes one that is too large. As all that is made of it then counts for
   nothing, sums are of unsigned numbers, which may overflow. */
INLINE uint32_t dequantized(int16_t value, int32_t scale, uint32_t *excess)
{
    int32_t scaled = value * scale;
    *excess |= (uint32_t)(scaled + MOST) & ~(2U * MOST - 1);
    return (uint32_t)scaled;
}

INLINE int32_t rounded(uint32_t value, int bits)
{
    return (int32_t)(value + (1U << (bits - 1))) >> bits;
}

typedef struct {
    uint32_t of[4];
} Line;

/* Transform a line of coefficients, in the order of their places, to pixels; constants are 8192 times
   the real ones. */
INLINE Line inverse(const uint32_t in[SIDE], int shift)
{
    const uint32_t even = in[0] << (13 + shift);
    if (shift == QUARTER) {
        const uint32_t odd = in[1] * 29692 - in[2] * 10426 + in[3] * 6967 - in[4] * 5906;
        return (Line){{even + odd, even - odd}};
    } else {
        const uint32_t other = in[5] * 15137 - in[6] * 6270;
        const uint32_t outer = in[1] * 20995 + in[2] * 7373 - in[3] * 4926 - in[4] * 4176;
        const uint32_t inner = in[1] * 8697 - in[2] * 17799 + in[3] * 11893 - in[4] * 1730;
        return (Line){{even + other + outer, even - other + inner, even - other - inner,
                       even + other - outer}};
    }
}

/* Transform the LANES blocks of `batch` from lane `from` on. `scale` has the quantization by place. */
INLINE void transform(const Batch *batch, size_t from, const int32_t *scale, int shift, Lanes *made)
{
    const int used = used_of(shift), pixels = pixels_of(shift);
    int32_t columns[4][SIDE][LANES];
    made[0] = (Lanes){{0}};
    for (int column = 0; column < used; ++column) {
        for (int lane = 0; lane < LANES; ++lane) {
            uint32_t in[SIDE];
            Line line;
            for (int row = 0; row < used; ++row) {
                const int place = SIDE * row + column;
                in[row] = dequantized(batch->of[place][from + lane], scale[place], &made[0].of[lane]);
            }
            line = inverse(in, shift);
            for (int y = 0; y < pixels; ++y) {
                columns[y][column][lane] = rounded(line.of[y], 11 + shift);
                if (shift == HALF) /* See MOST_HALF. */
                    made[0].of[lane] |= (uint32_t)(columns[y][column][lane] + MOST_HALF) &
                                     ~(2U * MOST_HALF - 1);
            }
        }
    }
    for (int y = 0; y < pixels; ++y) {
        for (int lane = 0; lane < LANES; ++lane) {
            uint32_t in[SIDE];
            Line line;
            for (int column = 0; column < used; ++column)
                in[column] = (uint32_t)columns[y][column][lane];
            line = inverse(in, shift);
            for (int x = 0; x < pixels; ++x)
                made[1 + pixels * y + x].of[lane] = line.of[x];
        }
    }
}

#endif
