/* Stretches of codes, between restart marks of a grey image at an eighth, four at a time.

   Each look into a table has to wait for the one before. Stretches do not depend on each other: while
   one waits, the others look. Each of four passes has a stretch, and takes the next when it is done. */

#ifndef BATCHSCAN_STRETCHES_H
#define BATCHSCAN_STRETCHES_H

#include "transform.h"

/* Stretches that are still to be decoded, one behind the other. */
typedef struct {
    const uint8_t *bytes;
    const size_t *ends; /* Where each of them ends. */
    size_t count, taken;
    size_t units, interval; /* Blocks of all, and of each but the last. */
    uint8_t *pixels;
} Queue;

enum { PASSES = 4 }; /* At a time. */

/* What all passes need of the file. */
typedef struct {
    const Single *first;
    const Skip *skip;
    const Codes *dc, *ac;
    int32_t scale;
} Reading;

typedef struct {
    uint64_t bits;       /* The next one on top: as they are from a byte on, less those used. */
    const uint8_t *from; /* That byte. */
    uint32_t state;      /* Bits used, plus PLACE for each coefficient that the block has. */
    int value;           /* Of its first coefficient. */
    size_t left;         /* Blocks that are still to begin. */
    uint8_t *to;         /* Where the pixel of the next block goes, */
    int16_t *lane;       /* or the coefficients of this one. */
    const uint8_t *end;  /* Of the stretch; of a part, where to look out for the next. */
    int is_over;
} Pass;

INLINE uint32_t bits_used(const Pass *pass)
{
    return pass->state % PLACE;
}

/* Begin with the byte that the next bit is in. At least 57 bits are there then. */
INLINE void load(Pass *pass)
{
    pass->from += bits_used(pass) / 8;
    pass->state &= ~(uint32_t)(PLACE - 8);
    pass->bits = eight_bytes(pass->from) << (pass->state & 7);
}

/* The same as what is read step by step, and back again. */
INLINE Bits bits_of(const Pass *pass)
{
    Bits in = {.next = pass->from + bits_used(pass) / 8};
    return without(refilled(in), bits_used(pass) % 8);
}

INLINE void resume(Pass *pass, Read read)
{
    pass->from = read.in.next - (read.in.count + 7) / 8;
    pass->state = (uint32_t)read.place * PLACE + (uint32_t)(-read.in.count & 7);
    load(pass);
}

/* Read a block's first coefficient, as a difference to that of the block before; 0 if none comes. */
INLINE int read_difference(Pass *pass, const Single *table, const Codes *codes, int *value)
{
    const Single first = table[pass->bits >> (64 - LOOK)];
    if (UNLIKELY(first.length == 0 || first.bits > LOOK)) {
        Read read = read_first(bits_of(pass), table, codes, value);
        if (read.place < 0)
            return 0;
        resume(pass, read);
    } else {
        *value += first.value;
        pass->bits <<= first.bits;
        pass->state = bits_used(pass) + first.bits + PLACE;
    }
    return 1;
}

/* Say whether only the rest of the stretch's last byte is left. */
INLINE int is_at_end(const Pass *pass)
{
    return pass->from + (bits_used(pass) + 7) / 8 == pass->end;
}

/* Take the next stretch; 0 if there is none, or if the last one did not end where it should. */
INLINE int take_next(Pass *pass, Queue *queue)
{
    const size_t number = queue->taken;
    if (pass->end && !is_at_end(pass))
        return 0;
    if (number == queue->count) {
        pass->is_over = 1;
        return 0;
    }
    ++queue->taken;
    pass->from = queue->bytes + (number ? queue->ends[number - 1] : 0);
    pass->end = queue->bytes + queue->ends[number];
    pass->state = 0;
    pass->value = 0;
    pass->to = queue->pixels + number * queue->interval;
    pass->left = number + 1 < queue->count ? queue->interval
                                           : queue->units - number * queue->interval;
    return 1;
}

/* Begin the next block; 0 if there is none, or if it is damaged. */
INLINE int begin_block(Pass *pass, const Reading *reading, Queue *queue, int32_t *excess)
{
    if (pass->left == 0 && !take_next(pass, queue))
        return 0;
    load(pass);
    if (!read_difference(pass, reading->first, reading->dc, &pass->value))
        return 0;
    *pass->to++ = pixel((pass->value * reading->scale + 4) >> 3, excess);
    --pass->left;
    return is_sound_first(pass->value) && pass->from < pass->end;
}

/* Go on behind a look that has ended the block, or was at what it does not know. */
INLINE int go_on(Pass *pass, Skip skip, const Reading *reading, Queue *queue, int32_t *excess)
{
    if (UNLIKELY(!is_end((int)(pass->state / PLACE)))) {
        Read read;
        pass->state -= skip;
        read = read_single(bits_of(pass), reading->ac, (int)(pass->state / PLACE), NULL);
        if (read.place < 0)
            return 0;
        resume(pass, read);
        if (read.place < BLOCK)
            return 1;
    }
    return begin_block(pass, reading, queue, excess);
}

/* Take one look; two of them take 44 bits at most. */
INLINE int look(Pass *pass, const Reading *reading, Queue *queue, int32_t *excess)
{
    Skip skip = reading->skip[pass->bits >> (64 - LOOK)];
    pass->bits <<= skip & 63;
    pass->state += skip;
    return !UNLIKELY(pass->state >= BLOCK * PLACE) || go_on(pass, skip, reading, queue, excess);
}

/* Take looks at one stretch after the other until there is none. */
INLINE int finish_pass(Pass *pass, const Reading *reading, Queue *queue, int32_t *excess)
{
    while (!pass->is_over) {
        load(pass);
        if (!look(pass, reading, queue, excess) && !pass->is_over)
            return 0;
    }
    return 1;
}

/* Decode all stretches, PASSES or more; 0 if they are damaged. */
INLINE int pass_over(Queue *queue, const Reading *reading, int32_t *excess)
{
    Pass a = {0}, b = {0}, c = {0}, d = {0};
    int goes_on = begin_block(&a, reading, queue, excess) &&
                  begin_block(&b, reading, queue, excess) &&
                  begin_block(&c, reading, queue, excess) &&
                  begin_block(&d, reading, queue, excess);
    while (goes_on) {
        load(&a);
        load(&b);
        load(&c);
        load(&d);
        goes_on = look(&a, reading, queue, excess) && look(&b, reading, queue, excess) &&
                  look(&c, reading, queue, excess) && look(&d, reading, queue, excess) &&
                  look(&a, reading, queue, excess) && look(&b, reading, queue, excess) &&
                  look(&c, reading, queue, excess) && look(&d, reading, queue, excess);
    }
    return (a.is_over || b.is_over || c.is_over || d.is_over) &&
           finish_pass(&a, reading, queue, excess) && finish_pass(&b, reading, queue, excess) &&
           finish_pass(&c, reading, queue, excess) && finish_pass(&d, reading, queue, excess);
}

#endif
