/* A progressive image at an eighth of its size: the first coefficient of each block is all it needs.

   The scans of such a file bring some coefficients each, and of these the upper bits first. Of the
   first coefficient there are few, with next to nothing in them; all others are passed over. libjpeg
   decodes them, too, but whatever they hold, these pixels stay the same: if only all coefficients
   are there to their last bit in the end, as else it makes up what is missing. */

#ifndef BATCHSCAN_PROGRESSIVE_H
#define BATCHSCAN_PROGRESSIVE_H

#include "codes.h"

enum { LOWEST_BIT = 13 }; /* The highest that libjpeg takes for it. */

/* Section G.1.1.1: what a scan brings. Coefficients by zigzag index; bits as `low` from the last. */
typedef struct {
    int first, last; /* Coefficients. */
    int high, low;   /* The lowest bit that was there before (0: none was), and that is then. */
} Scan;

/* The lowest bit that is there of each coefficient, or NOT_SEEN. */
typedef struct {
    int of[BLOCK];
} Progress;

/* Read the header of a scan of a grey image; it may only use tables that are there. */
static int read_progressive_scan(Header *header, const Segment *segment, Scan *scan)
{
    const uint8_t *from = segment->from;
    Component *grey = &header->component[0];
    if (segment->length != 6 || from[0] != 1 || from[1] != grey->name || from[2] >> 4 > 3 ||
        (from[2] & 15) > 3)
        return 0;
    grey->dc_table = from[2] >> 4;
    grey->ac_table = from[2] & 15;
    *scan = (Scan){from[3], from[4], from[5] >> 4, from[5] & 15};
    if (scan->low > LOWEST_BIT || (scan->high && scan->low != scan->high - 1))
        return 0;
    if (scan->first == 0)
        return scan->last == 0 && (scan->high || header->dc[grey->dc_table].is_defined);
    return scan->first <= scan->last && scan->last < BLOCK &&
           header->ac[grey->ac_table].is_defined;
}

/* Note what a scan brings; 0 if it does not go on where those before have ended. */
static int advance(Progress *progress, const Scan *scan)
{
    if (scan->first && progress->of[0] == NOT_SEEN)
        return 0;
    for (int index = scan->first; index <= scan->last; ++index) {
        if (progress->of[index] != (scan->high ? scan->high : NOT_SEEN))
            return 0;
        progress->of[index] = scan->low;
    }
    return 1;
}

static int is_complete(const Progress *progress)
{
    int lacking = 0;
    for (int index = 0; index < BLOCK; ++index)
        lacking |= progress->of[index];
    return lacking == 0;
}

/* Read the upper bits of all first coefficients; returns what is left, or -1 for `place` in it. */
static Read read_all_first(Bits in, const Single *table, const Codes *codes, int low,
                           int16_t *values, size_t count, const uint8_t *limit)
{
    int value = 0;
    Read read = {in, 0};
    for (size_t block = 0; block < count && read.place >= 0; ++block) {
        read = read_first(refilled(read.in), table, codes, &value);
        if (!is_sound_first(value) || !is_sound_first(value * (1 << low)) || read.in.next > limit)
            read.place = -1;
        values[block] = (int16_t)(value * (1 << low));
    }
    return read;
}

/* Add their next lower bit: one for each, the last byte's rest is for nothing. */
static int refine_all(const uint8_t *bytes, size_t length, int low, int16_t *values, size_t count)
{
    if (length != (count + 7) / 8)
        return 0;
    for (size_t block = 0; block < count; ++block)
        values[block] |= (int16_t)((bytes[block / 8] >> (7 - block % 8) & 1) << low);
    return 1;
}

#endif
