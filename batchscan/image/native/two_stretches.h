/* Two stretches of codes, between restart marks of a grey image, passed over in turns.

   Each look into a table has to wait for the one before. Where there are two stretches that do not
   depend on each other, one waits while the other looks: three quarters of the time. */

#ifndef BATCHSCAN_TWO_STRETCHES_H
#define BATCHSCAN_TWO_STRETCHES_H

#include "transform.h"

typedef struct {
    Bits in;
    int place, value; /* In the block; of its first coefficient. */
    size_t left;      /* Blocks that are still to begin. */
    int is_over;
    uint8_t *to; /* Where the pixel of the next block goes. */
    const uint8_t *limit;
} Pass;

/* What both need of the file. */
typedef struct {
    const Single *first;
    const Skip *skip;
    const Codes *dc, *ac;
    int32_t scale;
} Reading;

/* Begin the next block, if there is one; 0 if it is damaged. */
INLINE int begin_block(Pass *pass, const Reading *reading, int32_t *excess)
{
    Read read;
    if (pass->left == 0) {
        pass->is_over = 1;
        return 1;
    }
    read = read_first(refilled(pass->in), reading->first, reading->dc, &pass->value);
    if (UNLIKELY(read.place < 0 || !is_sound_first(pass->value) || pass->in.next > pass->limit))
        return 0;
    *pass->to++ = pixel((pass->value * reading->scale + 4) >> 3, excess);
    pass->in = refilled(read.in);
    pass->place = read.place;
    --pass->left;
    return 1;
}

/* Take one look; 0 if what follows is damaged. */
INLINE int take_turn(Pass *pass, const Reading *reading, int32_t *excess)
{
    Skip skip = reading->skip[peek(pass->in, LOOK)];
    Read read = {without(pass->in, skip.bits), pass->place + skip.advance};
    if (read.place >= BLOCK && !is_end(read.place))
        read = read_single(pass->in, reading->ac, pass->place, NULL);
    pass->in = refilled(read.in);
    pass->place = read.place;
    return read.place < BLOCK ? read.place >= 0 : begin_block(pass, reading, excess);
}

/* Pass over both to their ends; 0 if they are damaged. */
INLINE int pass_over(Pass *one, Pass *two, const Reading *reading, int32_t *excess)
{
    Pass a = *one, b = *two; /* In registers. */
    if (!begin_block(&a, reading, excess) || !begin_block(&b, reading, excess))
        return 0;
    while (!a.is_over && !b.is_over) {
        Skip skip_a = reading->skip[peek(a.in, LOOK)], skip_b = reading->skip[peek(b.in, LOOK)];
        int after_a = a.place + skip_a.advance, after_b = b.place + skip_b.advance;
        if (UNLIKELY(after_a >= BLOCK)) {
            if (!take_turn(&a, reading, excess))
                return 0;
        } else if (UNLIKELY(after_b >= BLOCK)) {
            if (!take_turn(&b, reading, excess))
                return 0;
        } else {
            a.place = after_a;
            b.place = after_b;
            a.in = refilled(without(a.in, skip_a.bits));
            b.in = refilled(without(b.in, skip_b.bits));
        }
    }
    while (!a.is_over)
        if (!take_turn(&a, reading, excess))
            return 0;
    while (!b.is_over)
        if (!take_turn(&b, reading, excess))
            return 0;
    *one = a;
    *two = b;
    return 1;
}

#endif
