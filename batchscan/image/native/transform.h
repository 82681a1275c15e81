/* From the coefficients of a block to 2 x 2 pixels, as libjpeg's reduced transform does it.

   It is what is left of the inverse DCT of 8 x 8 if neighbouring pixels are averaged: columns first,
   then rows, in fixed point of 13 bits. Both its rounding steps are followed exactly. Between them,
   numbers are cut to 16 bits by some builds of libjpeg and not by others. No sound file has
   coefficients that tell these apart; files that have are left to libjpeg. */

#ifndef BATCHSCAN_TRANSFORM_H
#define BATCHSCAN_TRANSFORM_H

#include "codes.h"

enum {
    SIDE = 5,             /* Of the coefficients that count: 0, 1, 3, 5 and 7. */
    UNUSED = SIDE * SIDE, /* Where all others go. */
    MOST = 2048           /* Dequantized coefficients of 8-bit pixels reach about half of it; below
                             it, sums of a column stay within 16 bits. */
};

/* Of odd coefficients 1, 3, 5, 7: 8192 times 3.624509785, -1.272758580, 0.850430095, -0.720959822. */
static const int32_t odd_part[SIDE - 1] = {29692, -10426, 6967, -5906};

/* The coefficients of blocks, those of one place side by side. LANES of them are transformed together,
   while others are read. */
typedef struct {
    int16_t of[UNUSED + 1][RING];
} Batch;

/* What is made of LANES blocks, by row, column and lane: pixels before they are rounded. */
typedef struct {
    uint32_t of[2][2][LANES];
    int32_t excess[LANES]; /* Not 0 where a block is not as of sound files. */
} Sums;

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
    static const int8_t part[8] = {0, 1, -1, 2, -1, 3, -1, 4};
    for (int index = 0; index < PLACES; ++index) {
        int row = index < BLOCK ? part[zigzag[index] / 8] : -1;
        int column = index < BLOCK ? part[zigzag[index] % 8] : -1;
        int place = row < 0 || column < 0 ? UNUSED : SIDE * row + column;
        place_of[index] = (uint16_t)(place * RING);
    }
}

/* Round `value`, of a pixel less 128; notes one so far from 0 that builds of libjpeg differ. */
INLINE uint8_t pixel(int32_t value, int32_t *excess)
{
    *excess |= (value + 512) & ~1023;
    value += 128;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Dequantize a coefficient; notes one that is too large. As all that is made of it then counts for
   nothing, sums are of unsigned numbers, which may overflow. */
INLINE uint32_t dequantized(int16_t value, int32_t scale, int32_t *excess)
{
    int32_t scaled = value * scale;
    *excess |= (scaled + MOST) & ~(2 * MOST - 1);
    return (uint32_t)scaled;
}

INLINE int32_t rounded(uint32_t value, int bits)
{
    return (int32_t)(value + (1U << (bits - 1))) >> bits;
}

/* Transform the LANES blocks of `batch` from lane `from` on. `scale` has the quantization by place. */
INLINE void transform(const Batch *batch, size_t from, const int32_t *scale, Sums *sums)
{
    int32_t columns[2][SIDE][LANES];
    memset(sums->excess, 0, sizeof sums->excess);
    for (int column = 0; column < SIDE; ++column) {
        for (int lane = 0; lane < LANES; ++lane) {
            int32_t *excess = &sums->excess[lane];
            uint32_t even = dequantized(batch->of[column][from + lane], scale[column], excess);
            uint32_t odd = 0;
            for (int row = 1; row < SIDE; ++row) {
                int place = SIDE * row + column;
                odd += dequantized(batch->of[place][from + lane], scale[place], excess) *
                       (uint32_t)odd_part[row - 1];
            }
            even <<= 15;
            columns[0][column][lane] = rounded(even + odd, 13);
            columns[1][column][lane] = rounded(even - odd, 13);
        }
    }
    for (int row = 0; row < 2; ++row) {
        for (int lane = 0; lane < LANES; ++lane) {
            uint32_t even = (uint32_t)columns[row][0][lane] << 15, odd = 0;
            for (int column = 1; column < SIDE; ++column)
                odd += (uint32_t)columns[row][column][lane] * (uint32_t)odd_part[column - 1];
            sums->of[row][0][lane] = even + odd;
            sums->of[row][1][lane] = even - odd;
        }
    }
}

#endif
