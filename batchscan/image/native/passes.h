/* Reading the codes of a grey image, four sections at a time.

   Each look into a table has to wait for the one before, so sections are read in turns: while one
   waits, the others look. Nor should a processor have to guess where a block ends, which it mostly
   does wrong: all looks do the same, whether a block begins with them, goes on or ends. A first
   coefficient is passed over like the others; but where its block starts is noted. */

#ifndef BATCHSCAN_PASSES_H
#define BATCHSCAN_PASSES_H

#include "sections.h"

enum {
    PASSES = 4,                     /* At a time. */
    SPARE = RING,                   /* Slots that it may come beyond the most of a section. */
    BYTES = 16,                     /* That it may move on by until it is attended to again. */
    STRANGE = PLACE * (BLOCK | 256) /* Bits of a state that no look may lead to; see ENDED. */
};

/* What a pass changes with each look. */
typedef struct {
    uint64_t bits;  /* The next one on top: as they are from a byte on, less those used. */
    size_t from;    /* That byte. */
    size_t slot;    /* Of the block. */
    uint32_t state; /* Bits used, plus PLACE for each coefficient that the block has. */
} Reader;

/* What it does not. */
typedef struct {
    Section *section;
    size_t due, watch; /* It is to be attended to from this slot on, and from this byte on. */
    int is_over, is_nonsense;
    Reader nonsense; /* Where it has found that first. */
    Batch batch;     /* Of the last blocks, in lanes by slot. */
} Pass;

/* What all passes need. */
typedef struct Source {
    const Tables *tables;
    Sections *sections;
    const uint8_t *bytes; /* As in `sections`. */
    uint32_t *starts;
    void (*add_up)(Pass *, const struct Source *); /* See `add_up`. */
} Source;

INLINE uint32_t bits_used(const Reader *reader)
{
    return reader->state % PLACE;
}

/* The place of the next bit. */
INLINE uint32_t place_of_bit(const Reader *reader)
{
    return (uint32_t)(8 * reader->from) + bits_used(reader);
}

/* Begin with the byte that the next bit is in. At least 57 bits are there then. */
INLINE void load(Reader *reader, const Source *source)
{
    reader->from += bits_used(reader) / 8;
    reader->state &= ~(uint32_t)(PLACE - 8);
    reader->bits = eight_bytes(source->bytes + reader->from) << (reader->state & 63);
}

/* Note that there is no code. What the pass reads from here on counts for nothing. */
static Reader at_nonsense(Reader reader, Pass *pass)
{
    if (!pass->is_nonsense)
        pass->nonsense = reader;
    pass->is_nonsense = 1;
    pass->watch = 0;
    reader.state = bits_used(&reader) + PLACE * ENDED;
    return reader;
}

/* Read one code step by step, where a look has found this entry. */
SELDOM Reader read_slowly(Reader reader, Pass *pass, const Source *source, int is_first, Pair entry)
{
    const Tables *tables = source->tables;
    int16_t *lane = pass->batch.of[0] + reader.slot % RING;
    int place, value = 0;
    Read read;
    reader.state -= entry.step;
    place = (int)(reader.state / PLACE);
    read.in = bits_at(source->bytes, place_of_bit(&reader));
    if (is_first)
        read = read_first(read.in, tables->first, &tables->dc, &value);
    else if (entry.step / PLACE == UNKNOWN && entry.step % PLACE)
        read = read_value(refilled(without(read.in, entry.step % PLACE)), entry.value, place, lane);
    else
        read = read_single(read.in, tables->single, &tables->ac, place, lane);
    if (read.place < 0)
        return at_nonsense(reader, pass);
    reader.from = (size_t)(read.in.next - source->bytes) - (read.in.count + 7) / 8;
    reader.state = (uint32_t)(-read.in.count & 7) +
                   PLACE * (uint32_t)(read.place < BLOCK ? read.place : ENDED);
    load(&reader, source);
    return reader;
}

/* Take one look. The last of three still has all its bits: those before take 45 at most. */
INLINE void look(Reader *reader, Pass *pass, const Source *source, int shift)
{
    const uint32_t begins = reader->state / (PLACE * ENDED);
    const size_t index = (size_t)(reader->bits >> (64 - LOOK)) + (size_t)begins * ENTRIES;
    const Pair *entry = source->tables->pair + index;
    uint32_t step;
    source->starts[reader->slot + 1] = place_of_bit(reader);
    reader->slot += begins;
    reader->state &= (PLACE - 1) | (begins - 1);
    if (shift == EIGHTH) {
        step = source->tables->skip[index];
    } else {
        const uint16_t *places = place_of + reader->state / PLACE;
        int16_t *lane = pass->batch.of[0] + reader->slot % RING;
        step = entry->step;
        lane[places[entry->first]] = entry->value;
        lane[places[entry->second]] = entry->second_value;
    }
    reader->bits <<= step & 63;
    reader->state += step;
    if (UNLIKELY(reader->state & STRANGE))
        *reader = read_slowly(*reader, pass, source, (int)begins,
                              shift == EIGHTH ? (Pair){.step = (uint16_t)step} : *entry);
}

/* Transform the blocks before the slot that is due. */
INLINE void add_up(Pass *pass, const Source *source, int shift)
{
    const int used = used_of(shift);
    const size_t number = pass->due / LANES - 1, lane = number * LANES % RING;
    transform(&pass->batch, lane, source->tables->scale, shift,
              source->sections->made + number * numbers_of(shift));
    for (int row = 0; row < used; ++row)
        for (int column = 0; column < used; ++column)
            memset(pass->batch.of[SIDE * row + column] + lane, 0, LANES * sizeof(int16_t));
    pass->due += LANES;
}

/* Begin a section. */
static Reader begun(Pass *pass, Section *section, const Source *source)
{
    const int shift = source->tables->shift;
    pass->section = section;
    pass->due = section->slot + (shift == EIGHTH ? section->most : LANES);
    pass->watch = section->end;
    pass->is_nonsense = pass->is_over = 0;
    memset(&pass->batch, 0, sizeof pass->batch);
    section->count = section->joined = 0;
    return (Reader){.from = section->from, .slot = section->slot - 1, .state = PLACE * ENDED};
}

/* Begin the next section, if there is one. */
static Reader begun_next(Reader reader, Pass *pass, const Source *source)
{
    Sections *sections = source->sections;
    pass->is_over = sections->taken == sections->count;
    return pass->is_over ? reader : begun(pass, sections->of + sections->taken++, source);
}

/* Leave what was nonsense for another guess. */
static Reader begun_anew(Reader reader, Pass *pass, const Source *source)
{
    pass->section->from = reader.from + bits_used(&reader) / 8 + 1;
    return begun(pass, pass->section, source);
}

/* See to what is due: blocks to transform, the end of a section, nonsense. `known` is the slot that
   the next pass has come to. */
SELDOM Reader attended(Reader reader, Pass *pass, const Source *source, size_t known)
{
    Sections *sections = source->sections;
    Section *section = pass->section;
    const int has_blocks_to_make = source->tables->shift != EIGHTH;
    End end;
    if (pass->is_nonsense)
        reader = pass->nonsense;
    if (has_blocks_to_make && reader.slot >= pass->due)
        source->add_up(pass, source);
    section->count = reader.slot - section->slot;
    end = sections->is_cut ? end_of_cut(section, sections, known)
                           : end_of_marked(section, sections, reader.from);
    if (end == HAS_ENDED) {
        if (has_blocks_to_make)
            source->add_up(pass, source);
        if (!sections->is_cut)
            section->count = section->most;
        return begun_next(reader, pass, source);
    }
    if (end == GOES_ON && pass->is_nonsense && section->is_guess)
        return begun_anew(reader, pass, source);
    sections->is_damaged |= end == IS_DAMAGED || pass->is_nonsense || section->count >= section->most;
    return reader;
}

/* Attend to a pass if it is time; 0 if there is nothing more to do. */
INLINE int attend(Reader *reader, Pass *pass, const Source *source, size_t known)
{
    if (UNLIKELY(reader->slot >= pass->due) || UNLIKELY(reader->from >= pass->watch)) {
        *reader = attended(*reader, pass, source, known);
        return !pass->is_over && !source->sections->is_damaged;
    }
    return 1;
}

/* Read one section after the other until there is none. */
INLINE void finish_pass(Reader *reader, Pass *pass, const Source *source, size_t known, int shift)
{
    while (!pass->is_over && !source->sections->is_damaged) {
        load(reader, source);
        look(reader, pass, source, shift);
        look(reader, pass, source, shift);
        look(reader, pass, source, shift);
        attend(reader, pass, source, known);
    }
}

/* Read all sections, PASSES or more; 0 if they are damaged. */
INLINE int read_sections(Pass passes[PASSES], const Source *source, int shift)
{
    Sections *sections = source->sections;
    Pass *const p = passes, *const q = passes + 1, *const r = passes + 2, *const s = passes + 3;
    Reader a = begun(p, sections->of, source), b = begun(q, sections->of + 1, source);
    Reader c = begun(r, sections->of + 2, source), d = begun(s, sections->of + 3, source);
    int goes_on = 1;
    sections->taken = PASSES;
    while (goes_on) {
        load(&a, source);
        load(&b, source);
        load(&c, source);
        load(&d, source);
        for (int turn = 0; turn < 3; ++turn) {
            look(&a, p, source, shift);
            look(&b, q, source, shift);
            look(&c, r, source, shift);
            look(&d, s, source, shift);
        }
        goes_on = attend(&a, p, source, b.slot);
        goes_on &= attend(&b, q, source, c.slot);
        goes_on &= attend(&c, r, source, d.slot);
        goes_on &= attend(&d, s, source, 0);
    }
    finish_pass(&a, p, source, b.slot, shift);
    finish_pass(&b, q, source, c.slot, shift);
    finish_pass(&c, r, source, d.slot, shift);
    finish_pass(&d, s, source, 0, shift);
    return !sections->is_damaged;
}

#endif
