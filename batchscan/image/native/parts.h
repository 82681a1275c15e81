/* One long stretch of codes of a grey image at a quarter, in four parts at a time.

   Each look into a table has to wait for the one before, and here there is but one stretch. So three
   passes begin somewhere in it. At first they read nonsense, but codes fall into step by themselves:
   a pass that has once come to the beginning of a block is right from there on. It shows when the
   pass of the part before comes to the very same place; until then, nothing of a part counts. What
   a block is alone can be told before: its sums without the first coefficient. That is stored as a
   difference, and so known only when all parts before are. */

#ifndef BATCHSCAN_PARTS_H
#define BATCHSCAN_PARTS_H

#include "stretches.h"

#ifndef SHORTEST
#define SHORTEST (1 << 13) /* Bytes of a stretch that is worth it. Fuzzing takes less. */
#endif

enum {
    PARTS = 4,
    STARTS = 512,        /* Blocks of a part within which the part before must have met it. */
    MOST_UNITS = 1 << 16 /* Blocks of a stretch: there is memory for them. */
};

/* What is known of LANES blocks. */
typedef struct {
    uint32_t sums[2][2][LANES];
    int32_t first[LANES]; /* First coefficients, as differences to what was before the part. */
    int32_t excess[LANES];
} Sums;

/* A part: blocks from a place on that is a guess, but for the first part's. */
typedef struct {
    int is_guess;
    Batch batch;             /* Of the block that is being read, and those before. */
    Sums *sums;              /* Room for `most` blocks. */
    size_t count, most;      /* Blocks that have begun, and how many can. */
    int value;               /* Of the first coefficient. */
    size_t joined;           /* The first block that counts. */
    uint64_t starts[STARTS]; /* Where the first blocks begin, in bits. */
} Part;

/* What all passes need. */
typedef struct {
    const Single *first;
    const Pair *pair;
    const Codes *dc, *ac;
    const int32_t *scale;
    const uint8_t *bytes, *end;              /* Of the stretch. */
    void (*add_up)(Part *, const int32_t *); /* See `add_up`. */
} Source;

enum { BEGUN = 1, IS_OVER = 0, NONSENSE = -1 };

/* Transform the batch of the last blocks. */
INLINE void add_up(Part *part, const int32_t *scale)
{
    Sums *sums = part->sums + (part->count - 1) / LANES;
    memset(sums->excess, 0, sizeof sums->excess);
    transform(&part->batch, scale, sums->sums, sums->excess);
    memset(&part->batch, 0, sizeof part->batch);
}

/* Say whether `next` has begun a block at this place, where the part before it has come to: from
   there on, it is no guess any more. It is lost if the part before has come further than all that is
   known of it. */
INLINE int has_met(Part *next, uint64_t place, int *is_lost)
{
    const size_t known = next->count < STARTS ? next->count : STARTS;
    while (next->joined < known && next->starts[next->joined] < place)
        ++next->joined;
    *is_lost = next->joined == known;
    if (*is_lost || next->starts[next->joined] != place)
        return 0;
    next->is_guess = 0;
    return 1;
}

/* Say whether nothing is left but the ones that fill the last byte: no code is made of ones. */
INLINE int is_filled_up(const Pass *pass, const Source *source)
{
    uint64_t left = (uint64_t)(source->end - pass->from) * 8 - bits_used(pass);
    return pass->from <= source->end && left < 8 && pass->bits >> (64 - 8) >> (8 - left) ==
                                                        ((uint64_t)1 << left) - 1;
}

/* Begin the next block, unless the part is over. `next` is the part behind it, or NULL. */
INLINE int begin_in(Pass *pass, Part *part, Part *next, const Source *source)
{
    uint64_t place;
    load(pass);
    place = (uint64_t)(pass->from - source->bytes) * 8 + bits_used(pass);
    if (UNLIKELY(pass->from >= pass->end)) {
        int is_lost = pass->from > source->end;
        pass->is_over = next ? has_met(next, place, &is_lost) : is_filled_up(pass, source);
        if (pass->is_over || is_lost)
            return IS_OVER;
    }
    if (part->count == part->most)
        return IS_OVER;
    if (part->count && part->count % LANES == 0)
        source->add_up(part, source->scale);
    if (part->count < STARTS)
        part->starts[part->count] = place;
    if (!read_difference(pass, source->first, source->dc, &part->value))
        return NONSENSE;
    part->sums[part->count / LANES].first[part->count % LANES] = part->value;
    pass->lane = part->batch.of[0] + part->count % LANES;
    ++part->count;
    return BEGUN;
}

INLINE void clear_part(Part *part)
{
    part->count = part->joined = 0;
    part->value = 0;
    memset(&part->batch, 0, sizeof part->batch);
}

/* Leave what was nonsense for another guess; 0 where it cannot have been one. */
INLINE int guess_anew(Pass *pass, Part *part)
{
    if (!part->is_guess || part->count > STARTS)
        return 0;
    pass->from += bits_used(pass) / 8 + 1;
    pass->state = 0;
    clear_part(part);
    return 1;
}

/* Begin a block, from another guess on if this one is nonsense; 0 if there is none. */
INLINE int begin_somewhere(Pass *pass, Part *part, Part *next, const Source *source, int begun)
{
    do {
        if (begun == NONSENSE && !guess_anew(pass, part))
            return 0;
        begun = begin_in(pass, part, next, source);
    } while (begun == NONSENSE);
    return begun == BEGUN;
}

/* Go on behind a look that has ended the block, or was at what it does not know; see `read_pairs`. */
INLINE int go_on_in(Pass *pass, Part *part, Part *next, const Source *source, Pair pair)
{
    const int advance = pair.step / PLACE, after = (int)(pass->state / PLACE);
    const int place = after - advance, has_second = place + pair.first < BLOCK - 1;
    int begun = BEGUN;
    if (advance != ENDED && !(has_second && (after == BLOCK || after >= ENDED))) {
        Read read;
        pass->state -= pair.step;
        read.in = bits_of(pass);
        if (advance == UNKNOWN && pair.step % PLACE)
            read = read_value(refilled(without(read.in, pair.step % PLACE)), pair.value, place,
                              pass->lane);
        else
            read = read_single(read.in, source->ac, place, pass->lane);
        begun = read.place < 0 ? NONSENSE : BEGUN;
        if (begun == BEGUN) {
            resume(pass, read);
            if (read.place < BLOCK)
                return 1;
        }
    }
    return begin_somewhere(pass, part, next, source, begun);
}

/* Take one look; four of them take 48 bits at most. */
INLINE int look_in(Pass *pass, Part *part, Part *next, const Source *source)
{
    const Pair pair = source->pair[pass->bits >> (64 - LOOK)];
    const uint32_t place = pass->state / PLACE;
    pass->lane[place_of[place + pair.first]] = pair.value;
    pass->lane[place_of[place + pair.second]] = pair.second_value;
    pass->bits <<= pair.step & 63;
    pass->state += pair.step;
    return !UNLIKELY(pass->state >= BLOCK * PLACE) || go_on_in(pass, part, next, source, pair);
}

INLINE int finish_part(Pass *pass, Part *part, Part *next, const Source *source)
{
    while (!pass->is_over) {
        load(pass);
        if (!look_in(pass, part, next, source) && !pass->is_over)
            return 0;
    }
    if (part->count)
        source->add_up(part, source->scale);
    return 1;
}

/* Leave nothing of the file before: parts look at each other from the first block on. */
static void clear_parts(Part *parts)
{
    for (int number = 0; number < PARTS; ++number) {
        parts[number].is_guess = number > 0;
        clear_part(&parts[number]);
    }
}

/* Begin a part; 0 if no block begins in it. */
INLINE int begin_part(Pass *pass, Part *part, const Source *source, int number)
{
    const size_t length = (size_t)(source->end - source->bytes);
    pass->from = source->bytes + length / PARTS * (size_t)number;
    pass->end = number + 1 < PARTS ? pass->from + length / PARTS : source->end - 1;
    return begin_somewhere(pass, part, number + 1 < PARTS ? part + 1 : NULL, source, BEGUN);
}

/* Read all parts, which are clear; 0 if they do not meet, or are damaged. */
INLINE int read_parts(Part *parts, const Source *source)
{
    Part *const p = parts, *const q = parts + 1, *const r = parts + 2, *const s = parts + 3;
    Pass a = {0}, b = {0}, c = {0}, d = {0};
    int goes_on = begin_part(&a, p, source, 0) && begin_part(&b, q, source, 1) &&
                  begin_part(&c, r, source, 2) && begin_part(&d, s, source, 3);
    while (goes_on) {
        load(&a);
        load(&b);
        load(&c);
        load(&d);
        goes_on = look_in(&a, p, q, source) && look_in(&b, q, r, source) &&
                  look_in(&c, r, s, source) && look_in(&d, s, NULL, source) &&
                  look_in(&a, p, q, source) && look_in(&b, q, r, source) &&
                  look_in(&c, r, s, source) && look_in(&d, s, NULL, source);
    }
    return (a.is_over || b.is_over || c.is_over || d.is_over) && finish_part(&a, p, q, source) &&
           finish_part(&b, q, r, source) && finish_part(&c, r, s, source) &&
           finish_part(&d, s, NULL, source);
}

/* Make pixels of the blocks that count, of which the first is number `number` of the image; `base`
   is what first coefficients are differences to. */
INLINE int32_t store_part(const Part *part, int base, int32_t scale, uint8_t *pixels,
                          size_t across, size_t number)
{
    int32_t any = 0;
    size_t column = number % across;
    uint8_t *row = pixels + number / across * 4 * across;
    for (size_t block = part->joined; block < part->count;) {
        const Sums *sums = part->sums + block / LANES;
        const size_t end = (block / LANES + 1) * LANES;
        int32_t excess[LANES];
        uint8_t out[2][2][LANES];
        for (int lane = 0; lane < LANES; ++lane) {
            int32_t first = (int32_t)((uint32_t)base + (uint32_t)sums->first[lane]);
            excess[lane] = sums->excess[lane] | !is_sound_first(first);
            first = (int32_t)dequantized((int16_t)first, scale, &excess[lane]);
            for (int y = 0; y < 2; ++y)
                for (int x = 0; x < 2; ++x)
                    out[y][x][lane] =
                        pixel(rounded(sums->sums[y][x][lane] + ((uint32_t)first << 17), 20),
                              &excess[lane]);
        }
        for (; block < part->count && block < end; ++block) {
            const size_t lane = block % LANES;
            any |= excess[lane];
            row[2 * column] = out[0][0][lane];
            row[2 * column + 1] = out[0][1][lane];
            row[2 * (across + column)] = out[1][0][lane];
            row[2 * (across + column) + 1] = out[1][1][lane];
            if (++column == across) {
                column = 0;
                row += 4 * across;
            }
        }
    }
    return any;
}

/* Store all parts, which have so many blocks together; 0 if they have not, or are not sound. */
INLINE int store_parts(const Part *parts, int32_t scale, uint8_t *pixels, size_t across,
                       size_t units)
{
    size_t number = 0;
    int value = 0;
    int32_t excess = 0;
    for (int index = 0; index < PARTS; ++index)
        number += parts[index].count - parts[index].joined;
    if (number != units)
        return 0;
    number = 0;
    for (int index = 0; index < PARTS; ++index) {
        const Part *part = parts + index;
        const size_t before = part->joined - 1;
        if (part->joined)
            value -= part->sums[before / LANES].first[before % LANES];
        excess |= store_part(part, value, scale, pixels, across, number);
        number += part->count - part->joined;
        value += part->value;
    }
    return excess == 0;
}

#endif
