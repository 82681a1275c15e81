/* Huffman codes of coefficients, several at a look.

   A look at the next LOOK bits finds an entry of a table that says what they hold. What is not
   wholly in them, or is seldom, is read step by step. */

#ifndef BATCHSCAN_CODES_H
#define BATCHSCAN_CODES_H

#include "header.h"

#if defined(__GNUC__)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define INLINE static inline __attribute__((always_inline))
#define SELDOM static __attribute__((noinline))
#else
#define UNLIKELY(condition) (condition)
#define INLINE static inline
#define SELDOM static
#endif

enum {
    LOOK = 12, /* 13 bits are no faster: the tables must stay in the processor's first cache. */
    ENTRIES = 1 << LOOK,
    PAIR_TURNS = 4,    /* Looks for which the bits of a refill are enough. */
    SKIP_TURNS = 2,    /* The same where the last value may lie beyond the look. */
    ENDED = 128,       /* Added to an advance whose last code is "end of block". */
    UNKNOWN = 255,     /* The advance of bits that do not hold one code with its value. */
    MOST_BITS_AC = 10, /* Of a value: table F.2 of the standard. */
    MOST_BITS_DC = 11, /* Table F.1. */
    LANES = 16,        /* Blocks that are transformed together; see transform.h. */
    RING = 2 * LANES,  /* Blocks whose coefficients lie together. */
    PLACES = BLOCK + ENDED,
    PLACE = 1 << 8,
    ZEROS = 0xF0 /* The code for sixteen coefficients of zero. */
};

/* --- bits ------------------------------------------------------------------------------------ */

/* Bits, the next one on top. At least 56 are there once refilled. */
typedef struct {
    uint64_t bits;
    uint64_t count;
    const uint8_t *next;
} Bits;

INLINE uint64_t eight_bytes(const uint8_t *bytes)
{
    uint64_t value = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&value, bytes, sizeof value);
    return __builtin_bswap64(value);
#else
    for (int place = 0; place < 8; ++place)
        value = value << 8 | bytes[place];
    return value;
#endif
}

/* Bits below `count` may be there already: then they are the same. */
INLINE Bits refilled(Bits in)
{
    in.bits |= eight_bytes(in.next) >> in.count;
    in.next += (63 - in.count) >> 3;
    in.count |= 56;
    return in;
}

INLINE Bits without(Bits in, uint64_t count)
{
    in.bits <<= count & 63; /* It never is more. */
    in.count -= count;
    return in;
}

/* The bits from a place on, which is in bits, too. */
INLINE Bits bits_at(const uint8_t *bytes, uint32_t place)
{
    return without(refilled((Bits){.next = bytes + place / 8}), place % 8);
}

INLINE uint32_t peek(Bits in, int count)
{
    return (uint32_t)(in.bits >> (64 - count));
}

/* Section F.2.2.1 of the standard, EXTEND: one bit or more as a signed value. */
INLINE int signed_value(uint32_t value, int bits)
{
    return value >> (bits - 1) ? (int)value : (int)value - (1 << bits) + 1;
}

/* Return the value of the code that comes next, of more than LOOK bits; -1 if there is none. */
INLINE int next_long_code(Bits in, const Codes *codes, int *length)
{
    uint32_t top = peek(in, 32);
    for (*length = LOOK + 1; *length <= LONGEST; ++*length) {
        int32_t code = (int32_t)(top >> (32 - *length));
        if (code <= codes->last[*length] && code >= codes->first[*length])
            return codes->values[code + codes->offset[*length]];
    }
    return -1;
}

/* --- tables ---------------------------------------------------------------------------------- */

/* One code with its value. */
typedef struct {
    uint8_t length; /* Of the code; 0: not all in the bits, or none that a sound file has. */
    uint8_t symbol;
    uint8_t bits; /* Of both. */
    int16_t value; /* Where it is in the bits. */
} Single;

/* Where values count: one or two coefficients. */
typedef struct {
    uint16_t step; /* The bits that codes and values take (of an UNKNOWN, the code's), plus PLACE for
                      each coefficient that the block has more; see ENDED, UNKNOWN. */
    uint8_t first; /* Places of the two from the current one; the same twice if it is one. */
    uint8_t second;
    int16_t value; /* Of an UNKNOWN, the code's symbol. */
    int16_t second_value;
} Pair;

/* Where no value counts, as many as have their codes in the bits: how many bits they take, plus
   PLACE for each coefficient that the block has more. */
typedef uint16_t Skip;

/* Fill in what the bits of each index begin with; values of more than `most` bits are none. */
static void fill_singles(Single *singles, const Codes *codes, int most)
{
    memset(singles, 0, ENTRIES * sizeof *singles);
    for (int length = 1; length <= LOOK; ++length) {
        int rest = LOOK - length;
        for (int32_t code = codes->first[length]; code <= codes->last[length]; ++code) {
            int symbol = codes->values[code + codes->offset[length]], bits = symbol & 15;
            if (bits > most || (bits == 0 && symbol != 0 && symbol != ZEROS))
                continue;
            for (int32_t other = 0; other < 1 << rest; ++other) {
                Single *single = &singles[(code << rest) + other];
                single->length = (uint8_t)length;
                single->symbol = (uint8_t)symbol;
                single->bits = (uint8_t)(length + bits);
                if (bits && bits <= rest)
                    single->value = (int16_t)signed_value((uint32_t)other >> (rest - bits), bits);
            }
        }
    }
}

/* Return what follows `bits` bits of `index`; without a length if its code is not all there. */
static Single following(const Single *singles, uint32_t index, int bits)
{
    Single single = singles[(index << bits) & (ENTRIES - 1)];
    if (bits + single.length > LOOK)
        single.length = 0;
    return single;
}

static Pair pair_of(const Single *singles, uint32_t index)
{
    Single one = singles[index], two;
    const uint8_t run = one.symbol >> 4;
    Pair pair = {(uint16_t)(one.bits + PLACE * (run + 1)), run, run, one.value, one.value};
    if (one.length == 0 || one.bits > LOOK)
        return (Pair){(uint16_t)(one.length + PLACE * UNKNOWN), ENDED, ENDED, one.symbol, 0};
    if (one.symbol == 0)
        return (Pair){(uint16_t)(one.bits + PLACE * ENDED), ENDED, ENDED, 0, 0};
    two = following(singles, index, one.bits);
    if (two.length == 0 || one.bits + two.bits > LOOK)
        return pair;
    if (two.symbol == 0) {
        pair.step = (uint16_t)(pair.step + two.bits + PLACE * ENDED);
        return pair;
    }
    pair.step = (uint16_t)(pair.step + two.bits + PLACE * ((two.symbol >> 4) + 1));
    pair.second = (uint8_t)(run + 1 + (two.symbol >> 4));
    pair.second_value = two.value;
    return pair;
}

static Skip skip_of(const Single *singles, uint32_t index)
{
    int bits = 0, advance = 0;
    while (bits < LOOK && advance < ENDED) {
        Single next = following(singles, index, bits);
        int run = next.symbol >> 4;
        if (next.length == 0 || (next.symbol != 0 && advance + run + 1 >= BLOCK))
            break;
        bits += next.bits;
        advance += next.symbol ? run + 1 : ENDED;
    }
    return (Skip)(bits + PLACE * (bits ? advance : UNKNOWN));
}

/* --- reading --------------------------------------------------------------------------------- */

/* Where in its lane a coefficient goes, by zigzag index; see transform.h. */
static uint16_t place_of[PLACES];

/* What was read: the bits that are left, and how far the block is: BLOCK and more where it has
   ended, -1 where what follows is no code. */
typedef struct {
    Bits in;
    int place;
} Read;

/* Say whether a sound file may have such a first coefficient, as it is stored. */
INLINE int is_sound_first(int value)
{
    return value >= -(1 << 14) && value < 1 << 14;
}

/* Say whether a place is that behind the end of a block, of skips. */
INLINE int is_end(int place)
{
    return place == BLOCK || (place >= ENDED && place < ENDED + BLOCK);
}

/* Read a block's first coefficient, as a difference to that of the block before. */
INLINE Read read_first(Bits in, const Single *table, const Codes *codes, int *value)
{
    Single first = table[peek(in, LOOK)];
    int length = first.length, bits = first.symbol;
    if (length && first.bits <= LOOK) {
        *value += first.value;
        return (Read){without(in, first.bits), 1};
    }
    if (length == 0)
        bits = next_long_code(in, codes, &length);
    if (bits < 0 || bits > MOST_BITS_DC)
        return (Read){in, -1};
    in = without(in, (uint64_t)length);
    if (bits)
        *value += signed_value(peek(in, bits), bits);
    return (Read){without(in, (uint64_t)bits), 1};
}

/* Read the value of a code; `lane` is NULL where it does not count. */
INLINE Read read_value(Bits in, int symbol, int place, int16_t *lane)
{
    int bits = symbol & 15;
    if (symbol == 0)
        return (Read){in, place + ENDED};
    place += symbol >> 4;
    if (place >= BLOCK || bits > MOST_BITS_AC || (bits == 0 && symbol != ZEROS))
        return (Read){in, -1};
    if (bits && lane)
        lane[place_of[place]] = (int16_t)signed_value(peek(in, bits), bits);
    return (Read){refilled(without(in, (uint64_t)bits)), place + 1};
}

/* Read one code and its value. */
static Read read_single(Bits in, const Single *table, const Codes *codes, int place, int16_t *lane)
{
    Single single;
    int length, symbol;
    in = refilled(in);
    single = table[peek(in, LOOK)];
    length = single.length;
    symbol = length ? single.symbol : next_long_code(in, codes, &length);
    if (symbol < 0)
        return (Read){in, -1};
    return read_value(without(in, (uint64_t)length), symbol, place, lane);
}

/* Read the rest of a block whose values count. */
INLINE Read read_pairs(Bits in, const Pair *pairs, const Single *table, const Codes *codes,
                       int16_t *lane)
{
    Read read = {refilled(in), 1};
    for (int turn = 1;; ++turn) {
        Pair pair = pairs[peek(read.in, LOOK)];
        int bits = pair.step % PLACE, advance = pair.step / PLACE, after = read.place + advance;
        /* Beyond the end of a block there are places for nothing; a value at its very end, which
           may not be for this block, is read again below. */
        lane[place_of[read.place + pair.first]] = pair.value;
        lane[place_of[read.place + pair.second]] = pair.second_value;
        if (UNLIKELY(after >= BLOCK)) {
            int has_second = read.place + pair.first < BLOCK - 1;
            if (advance == ENDED || (has_second && (after == BLOCK || after >= ENDED)))
                return (Read){without(read.in, (uint64_t)bits), after};
            if (advance == UNKNOWN && bits)
                read = read_value(refilled(without(read.in, (uint64_t)bits)), pair.value,
                                  read.place, lane);
            else
                read = read_single(read.in, table, codes, read.place, lane);
            if (read.place < 0 || read.place >= BLOCK)
                return read;
            continue;
        }
        read.place = after;
        read.in = without(read.in, (uint64_t)bits);
        if (turn % PAIR_TURNS == 0)
            read.in = refilled(read.in);
    }
}

/* Pass over the rest of a block. */
INLINE Read read_skips(Bits in, const Skip *skips, const Single *table, const Codes *codes)
{
    Read read = {refilled(in), 1};
    for (int turn = 1;; ++turn) {
        Skip skip = skips[peek(read.in, LOOK)];
        int after = read.place + skip / PLACE;
        if (UNLIKELY(after >= BLOCK)) {
            if (is_end(after))
                return (Read){without(read.in, skip % PLACE), after};
            read = read_single(read.in, table, codes, read.place, NULL);
            if (read.place < 0 || read.place >= BLOCK)
                return read;
            continue;
        }
        read.place = after;
        read.in = without(read.in, skip % PLACE);
        if (turn % SKIP_TURNS == 0)
            read.in = refilled(read.in);
    }
}

#endif
